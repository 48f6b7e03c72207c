"""OpenAI's ``.pt`` files: TorchScript archives, as they were published, and plain state dicts, which are read only.

``clip.load`` infers the model from the weights: heads of 64, quick_gelu, an MLP four times as wide, square images of
whole patches. A model that is not like that would compute wrong numbers there, so it is refused. LongCLIP's files are
such state dicts with a second table of text positions, which is folded into the first. What is written is a
TorchScript archive, since ``clip.load`` of openai-clip 1.0.1 takes nothing else: it reads a state dict from the end of
the file, where its first attempt left off.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from clip_core.checkpoint.tensors import Array, Tensor
from clip_core.config import CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import CheckpointFormatError, InputError
from clip_core.interpolation import LONGCLIP_KEPT
from clip_core.schemes import OPENAI_PROJECTION, TORCH
from weights_convert.companions import HUGGING_FACE_CONFIG, hugging_face_company
from weights_convert.containers.opened import Container
from weights_convert.containers.torchscript import write_torchscript
from weights_convert.format import Format
from weights_convert.formats.open_clip_config import OPEN_CLIP_CONFIG
from weights_convert.implied import Implied, is_causal, is_no_mask, is_setting
from weights_convert.model import Model, full_config, pools_at_largest_id
from weights_convert.names import LAYER, Names, Place

HEAD_DIM = 64
_POSITIONS, _SECOND_POSITIONS = "positional_embedding", "positional_embedding_res"
_TEXT_BLOCK, _VISION_BLOCK = f"transformer.resblocks.{LAYER}", f"visual.transformer.resblocks.{LAYER}"
_FUSED = ("q_proj", "k_proj", "v_proj")  # the rows of in_proj, in this order
NAMES = Names(
    scheme=TORCH,
    modules={
        "text_model.embeddings.token_embedding": "token_embedding",
        "vision_model.embeddings.patch_embedding": "visual.conv1",
        "text_model.final_layer_norm": "ln_final",
        "vision_model.pre_layrnorm": "visual.ln_pre",
        "vision_model.post_layernorm": "visual.ln_post",
        f"text_model.encoder.layers.{LAYER}": _TEXT_BLOCK,
        f"vision_model.encoder.layers.{LAYER}": _VISION_BLOCK,
        "self_attn.out_proj": "attn.out_proj",
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    },
    places={
        "text_projection.weight": Place("text_projection", OPENAI_PROJECTION),
        "visual_projection.weight": Place("visual.proj", OPENAI_PROJECTION),
        "text_model.embeddings.position_embedding.weight": Place("positional_embedding"),
        "vision_model.embeddings.position_embedding.weight": Place("visual.positional_embedding"),
        "vision_model.embeddings.class_embedding": Place("visual.class_embedding"),
        **{
            f"{tower}.encoder.layers.{LAYER}.self_attn.{module}.{leaf}": Place(
                f"{block}.attn.in_proj_{leaf}", part=(_FUSED.index(module), len(_FUSED))
            )
            for tower, block in (("text_model", _TEXT_BLOCK), ("vision_model", _VISION_BLOCK))
            for module in _FUSED
            for leaf in ("weight", "bias")
        },
    },
)
RESNET_NAMES = NAMES.of_resnets({"visual_projection": "visual.attnpool.c_proj", "vision_model": "visual"})
IMPLIED = (  # TorchScript stores attributes as tensors
    Implied("input_resolution", is_setting("vision_config", "image_size")),
    Implied("context_length", is_setting("text_config", "max_position_embeddings")),
    Implied("vocab_size", is_setting("text_config", "vocab_size")),
    Implied("attn_mask", is_causal),
    Implied("transformer.*attn_mask", is_causal),
    Implied("visual.*attn_mask", is_no_mask),
)


def folded_positions(path: Path, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors with one table of text positions, where LongCLIP keeps two.

    It adds the first 20 rows of one and all later rows of the other, and never looks at the rest.
    """
    if _SECOND_POSITIONS not in tensors or _POSITIONS not in tensors:
        return tensors
    first, second = tensors[_POSITIONS], tensors[_SECOND_POSITIONS]
    if first.shape != second.shape or first.dtype != second.dtype or first.shape[0] <= LONGCLIP_KEPT:
        raise CheckpointFormatError(
            f"{path}: expected {_POSITIONS!r} and {_SECOND_POSITIONS!r} of one shape and dtype, as LongCLIP has them, "
            f"got {list(first.shape)} {first.dtype.name} and {list(second.shape)} {second.dtype.name}."
        )
    kept = slice(LONGCLIP_KEPT)

    def read() -> Array:
        table = np.array(second.read())
        table[kept] = first.read()[kept]
        return table

    others = {name: tensor for name, tensor in tensors.items() if name != _SECOND_POSITIONS}
    return {**others, _POSITIONS: Tensor(first.dtype, first.shape, read, fresh=True)}


def _is_own(container: Container) -> bool:
    """Checkpoints of open_clip have these names too: what lies beside them tells, or what they are called."""
    if HUGGING_FACE_CONFIG.name in container.extra:
        return True
    beside_open_clip = (container.path.parent / OPEN_CLIP_CONFIG.name).is_file()
    return not beside_open_clip and (container.kind == "torchscript" or not container.path.name.startswith("open_clip"))


def _refuse(model: Model) -> None:
    config = full_config(model)
    text, vision = config.text_config, config.vision_config
    expected = {
        "text_config.eos_token_id": (pools_at_largest_id(text), "2 or the largest id"),
        "vision_config.num_channels": (vision.num_channels == 3, "3"),
        "vision_config.image_size": (vision.image_size % vision.patch_size == 0, "a multiple of patch_size"),
    }
    for name, tower in (("text_config", text), ("vision_config", vision)):
        expected.update({f"{name}.{key}": rule for key, rule in _tower_rules(tower).items()})
    wrong = [f"{key}: expected {rule}" for key, (holds, rule) in expected.items() if not holds]
    if wrong:
        raise InputError(
            f"OpenAI: its loader infers the model from the weights and would get this one wrong ({'; '.join(wrong)}). "
            "Convert it to open_clip, which stores a configuration."
        )


def _tower_rules(tower: CLIPTextConfig | CLIPVisionConfig) -> dict[str, tuple[bool, str]]:
    width = tower.hidden_size
    rules = {"num_attention_heads": (tower.num_attention_heads * HEAD_DIM == width, f"hidden_size / {HEAD_DIM}")}
    if isinstance(tower, CLIPVisionConfig) and tower.is_resnet:
        return rules
    return {
        **rules,
        "hidden_act": (tower.hidden_act == "quick_gelu", "quick_gelu"),
        "intermediate_size": (tower.intermediate_size == 4 * width, "4 * hidden_size"),
        "layer_norm_eps": (tower.layer_norm_eps == 1e-5, "1e-5"),
    }


def _write_file(path: Path, tensors: Mapping[str, Tensor], model: Model) -> None:
    write_torchscript(path, tensors, hugging_face_company(model))  # OpenAI's loader skips what travels inside


OPENAI = Format(
    name="openai",
    title="OpenAI",
    containers=("torchscript", "torch"),
    names=NAMES,
    resnet_names=RESNET_NAMES,
    plain_names=lambda container: folded_positions(container.path, container.tensors),
    implied=IMPLIED,
    is_own=_is_own,
    config=OPEN_CLIP_CONFIG,  # a config.json beside a file of any name can be of anything
    small_files=(),
    read_files=lambda directory: {},  # what travels inside the archive is read with it
    write_file=_write_file,
    whole_models_only=True,
    profile="openai",
    refuse=_refuse,
)
