"""Keras Hub: the preset directory of its ``CLIPBackbone``, and the ``.weights.h5`` file alone.

Attention weights have an axis for the heads there, and variables are numbered within their layers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from clip_core.checkpoint.files import read_json
from clip_core.checkpoint.tensors import Array, Tensor, constant
from clip_core.errors import CheckpointFormatError, InputError
from clip_core.schemes import KERAS_FILES, KERAS_HUB_ATTENTION
from weights_convert.companion_files import read_companion
from weights_convert.companions import PREPROCESSOR
from weights_convert.containers.hdf5_files import write_hdf5
from weights_convert.containers.opened import Container
from weights_convert.format import Format
from weights_convert.formats.keras import FILES
from weights_convert.formats.keras_hub_preset import KERAS_HUB_CONFIG, describe, parse_converter, preprocessor_parts
from weights_convert.model import Files, Model, full_config, json_text, pools_at_largest_id
from weights_convert.names import LAYER, LAYER_SUFFIX, Names, Place

_ASSETS = "assets/tokenizer"
_CONVERTER = "image_converter.json"
_TEXT, _VISION = "layers/clip_text_encoder/layers", "layers/clip_vision_encoder/layers"
_POSITIONS = f"{_VISION}/clip_vision_embedding/position_embedding/vars/0"
_POSITION_IDS = f"{_VISION}/clip_vision_embedding/vars/1"  # an arange in published presets, which models look up
_TOKENIZER_ASSETS = {"vocab.json": "vocabulary.json", "merges.txt": "merges.txt"}


def _plain_names(container: Container) -> dict[str, Tensor]:
    """The names with the position embedding in the order in which Keras Hub looks it up."""
    tensors = dict(container.tensors)
    table, ids = tensors.get(_POSITIONS), tensors.pop(_POSITION_IDS, None)
    if table is None or ids is None:
        return tensors

    def read() -> Array:
        rows, numbers = table.read(), ids.read().reshape(-1)
        if not np.isin(numbers, np.arange(len(rows))).all():
            raise CheckpointFormatError(
                f"{container.path}: expected position_ids from 0 to {len(rows) - 1}, got {numbers.min()} to "
                f"{numbers.max()}. Save the preset again."
            )
        return rows[numbers.astype(np.intp)]

    return {**tensors, _POSITIONS: Tensor(table.dtype, (math.prod(ids.shape), *table.shape[1:]), read)}


def _refuse(model: Model) -> None:
    config = full_config(model)
    wrong = [] if pools_at_largest_id(config.text_config) else ["another end of text than the largest id"]
    for tower in (config.text_config, config.vision_config):
        wrong += [f"hidden_act {tower.hidden_act}"] if tower.hidden_act == "gelu_pytorch_tanh" else []
        wrong += [f"layer_norm_eps {tower.layer_norm_eps}"] if tower.layer_norm_eps != 1e-5 else []
    if wrong:
        raise InputError(f"Keras Hub: cannot express {', '.join(wrong)}. Convert the model to hf or keras.")


def _position_ids(model: Model) -> Tensor:
    return constant(np.arange(full_config(model).vision_config.patches_per_side ** 2 + 1)[None])


def _write_file(path: Path, tensors: Mapping[str, Tensor], model: Model) -> None:
    write_hdf5(path, {**tensors, _POSITION_IDS: _position_ids(model)}, {})


def _company(model: Model) -> Files:
    config = full_config(model)
    described = describe(config, json.loads(model.config_text())["dtype"])
    tensors = (*model.weights.values(), _position_ids(model))
    count = sum(math.prod(tensor.shape) for tensor in tensors)
    metadata = {"keras_version": "3.9.0", "keras_hub_version": "0.20.0", "parameter_count": count, "tasks": []}
    parts = {"config": described, "metadata": metadata, **preprocessor_parts(model.files, config)}
    files = {f"{name}.json": json_text(part).encode() for name, part in parts.items()}
    if "tokenizer" in parts:
        files |= {f"{_ASSETS}/{asset}": model.files[name] for name, asset in _TOKENIZER_ASSETS.items()}
    return files


def _read_files(directory: Path) -> Files:
    files = {}
    for name, asset in _TOKENIZER_ASSETS.items():
        content = read_companion(directory, f"{_ASSETS}/{asset}")
        if content is not None:
            files[name] = content
    path = directory / _CONVERTER
    if path.is_file():
        files[PREPROCESSOR] = parse_converter(read_json(path).get("config"), path)
    return files


KERAS_HUB = Format(
    name="keras-hub",
    title="Keras Hub",
    containers=("hdf5",),
    files=(FILES,),
    names=Names(
        scheme=KERAS_FILES,
        separator="/",
        modules={
            "visual_projection": "layers/dense",
            "text_projection": "layers/dense_1",
            "text_model.embeddings": f"{_TEXT}/token_and_position_embedding",
            "vision_model.embeddings": f"{_VISION}/clip_vision_embedding",
            "text_model.final_layer_norm": f"{_TEXT}/layer_normalization",
            "vision_model.pre_layrnorm": f"{_VISION}/layer_normalization",
            "vision_model.post_layernorm": f"{_VISION}/layer_normalization_1",
            f"text_model.encoder.layers.{LAYER}": f"{_TEXT}/clip_encoder_layer{LAYER_SUFFIX}",
            f"vision_model.encoder.layers.{LAYER}": f"{_VISION}/clip_encoder_layer{LAYER_SUFFIX}",
            "self_attn.q_proj": "attention/query_dense",
            "self_attn.k_proj": "attention/key_dense",
            "self_attn.v_proj": "attention/value_dense",
            "self_attn.out_proj": "attention/output_dense",
            "layer_norm1": "layer_norm_1",
            "layer_norm2": "layer_norm_2",
            "mlp.fc1": "dense_1",
            "mlp.fc2": "dense_2",
        },
        leaf="vars/{}",
        axes=KERAS_HUB_ATTENTION,
        places={
            "logit_scale": Place("layers/clip_head/vars/0"),
            "vision_model.embeddings.class_embedding": Place(f"{_VISION}/clip_vision_embedding/vars/0"),
        },
    ),
    plain_names=_plain_names,
    config=KERAS_HUB_CONFIG,
    small_files=(
        *("config.json", "metadata.json", "preprocessor.json", _CONVERTER, "tokenizer.json"),
        *(f"{_ASSETS}/{asset}" for asset in _TOKENIZER_ASSETS.values()),
    ),
    companions={
        "tokenizer": (tuple(f"{_ASSETS}/{asset}" for asset in _TOKENIZER_ASSETS.values()),),
        "image_processor": ((_CONVERTER,),),
    },
    read_files=_read_files,
    company=_company,
    write_file=_write_file,
    whole_models_only=True,
    refuse=_refuse,
)
