"""Checkpoints that are not there, torn, or of another model. Each goes through a backend's ``from_pretrained``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from clip_core import CLIPProcessor, CLIPTextConfig, CLIPTokenizer
from clip_core.checkpoint.directory import StoredWeights
from clip_core.checkpoint.saving import save_checkpoint
from clip_core.checkpoint.weight_files import INDEX_FILE, SINGLE_FILE
from clip_core.errors import (
    CheckpointFormatError,
    CheckpointNotFoundError,
    ConfigError,
    InputError,
    InputTypeError,
    MissingExtraError,
    WeightMismatchError,
)
from clip_core.initialization import draw_weights
from conformance_tests.bad_input.case import Bench, case


def _edit_config(directory: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    path = directory / "config.json"
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(config))


def _save_weights(bench: Bench, edit: Callable[[dict[str, np.ndarray]], None], max_shard_size: str = "5GB") -> None:
    weights = {name: np.array(value) for name, value in StoredWeights(bench.directory).items()}
    edit(weights)
    save_checkpoint(bench.directory, bench.config, weights, architecture="CLIPModel", max_shard_size=max_shard_size)


def _spoil(path: Path, keep: int | None = None, *, start: bytes = b"") -> None:
    """Replaces the first bytes of a file and cuts it."""
    content = path.read_bytes()
    path.write_bytes((start + content[len(start) :])[:keep])


# ---- names


@case("a directory that is not there", CheckpointNotFoundError, "no such directory", "./gone", needs_model=True)
def _(bench: Bench) -> None:
    bench.load("./gone")


@case(
    "a name that is neither a directory nor in the local cache, without downloading",
    CheckpointNotFoundError,
    "no such directory, and not in the local cache",
    "nobody/nothing",
    "give the path of a checkpoint directory",
    needs_model=True,
)
def _(bench: Bench) -> None:
    with mock.patch.dict(os.environ, {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(bench.directory / "cache")}):
        bench.load("nobody/nothing")


@case(
    "a name to download, without the hub extra",
    MissingExtraError,
    "needs 'huggingface_hub'",
    "nobody/nothing",
    "pip install 'triclip[hub]'",
    needs_model=True,
)
def _(bench: Bench) -> None:
    cache = {"HF_HUB_OFFLINE": "0", "HF_HUB_CACHE": str(bench.directory / "cache")}
    with mock.patch.dict(os.environ, cache), mock.patch.dict("sys.modules", {"huggingface_hub": None}):
        bench.load("nobody/nothing")


@case(
    "a file instead of a directory",
    CheckpointNotFoundError,
    "expected a checkpoint directory",
    "model.safetensors is a file",
    "Give its parent directory",
    needs_model=True,
)
def _(bench: Bench) -> None:
    bench.load(bench.directory / SINGLE_FILE)


# ---- config.json


@case("no config.json", CheckpointNotFoundError, "config.json: no such file", "The directory holds:", needs_model=True)
def _(bench: Bench) -> None:
    (bench.directory / "config.json").unlink()
    bench.load(bench.directory)


@case(
    "a truncated config.json",
    CheckpointFormatError,
    "expected JSON",
    "char",
    "Fetch or write the file again",
    needs_model=True,
)
def _(bench: Bench) -> None:
    _spoil(bench.directory / "config.json", 100)
    bench.load(bench.directory)


@case("a config.json that is a list", CheckpointFormatError, "expected a JSON object", "got list", needs_model=True)
def _(bench: Bench) -> None:
    (bench.directory / "config.json").write_text("[]")
    bench.load(bench.directory)


@case(
    "the config.json of another kind of model",
    CheckpointFormatError,
    "expected a configuration of model_type 'clip'",
    "got 'bert'",
    "Load it with the class made for that model",
    needs_model=True,
)
def _(bench: Bench) -> None:
    _edit_config(bench.directory, lambda config: config.update(model_type="bert"))
    bench.load(bench.directory)


@case(
    "heads that do not divide the hidden size",
    ConfigError,
    "expected a divisor of hidden_size 24",
    "got 7",
    "Correct it in",
    needs_model=True,
)
def _(bench: Bench) -> None:
    _edit_config(bench.directory, lambda config: config["text_config"].update(num_attention_heads=7))
    bench.load(bench.directory)


@case(
    "an activation that CLIP does not have",
    ConfigError,
    "expected one of ('quick_gelu', 'gelu', 'gelu_pytorch_tanh')",
    "got 'relu'",
    "Correct it in",
    needs_model=True,
)
def _(bench: Bench) -> None:
    _edit_config(bench.directory, lambda config: config["vision_config"].update(hidden_act="relu"))
    bench.load(bench.directory)


@case("a size that is text", ConfigError, "expected an integer >= 1", "got '24'", "Correct it in", needs_model=True)
def _(bench: Bench) -> None:
    _edit_config(bench.directory, lambda config: config["text_config"].update(hidden_size="24"))
    bench.load(bench.directory)


@case("a tower's configuration that is text", ConfigError, "expected a CLIPTextConfig, a dict or None", "got 'small'")
def _(bench: Bench) -> None:
    type(bench.config)(text_config="small")  # type: ignore[arg-type]


@case("a dropout rate above 1", ConfigError, "expected a number in [0, 1)", "got 1.5", "Correct it in")
def _(bench: Bench) -> None:
    CLIPTextConfig(attention_dropout=1.5)


@case("patches larger than the image", ConfigError, "expected at least patch_size 32", "got 20", "Correct it in")
def _(bench: Bench) -> None:
    type(bench.config.vision_config)(image_size=20, patch_size=32)


@case(
    "the configuration of another class",
    InputTypeError,
    "expected a CLIPConfig",
    "got CLIPTextConfig",
    needs_model=True,
)
def _(bench: Bench) -> None:
    bench.build(bench.config.text_config)


@case(
    "weights= that are not those of the configuration",
    WeightMismatchError,
    "CLIPModel(weights=): the weights are not those of the configuration",
    "- logit_scale []: missing",
    "- text_projection.weight [28, 24]: the configuration's shape",
    "+ text_projection.weight [5, 7]: the shape that is there",
    "+ visual_projection.weight [28, 32]: int64; weights are float64, float32, float16, bfloat16",
    "+ adapter.weight [3]: unexpected",
    needs_model=True,
)
def _(bench: Bench) -> None:
    weights = dict(draw_weights(bench.config, seed=0))
    del weights["logit_scale"]
    weights["text_projection.weight"] = np.zeros((5, 7), np.float32)
    weights["visual_projection.weight"] = np.zeros((28, 32), np.int64)
    weights["adapter.weight"] = np.zeros(3, np.float32)
    bench.build(bench.config, weights)


@case(
    "weights= as a list of pairs",
    InputTypeError,
    "weights: expected a mapping from names to NumPy arrays, got list",
    "Pass a dict",
    needs_model=True,
)
def _(bench: Bench) -> None:
    bench.build(bench.config, list(draw_weights(bench.config, seed=0)))


@case(
    "weights= that are no arrays",
    InputTypeError,
    "weights: expected names with NumPy arrays, got list for 'logit_scale'",
    needs_model=True,
)
def _(bench: Bench) -> None:
    bench.build(bench.config, {**dict(draw_weights(bench.config, seed=0)), "logit_scale": [1.0]})


@case(
    "a dtype that weights cannot have",
    InputTypeError,
    "expected float32",
    "got 'int4'",
    needs_model=True,
)
def _(bench: Bench) -> None:
    bench.load(bench.directory, dtype="int4")


# ---- weights


@case(
    "no weights",
    CheckpointNotFoundError,
    "expected model.safetensors, pytorch_model.bin",
    "found none",
    needs_model=True,
)
def _(bench: Bench) -> None:
    (bench.directory / SINGLE_FILE).unlink()
    bench.load(bench.directory)


@case(
    "weights of another format only",
    CheckpointNotFoundError,
    "expected model.safetensors",
    "It holds tf_model.h5",
    "convert",
    needs_model=True,
)
def _(bench: Bench) -> None:
    (bench.directory / SINGLE_FILE).rename(bench.directory / "tf_model.h5")
    bench.load(bench.directory)


@case(
    "truncated weights",
    CheckpointFormatError,
    "not a whole safetensors file",
    "the file at 20000",
    "Fetch or save it again",
    needs_model=True,
)
def _(bench: Bench) -> None:
    _spoil(bench.directory / SINGLE_FILE, 20000)
    bench.load(bench.directory)


@case(
    "an empty file of weights",
    CheckpointFormatError,
    "expected at least 8 bytes",
    "got 0",
    "Fetch or save it again",
    needs_model=True,
)
def _(bench: Bench) -> None:
    _spoil(bench.directory / SINGLE_FILE, 0)
    bench.load(bench.directory)


@case(
    "a Git LFS pointer instead of weights",
    CheckpointFormatError,
    "not a whole safetensors file",
    "a Git LFS pointer",
    "git lfs pull",
    needs_model=True,
)
def _(bench: Bench) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 605157884\n"
    (bench.directory / SINGLE_FILE).write_text(pointer)
    bench.load(bench.directory)


@case(
    "weights whose header is overwritten",
    CheckpointFormatError,
    "its header is not JSON",
    "Fetch or save it again",
    needs_model=True,
)
def _(bench: Bench) -> None:
    path = bench.directory / SINGLE_FILE
    _spoil(path, start=path.read_bytes()[:8] + b"\xff" * 20)
    bench.load(bench.directory)


@case(
    "weights with an unknown dtype",
    CheckpointFormatError,
    "expected a dtype of",
    "got 'F99'",
    "save them again",
    needs_model=True,
)
def _(bench: Bench) -> None:
    path = bench.directory / SINGLE_FILE
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"F99"', 1))
    bench.load(bench.directory)


@case(
    "a missing weight",
    WeightMismatchError,
    "- expected, + found",
    "- visual_projection.weight [28, 32]: missing",
    "Use the config.json that belongs to these weights",
    needs_model=True,
)
def _(bench: Bench) -> None:
    _save_weights(bench, lambda weights: weights.pop("visual_projection.weight"))
    bench.load(bench.directory)


@case(
    "a weight that no model has",
    WeightMismatchError,
    "- expected, + found",
    "+ adapter.weight [3, 5]: unexpected",
    "Use the config.json that belongs to these weights",
    needs_model=True,
)
def _(bench: Bench) -> None:
    _save_weights(bench, lambda weights: weights.update({"adapter.weight": np.zeros((3, 5), np.float32)}))
    bench.load(bench.directory)


@case(
    "a weight of another shape",
    WeightMismatchError,
    "- text_projection.weight [28, 24]: the configuration's shape",
    "+ text_projection.weight [24, 28]: the shape that is there",
    "Use the config.json that belongs to these weights",
    needs_model=True,
)
def _(bench: Bench) -> None:
    def transpose(weights: dict[str, np.ndarray]) -> None:
        weights["text_projection.weight"] = weights["text_projection.weight"].T.copy()

    _save_weights(bench, transpose)
    bench.load(bench.directory)


@case(
    "the config.json of a deeper model",
    WeightMismatchError,
    "- text_model.encoder.layers.2.layer_norm1.weight [24]: missing",
    "Use the config.json that belongs to these weights",
    needs_model=True,
)
def _(bench: Bench) -> None:
    _edit_config(bench.directory, lambda config: config["text_config"].update(num_hidden_layers=3))
    bench.load(bench.directory)


@case("a missing shard", CheckpointNotFoundError, "names shards that are not there", "model-00002-of", needs_model=True)
def _(bench: Bench) -> None:
    _save_weights(bench, lambda weights: None, "40KB")
    next(bench.directory.glob("model-00002-of-*")).unlink()
    bench.load(bench.directory)


@case(
    "an index that leads out of the directory",
    CheckpointFormatError,
    "expected file names in the same directory",
    "got '../other.safetensors'",
    needs_model=True,
)
def _(bench: Bench) -> None:
    (bench.directory / SINGLE_FILE).unlink()
    index = {"weight_map": {"logit_scale": "../other.safetensors"}}
    (bench.directory / INDEX_FILE).write_text(json.dumps(index))
    bench.load(bench.directory)


# ---- saving


@case("saving to a path that is a file", InputError, "expected a directory", "is a file", needs_model=True)
def _(bench: Bench) -> None:
    bench.load(bench.directory).save_pretrained(bench.directory / SINGLE_FILE)


@case(
    "a shard size that is no size",
    InputError,
    "expected bytes above 0 or a text such as",
    "got 'big'",
    needs_model=True,
)
def _(bench: Bench) -> None:
    bench.load(bench.directory).save_pretrained(bench.directory, max_shard_size="big")


# ---- tokenizer and image processor


@case("no vocab.json", CheckpointNotFoundError, "vocab.json", "The directory holds")
def _(bench: Bench) -> None:
    (bench.directory / "vocab.json").unlink()
    CLIPTokenizer.from_pretrained(bench.directory)


@case("a truncated vocab.json", CheckpointFormatError, "vocab.json: expected JSON", "char", "Fetch or write")
def _(bench: Bench) -> None:
    _spoil(bench.directory / "vocab.json", 1000)
    CLIPTokenizer.from_pretrained(bench.directory)


@case("a truncated merges.txt", CheckpointFormatError, "merges.txt", "expected")
def _(bench: Bench) -> None:
    path = bench.directory / "merges.txt"
    _spoil(path, path.read_bytes().index(b" ", 600))
    CLIPTokenizer.from_pretrained(bench.directory)


@case("no preprocessor_config.json", CheckpointNotFoundError, "preprocessor_config.json: no such file", "holds")
def _(bench: Bench) -> None:
    (bench.directory / "preprocessor_config.json").unlink()
    CLIPProcessor.from_pretrained(bench.directory)


@case(
    "the preprocessor_config.json of another image processor",
    ConfigError,
    "expected a name that begins with CLIP",
    "got 'ViTImageProcessor'",
    "remove that key",
)
def _(bench: Bench) -> None:
    (bench.directory / "preprocessor_config.json").write_text('{"image_processor_type": "ViTImageProcessor"}')
    CLIPProcessor.from_pretrained(bench.directory)


@case("an image size that is no size", ConfigError, "size", "expected", "got")
def _(bench: Bench) -> None:
    (bench.directory / "preprocessor_config.json").write_text('{"size": {"longest": 20}}')
    CLIPProcessor.from_pretrained(bench.directory)
