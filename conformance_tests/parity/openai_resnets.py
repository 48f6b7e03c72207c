"""Does a backend give what OpenAI's own code gives for its ResNets, at their real sizes, from a file in its layout?

    python -m conformance_tests.parity.openai_resnets --python ENV/bin/python --model-py MODEL_PY --backend torch [NAME]

``ENV`` has torch; ``MODEL_PY`` is ``clip/model.py`` of the source distribution ``openai-clip`` 1.0.1. Weights are
random, running statistics too, none of them as in a new model; as in OpenAI's files, convolutions and linear layers are
float16, the rest float32. The file is written by us, read by OpenAI's code, and converted back for the backend by its
shapes. Both compute in float32. Features, logits (at scale 100) and the output of every stage are compared; RN50x64, of
which nothing is computed, by the shapes of its weights. Ends with exit code 1 if a field differs by more than 1e-5 of
its largest value.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from clip_core.backends import FRAMEWORKS
from clip_core.checkpoint.saving import save_checkpoint
from clip_core.checkpoint.tensors import Tensor
from clip_core.config import CLIPConfig
from clip_core.published.table import architectures
from clip_core.weights import weight_specs
from conformance_tests.adapter import flat, load_adapter
from conformance_tests.cases import full_inputs, random_weights, text_inputs
from weights_convert import convert
from weights_convert.formats.openai import OPENAI
from weights_convert.model import Model
from weights_convert.tables import foreign_names

LIMIT = 1e-5
NAMES = ("RN50", "RN101", "RN50x4", "RN50x16")
BY_SHAPE = ("RN50x64",)
_NARROW = ("linear", "linear_bias", "conv")
"""Kinds of weights that OpenAI keeps in float16."""


def config_of(name: str) -> CLIPConfig:
    """The configuration of OpenAI's model of that name."""
    return CLIPConfig.from_dict(architectures()[name].described("quick_gelu"))


def write_file(directory: Path, config: CLIPConfig) -> None:
    """``openai.pt``, with random weights, and ``converted``, what we make of that file."""
    kinds = {spec.name: spec.kind for spec in weight_specs(config)}
    weights = {
        name: value.astype(np.float16) if kinds[name] in _NARROW else value
        for name, value in random_weights(config, seed=0).items()
    }
    save_checkpoint(directory / "source", config, weights, architecture="CLIPModel", max_shard_size="9GB")
    convert(directory / "source", directory / "openai.pt", to="openai", verify="none")
    done = convert(directory / "openai.pt", directory / "converted", to="hf", config="openai", max_shard_size="9GB")
    print(f"  {done.weights} weights, {done.parameters:,} numbers, {', '.join(done.dtypes)}; sha256 {done.sha256}")


def inputs_of(config: CLIPConfig) -> dict[str, NDArray[Any]]:
    """Two images and three texts of full length, which is what OpenAI's code takes."""
    inputs = {**full_inputs(config, 3, 2), **text_inputs(config.text_config, 3, full=True)}
    del inputs["attention_mask"]
    return inputs


def ours(backend: Any, directory: Path, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What a backend gives, by the names of `run_openai_model`."""
    model = backend.load("model", directory / "converted")
    images = backend.call(model, "get_image_features", pixel_values=inputs["pixel_values"])
    texts = backend.call(model, "get_text_features", input_ids=inputs["input_ids"])
    output = backend.call(model, "", **inputs, output_hidden_states=True)
    states = {"hidden_states": output.vision_model_output.hidden_states, "logits_per_image": output.logits_per_image}
    return {
        **flat(states, backend.to_array),
        "image_features": backend.to_array(images),
        "text_features": backend.to_array(texts),
    }


def differences(got: dict[str, NDArray[Any]], expected: dict[str, NDArray[Any]]) -> dict[str, float]:
    """The largest difference of each field, by its largest value."""
    assert set(got) == set(expected), set(got) ^ set(expected)
    return {
        name: float(np.abs(got[name] - value).max() / np.abs(value).max())
        if got[name].shape == value.shape
        else float("inf")
        for name, value in expected.items()
    }


def sizes_for_openai(config: CLIPConfig) -> dict[str, Any]:
    """The arguments of its class ``CLIP``."""
    text, vision = config.text_config, config.vision_config
    return {
        "embed_dim": config.projection_dim,
        "image_resolution": vision.image_size,
        "vision_layers": vision.stage_depths,
        "vision_width": vision.hidden_size // 32,
        "vision_patch_size": None,
        "context_length": text.max_position_embeddings,
        "vocab_size": text.vocab_size,
        "transformer_width": text.hidden_size,
        "transformer_heads": text.num_attention_heads,
        "transformer_layers": text.num_hidden_layers,
    }


def our_shapes(config: CLIPConfig) -> dict[str, list[int]]:
    """Of every weight, as OpenAI's format has it; nothing is read or made."""
    model = Model(config=config, projection=True, weights={})
    empty = {
        spec.name: Tensor(np.dtype(spec.dtype_in("float32")), spec.shape, lambda: np.empty(0)) for spec in model.specs
    }
    named = foreign_names(OPENAI.names_of(config), model.specs, empty, model.heads)
    return {name: list(tensor.shape) for name, tensor in named.items()}


@click.command()
@click.argument("names", nargs=-1)
@click.option("--python", required=True, help="The Python of an environment that has torch.")
@click.option("--model-py", required=True, type=click.Path(exists=True), help="clip/model.py of openai-clip 1.0.1.")
@click.option("--backend", type=click.Choice(FRAMEWORKS), default="torch", show_default=True)
def main(names: tuple[str, ...], python: str, model_py: str, backend: str) -> None:
    """Compares a backend with OpenAI's code, one model after the other."""
    script, wrong = Path(__file__).with_name("run_openai_model.py"), False
    for name in names or (*NAMES, *BY_SHAPE):
        config = config_of(name)
        with tempfile.TemporaryDirectory() as temporary:
            directory = Path(temporary)
            command = [python, "-W", "ignore", str(script), model_py, str(directory)]
            if name in BY_SHAPE:
                subprocess.run([*command, json.dumps(sizes_for_openai(config))], check=True)
                theirs, own = json.loads((directory / "shapes.json").read_text()), our_shapes(config)
                other = sorted(key for key in theirs.keys() | own.keys() if theirs.get(key) != own.get(key))
                print(f"{name}: {len(own)} weights, of which {len(other)} have another shape there {other[:5]}")
                wrong |= bool(other)
                continue
            print(f"{name}:")
            write_file(directory, config)
            inputs = inputs_of(config)
            np.savez(directory / "inputs.npz", **inputs)
            subprocess.run(command, check=True)
            with np.load(directory / "openai.npz") as found:
                errors = differences(ours(load_adapter(backend), directory, inputs), dict(found))
            for field, error in errors.items():
                print(f"  {field}: {error:.1e}")
            wrong |= not max(errors.values()) <= LIMIT
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
