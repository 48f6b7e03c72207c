"""The JSON files of Keras Hub's presets, read and written: configuration and preprocessor, as Keras serialises them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import CheckpointFormatError, CLIPError
from clip_core.image.processor import CLIPImageProcessor
from weights_convert.companions import ConfigFile, preprocessor_of

_RESAMPLING = {"nearest": 0, "lanczos3": 1, "bilinear": 2, "bicubic": 3}


def _parse(described: Mapping[str, Any], path: Path) -> CLIPConfig:
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


def serialised(class_name: str, module: str, config: Mapping[str, Any]) -> dict[str, Any]:
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


def describe(config: CLIPConfig, dtype: str) -> dict[str, Any]:
    """The description of a backbone; ``dtype`` is that of its weights."""
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
        "vision_encoder": serialised("CLIPVisionEncoder", "models.clip.clip_vision_encoder", vision_encoder),
        "text_encoder": serialised("CLIPTextEncoder", "models.clip.clip_text_encoder", text_encoder),
        "projection_dim": config.projection_dim,
    }
    return serialised("CLIPBackbone", "models.clip.clip_backbone", backbone)


def preprocessor_parts(files: Mapping[str, bytes], config: CLIPConfig) -> dict[str, dict[str, Any]]:
    """The descriptions of image converter, tokenizer and both together, by the name of the file: those there are."""
    parts: dict[str, dict[str, Any]] = {}
    options = preprocessor_of(files)
    if options is not None:
        parts["image_converter"] = serialised(
            "CLIPImageConverter", "models.clip.clip_image_converter", _converter_config(options)
        )
    if {"vocab.json", "merges.txt"} <= files.keys():
        tokenizer = {
            "name": "clip_tokenizer",
            "trainable": True,
            "config_file": "tokenizer.json",
            "sequence_length": None,
            "add_prefix_space": False,
            "pad_with_end_token": True,
        }
        parts["tokenizer"] = serialised("CLIPTokenizer", "models.clip.clip_tokenizer", tokenizer)
    if len(parts) < 2:
        return parts
    whole = {
        "name": "clip_preprocessor",
        "trainable": True,
        **parts,
        "config_file": "preprocessor.json",
        "sequence_length": config.text_config.max_position_embeddings,
        "add_start_token": True,
        "add_end_token": True,
        "to_lower": True,
    }
    return {**parts, "preprocessor": serialised("CLIPPreprocessor", "models.clip.clip_preprocessor", whole)}


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


def parse_converter(config: Any, path: Path) -> bytes:
    """``preprocessor_config.json`` of the ``config`` of an image converter; the path is for messages."""
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


KERAS_HUB_CONFIG = ConfigFile(name="config.json", describes=lambda described: "class_name" in described, parse=_parse)
