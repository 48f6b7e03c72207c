"""What ``TFCLIPModel.save_weights("model.weights.h5")`` of Triclip writes and ``load_weights`` reads, and its shards.

Keras names layers after their classes, numbers those of one class, and numbers the variables of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clip_core.checkpoint.tensors import Tensor
from clip_core.config import CLIPTextConfig
from clip_core.resnet import STAGES
from clip_core.schemes import KERAS_FILES
from weights_convert.containers.hdf5_files import write_hdf5
from weights_convert.containers.opened import Container
from weights_convert.containers.shards import WeightFiles
from weights_convert.format import Format
from weights_convert.model import Model
from weights_convert.names import LAYER, LAYER_SUFFIX, Names, Place

FILES = WeightFiles("model.weights.h5", "model.weights.json", ("model_{number}.weights.h5",))
"""As Keras chooses them."""
_FIRST_DENSE, _SECOND_DENSE = "layers/dense/", "layers/dense_1/"  # the projections; a text tower has its own only
_VISION_OR_BOTH = ("layers/vision_transformer/", "layers/vision_res_net/", _SECOND_DENSE)
NAMES = Names(
    scheme=KERAS_FILES,
    separator="/",
    modules={
        f"encoder.layers.{LAYER}": f"encoder/layers/encoder_layer{LAYER_SUFFIX}",
        "pre_layrnorm": "pre_layernorm",  # Keras takes the first name in the alphabet of two for one layer
        "text_model": "layers/text_transformer",
        "vision_model": "layers/vision_transformer",
        "visual_projection": "layers/dense",
        "text_projection": "layers/dense_1",
    },
    leaf="vars/{}",
    places={
        "logit_scale": Place("vars/0"),
        "vision_model.embeddings.class_embedding": Place("layers/vision_transformer/embeddings/vars/0"),
    },
)
RESNET_NAMES = NAMES.of_resnets(
    modules={
        **{f"layer{stage}.{LAYER}": f"layer{stage}/bottleneck{LAYER_SUFFIX}" for stage in range(1, STAGES + 1)},
        "downsample.0": "downsample/conv2d",
        "downsample.1": "downsample/batch_norm",
        "vision_model": "layers/vision_res_net",
    },
    places={"vision_model.attnpool.positional_embedding": Place("layers/vision_res_net/attnpool/vars/0")},
)


def _plain_names(container: Container) -> Mapping[str, Tensor]:
    if any(name.startswith(_VISION_OR_BOTH) for name in container.tensors):
        return container.tensors
    return {name.replace(_FIRST_DENSE, _SECOND_DENSE, 1): tensor for name, tensor in container.tensors.items()}


def _write_file(path: Path, tensors: Mapping[str, Tensor], model: Model) -> None:
    if isinstance(model.config, CLIPTextConfig):
        tensors = {name.replace(_SECOND_DENSE, _FIRST_DENSE): tensor for name, tensor in tensors.items()}
    write_hdf5(path, tensors, {})


KERAS = Format(
    name="keras",
    title="Triclip's Keras weights",
    containers=("hdf5",),
    files=(FILES,),
    names=NAMES,
    resnet_names=RESNET_NAMES,
    plain_names=_plain_names,
    write_file=_write_file,
)
