"""Do other libraries load what we convert, give our numbers, and write what we read?

    python -m conformance_tests.foreign_checkpoints --python ENVIRONMENT/bin/python LIBRARY [--checkpoint DIR]

Converts a checkpoint into the library's own format, loads it there with the library's own loader, and compares its
logits at scale 100 with those of `clip_torch`. Then reads what the library saved: its weights must be the same bit for
bit. Without a checkpoint, a small model is used that every library can hold, its weights random and each a float16
value, which OpenAI's loader rounds to. Ends with exit code 1 if something differs.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from clip_core.checkpoint import save_checkpoint
from clip_core.config import CLIPConfig
from clip_core.initialization import draw_weights
from weights_convert import convert, inspect, open_source
from weights_convert.model import Model
from weights_convert.outputs import fixed_inputs, run_model
from weights_convert.tensors import constant

FORMATS = {"transformers": "hf", "open_clip": "open_clip", "openai": "openai", "keras-hub": "keras-hub"}
"""What each library loads."""
LIMIT = 5e-5
LOGIT_SCALE = np.float16(np.log(100))
SMALL = CLIPConfig(
    projection_dim=48,
    text_config={
        "vocab_size": 1000,
        "hidden_size": 192,
        "intermediate_size": 768,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "max_position_embeddings": 21,
        "bos_token_id": 998,
        "eos_token_id": 999,
        "projection_dim": 48,
    },
    vision_config={
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": 70,
        "patch_size": 14,
        "projection_dim": 48,
    },
)


def write_small(directory: Path) -> Path:
    """A checkpoint directory with random weights that are float16 values, biases too."""
    draw = np.random.default_rng(0)
    weights = {}
    for name, value in draw_weights(SMALL, seed=0):
        noisy = value + 0.02 * draw.standard_normal(value.shape)
        weights[name] = noisy.astype(np.float16).astype(np.float32)
    save_checkpoint(directory, SMALL, weights, architecture="CLIPModel")
    return directory


def at_scale_100(model: Model) -> Model:
    """The model with the logit scale of trained models."""
    scale = constant(np.asarray(LOGIT_SCALE, np.float32))
    return replace(model, weights={**model.weights, "logit_scale": scale})


def run_library(python: str, library: str, directory: Path) -> np.ndarray:
    """The logits that the library gives for what lies in the directory; `run_foreign_library` says what that is.

    Raises:
        RuntimeError: the library failed; the end of what it printed is in the message.
    """
    script = Path(__file__).with_name("run_foreign_library.py")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [python, "-W", "ignore", str(script), library, str(directory)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{library} ended with exit code {done.returncode}:\n{done.stderr[-3000:]}")
    return np.load(directory / "logits.npy")


def differing(saved: Path, source: Path, config: CLIPConfig) -> int:
    """How many of the weights that a library saved are not those of the source; a tower has a part of them."""
    found = set(inspect(saved, config=None if saved.is_dir() else config).tensors)
    expected = set(inspect(source).tensors)
    return max(len(found - expected), 0 if "_tower_" in saved.name else len(expected - found))


@click.command()
@click.argument("library", type=click.Choice(list(FORMATS)))
@click.option("--python", required=True, help="The Python of an environment that has the library.")
@click.option("--checkpoint", help="Directory or name of a checkpoint.  [default: a small one with random weights]")
def main(library: str, python: str, checkpoint: str | None) -> None:
    """Compares a library with clip_torch on one converted checkpoint, and reads what it saves."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        given = open_source(checkpoint or write_small(directory / "given")).model
        source = directory / "source"
        save_checkpoint(
            source,
            given.config,
            {name: tensor.read() for name, tensor in at_scale_100(given).weights.items()},
            architecture="CLIPModel",
        )
        model = open_source(source).model
        convert(source, directory / "converted", to=FORMATS[library])
        inputs = fixed_inputs(model.config)
        np.savez(directory / "inputs.npz", **inputs)
        ours = run_model(model, "torch")["logits_per_image"]
        theirs = run_library(python, library, directory)
        error = float(np.max(np.abs(ours - theirs))) if ours.shape == theirs.shape else float("inf")
        print(f"{library}: largest difference of logits {error:.1e}, logits from {ours.min():.2f} to {ours.max():.2f}")
        wrong = not error <= LIMIT
        for saved in sorted(directory.glob("saved_*")):
            count = differing(saved, source, model.config)
            print(f"  {saved.name}: {f'{count} weights differ' if count else 'read, the same bit for bit'}")
            wrong |= bool(count)
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
