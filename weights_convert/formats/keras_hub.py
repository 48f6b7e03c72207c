"""Keras Hub: the preset directory of its ``CLIPBackbone``, and the ``.weights.h5`` file alone.

Attention weights have an axis for the heads there, and variables are numbered within their layers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clip_core.checkpoint.files import read_json
from clip_core.checkpoint.tensors import Tensor, constant
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import CheckpointFormatError, CLIPError, InputError
from clip_core.image.processor import CLIPImageProcessor
from clip_core.weights import WeightSpec
from weights_convert.companions import PREPROCESSOR, preprocessor_of, read_small
from weights_convert.containers.hdf5_files import require_h5py, write_hdf5
from weights_convert.containers.opened import Container
from weights_convert.formats.openai import pools_at_largest_id
from weights_convert.model import Files, Format, Model, json_text, require_full
from weights_convert.tables import LAYER_SUFFIX, Place, foreign_names, shared_names

_ASSETS = Path("assets/tokenizer")
_TEXT, _VISION = "layers/clip_text_encoder/layers", "layers/clip_vision_encoder/layers"
_POSITION_IDS = f"{_VISION}/clip_vision_embedding/vars/1"  # an arange that Keras Hub counts among the weights
_MODULES = {
    "visual_projection": "layers/dense",
    "text_projection": "layers/dense_1",
    "text_model.embeddings": f"{_TEXT}/token_and_position_embedding",
    "vision_model.embeddings": f"{_VISION}/clip_vision_embedding",
    "text_model.final_layer_norm": f"{_TEXT}/layer_normalization",
    "vision_model.pre_layernorm": f"{_VISION}/layer_normalization",
    "vision_model.post_layernorm": f"{_VISION}/layer_normalization_1",
    "text_model.encoder.layers.{i}": f"{_TEXT}/clip_encoder_layer{LAYER_SUFFIX}",
    "vision_model.encoder.layers.{i}": f"{_VISION}/clip_encoder_layer{LAYER_SUFFIX}",
    "self_attn.q_proj": "attention/query_dense",
    "self_attn.k_proj": "attention/key_dense",
    "self_attn.v_proj": "attention/value_dense",
    "self_attn.out_proj": "attention/output_dense",
    "layer_norm1": "layer_norm_1",
    "layer_norm2": "layer_norm_2",
    "mlp.fc1": "dense_1",
    "mlp.fc2": "dense_2",
}
_AXES = {"linear": "in out", "conv": "height width in out"}
_ATTENTION_AXES = {
    ("query_dense", "linear"): "in out/head out/head_dim",
    ("query_dense", "linear_bias"): "out/head out/head_dim",
    ("output_dense", "linear"): "in/head in/head_dim out",
}
_RESAMPLING = {"nearest": 0, "lanczos3": 1, "bilinear": 2, "bicubic": 3}


def _place(spec: WeightSpec) -> Place:
    if spec.kind == "scalar":
        return Place("layers/clip_head/vars/0")
    path = spec.path.removesuffix(".class_embedding")
    for shared, theirs in _MODULES.items():
        path = path.replace(shared, theirs)
    path = path.replace(".", "/")
    layer = path.rpartition("/")[2].replace("key_dense", "query_dense").replace("value_dense", "query_dense")
    axes = _ATTENTION_AXES.get((layer, spec.kind), _AXES.get(spec.kind))
    return Place(f"{path}/vars/{1 if spec.kind.endswith('bias') else 0}", axes)


def _recognises(container: Container) -> bool:
    return container.kind == "hdf5" and any(
        name.startswith((f"{_TEXT}/clip_encoder_layer/", f"{_VISION}/clip_encoder_layer/"))
        for name in container.tensors
    )


def _read(container: Container) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    found, rest = shared_names(_place, container.tensors)
    return found, {name: tensor for name, tensor in rest.items() if name != _POSITION_IDS}


def parse_config(described: Mapping[str, Any], path: Path) -> CLIPConfig:
    """The configuration in a preset's ``config.json``.

    Raises:
        CheckpointFormatError: malformed, or of another backbone.
    """
    if described.get("class_name") != "CLIPBackbone":
        raise CheckpointFormatError(f"{path}: expected a CLIPBackbone, got {described.get('class_name')!r}.")
    try:
        config = described["config"]
        text, vision = config["text_encoder"]["config"], config["vision_encoder"]["config"]
        embed, vocab = config["projection_dim"], text["vocabulary_size"]
        return CLIPConfig(
            projection_dim=embed,
            text_config=CLIPTextConfig(
                **_shared_part(text, embed),
                vocab_size=vocab,
                max_position_embeddings=text["max_sequence_length"],
                bos_token_id=max(vocab - 2, 0),
                eos_token_id=vocab - 1,
            ),
            vision_config=CLIPVisionConfig(
                **_shared_part(vision, embed),
                patch_size=vision["patch_size"],
                image_size=vision["image_shape"][0],
            ),
        )
    except CLIPError:
        raise
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise CheckpointFormatError(f"{path}: expected the configuration of a CLIPBackbone ({error!r}).") from error


def _shared_part(encoder: Mapping[str, Any], embed: int) -> dict[str, Any]:
    return {
        "hidden_size": encoder["hidden_dim"],
        "intermediate_size": encoder["intermediate_dim"],
        "num_hidden_layers": encoder["num_layers"],
        "num_attention_heads": encoder["num_heads"],
        "hidden_act": encoder.get("intermediate_activation", "quick_gelu"),
        "projection_dim": embed,
    }


def _described(class_name: str, module: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """An object as Keras serialises it."""
    registered = {"registered_name": f"keras_hub>{class_name}"}
    return {"module": f"keras_hub.src.{module}", "class_name": class_name, "config": dict(config), **registered}


def _described_encoder(tower: CLIPTextConfig | CLIPVisionConfig) -> dict[str, Any]:
    return {
        "trainable": True,
        "hidden_dim": tower.hidden_size,
        "num_layers": tower.num_hidden_layers,
        "num_heads": tower.num_attention_heads,
        "intermediate_dim": tower.intermediate_size,
        "intermediate_activation": tower.hidden_act,
        "intermediate_output_index": None,
    }


def _describe(config: CLIPConfig, dtype: str) -> dict[str, Any]:
    text, vision = config.text_config, config.vision_config
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": dtype}, "registered_name": None}
    shape = [vision.image_size, vision.image_size, vision.num_channels]
    vision_encoder = {
        **_described_encoder(vision),
        "name": "clip_vision_encoder",
        "dtype": policy,
        "patch_size": vision.patch_size,
        "image_shape": shape,
    }
    text_encoder = {
        **_described_encoder(text),
        "name": "clip_text_encoder",
        "dtype": policy,
        "vocabulary_size": text.vocab_size,
        "embedding_dim": text.hidden_size,
        "max_sequence_length": text.max_position_embeddings,
    }
    backbone = {
        "name": "clip_backbone",
        "trainable": True,
        "dtype": policy,
        "vision_encoder": _described("CLIPVisionEncoder", "models.clip.clip_vision_encoder", vision_encoder),
        "text_encoder": _described("CLIPTextEncoder", "models.clip.clip_text_encoder", text_encoder),
        "projection_dim": config.projection_dim,
    }
    return _described("CLIPBackbone", "models.clip.clip_backbone", backbone)


def _check(model: Model) -> None:
    require_h5py("Keras Hub: model.weights.h5")
    config = require_full(model, "Keras Hub")
    wrong = [] if pools_at_largest_id(config.text_config) else ["another end of text than the largest id"]
    for tower in (config.text_config, config.vision_config):
        wrong += [f"hidden_act {tower.hidden_act}"] if tower.hidden_act == "gelu_pytorch_tanh" else []
        wrong += [f"layer_norm_eps {tower.layer_norm_eps}"] if tower.layer_norm_eps != 1e-5 else []
    if wrong:
        raise InputError(f"Keras Hub: cannot express {', '.join(wrong)}. Convert the model to hf or keras.")


def _write(model: Model, directory: Path, max_shard_size: int) -> None:
    config = require_full(model, "Keras Hub")
    tensors = foreign_names(_place, model.specs, model.weights, model.heads)
    tokens = config.vision_config.patches_per_side**2 + 1
    tensors[_POSITION_IDS] = constant(np.arange(tokens)[None])
    write_hdf5(directory / "model.weights.h5", tensors, {})
    dtype = json.loads(model.config_text())["dtype"]
    (directory / "config.json").write_text(json_text(_describe(config, dtype)), encoding="utf-8")
    count = sum(tensor.nbytes // tensor.dtype.itemsize for tensor in tensors.values())
    metadata = {"keras_version": "3.9.0", "keras_hub_version": "0.20.0", "parameter_count": count, "tasks": []}
    (directory / "metadata.json").write_text(json_text(metadata), encoding="utf-8")
    _write_preprocessor(model, config, directory)


def _write_preprocessor(model: Model, config: CLIPConfig, directory: Path) -> None:
    parts: dict[str, Any] = {}
    options = preprocessor_of(model.files)
    if options is not None:
        parts["image_converter"] = _described(
            "CLIPImageConverter", "models.clip.clip_image_converter", _converter_config(options)
        )
    if {"vocab.json", "merges.txt"} <= model.files.keys():
        tokenizer = {
            "name": "clip_tokenizer",
            "trainable": True,
            "config_file": "tokenizer.json",
            "sequence_length": None,
            "add_prefix_space": False,
            "pad_with_end_token": True,
        }
        parts["tokenizer"] = _described("CLIPTokenizer", "models.clip.clip_tokenizer", tokenizer)
        (directory / _ASSETS).mkdir(parents=True)
        (directory / _ASSETS / "vocabulary.json").write_bytes(model.files["vocab.json"])
        (directory / _ASSETS / "merges.txt").write_bytes(model.files["merges.txt"])
    for name, part in parts.items():
        (directory / f"{name}.json").write_text(json_text(part), encoding="utf-8")
    if len(parts) == 2:
        length = config.text_config.max_position_embeddings
        whole = {
            "name": "clip_preprocessor",
            "trainable": True,
            **parts,
            "config_file": "preprocessor.json",
            "sequence_length": length,
            "add_start_token": True,
            "add_end_token": True,
            "to_lower": True,
        }
        described = _described("CLIPPreprocessor", "models.clip.clip_preprocessor", whole)
        (directory / "preprocessor.json").write_text(json_text(described), encoding="utf-8")


def _converter_config(options: Mapping[str, Any]) -> dict[str, Any]:
    names = {number: name for name, number in _RESAMPLING.items()}
    pairs = list(zip(options["image_mean"], options["image_std"], strict=True))
    return {
        "name": "clip_image_converter",
        "trainable": True,
        "image_size": [options["crop_size"]["height"], options["crop_size"]["width"]],
        "scale": [options["rescale_factor"] / std for _, std in pairs],
        "offset": [-mean / std for mean, std in pairs],
        "interpolation": names.get(options["resample"], "bicubic"),
        "antialias": True,  # as Pillow's resampling, which CLIP was trained with
        "crop_to_aspect_ratio": bool(options["do_center_crop"]),
        "pad_to_aspect_ratio": False,
    }


def _read_files(directory: Path) -> Files:
    files = {}
    for name, asset in (("vocab.json", "vocabulary.json"), ("merges.txt", "merges.txt")):
        if (directory / _ASSETS / asset).is_file():
            files[name] = read_small(directory / _ASSETS / asset)
    path = directory / "image_converter.json"
    if path.is_file():
        files[PREPROCESSOR] = _parse_converter(read_json(path).get("config"), path)
    return files


def _parse_converter(config: Any, path: Path) -> bytes:
    try:
        height, width = config["image_size"]
        stds = [1 / (255 * scale) for scale in config["scale"]]
        means = [-offset * std for offset, std in zip(config["offset"], stds, strict=True)]
        processor = CLIPImageProcessor(
            size=height if config["crop_to_aspect_ratio"] else {"height": height, "width": width},
            crop_size={"height": height, "width": width},
            resample=_RESAMPLING[config["interpolation"]],
            image_mean=[round(mean, 8) for mean in means],
            image_std=[round(std, 8) for std in stds],
        )
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise CheckpointFormatError(f"{path}: expected the configuration of an image converter ({error!r}).") from error
    return processor.to_json_string().encode()


KERAS_HUB = Format(
    name="keras-hub",
    title="Keras Hub",
    recognises=_recognises,
    read=_read,
    config_files=("config.json",),
    write=_write,
    check=_check,
    read_files=_read_files,
)
