"""Do other libraries load what we convert, give our numbers, and write what we read?

    python -m conformance_tests.parity.foreign_checkpoints --python ENVIRONMENT/bin/python LIBRARY [--checkpoint DIR]

Converts a checkpoint into the library's own format, loads it there with the library's own loader, and compares its
logits at scale 100 with those of `clip_torch`. Then reads what the library saved: its weights must be the same bit for
bit. Where a tokenizer travels along, the library's own tokenizer must give our token ids, and the largest difference of
its preprocessed picture to ours is printed. Without a checkpoint, a small model is used that every library can hold,
its weights random and each a float16 value, which OpenAI rounds to. Ends with exit code 1 if something differs.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import click
import numpy as np
from PIL import Image

from clip_core.checkpoint.saving import save_checkpoint
from clip_core.config import CLIPConfig
from clip_core.image.options import Profile
from clip_core.image.processor import CLIPImageProcessor
from clip_core.initialization import draw_weights
from clip_core.tokenizer.clip import CLIPTokenizer
from weights_convert import convert, inspect, open_source
from weights_convert.companions import completed, write_files
from weights_convert.model import Model
from weights_convert.outputs import fixed_inputs, run_model

FORMATS = {
    "transformers": "hf",
    "transformers-tf": "hf-tf",
    "transformers-flax": "hf-flax",
    "open_clip": "open_clip",
    "openai": "openai",
    "keras-hub": "keras-hub",
}
"""What each library loads."""
LIMIT = 5e-5
TEXTS = ["a photo of a cat", "Two dogs & 3 birds, at sea!", "don't walk: na\u00efve caf\u00e9"]
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


def write_source(directory: Path, model: Model, profile: Profile) -> Path:
    """The checkpoint at the logit scale of trained models, with the small files that travel along."""
    scale = np.asarray(LOGIT_SCALE, np.float32)
    weights = {name: scale if name == "logit_scale" else tensor.read() for name, tensor in model.weights.items()}
    save_checkpoint(directory, model.config, weights, architecture="CLIPModel")
    files, _ = completed(model.files, model.config, profile)
    write_files(directory, files)
    return directory


def write_picture(path: Path) -> None:
    """A picture with edges and gradients, higher than wide."""
    rows, columns = np.mgrid[0:301, 0:200]
    pixels = np.stack([rows * 255 // 300, columns * 255 // 199, (rows // 20 + columns // 20) % 2 * 255], -1)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def prepared_alike(directory: Path, source: Path) -> bool:
    """Whether the library's tokenizer gave our ids up to the end of each text; prints what its picture differs by."""
    config = CLIPConfig.from_pretrained(source).text_config
    end = config.vocab_size - 1 if config.eos_token_id == 2 else config.eos_token_id
    ours = CLIPTokenizer.from_pretrained(source)(TEXTS)["input_ids"]
    pixels = CLIPImageProcessor.from_pretrained(source)(Image.open(directory / "picture.png"), return_tensors="np")
    with np.load(directory / "prepared.npz") as found:
        theirs = [row[: row.index(end) + 1] for row in found["input_ids"].tolist()]
        error = np.max(np.abs(found["pixel_values"] - pixels["pixel_values"]))
    same = theirs == ours
    print(f"  tokenizer: {'our ids' if same else f'OTHER IDS {theirs}'}; largest difference of a picture {error:.1e}")
    return same


@click.command()
@click.argument("library", type=click.Choice(list(FORMATS)))
@click.option("--python", required=True, help="The Python of an environment that has the library.")
@click.option("--checkpoint", help="Directory or name of a checkpoint.  [default: a small one with random weights]")
def main(library: str, python: str, checkpoint: str | None) -> None:
    """Compares a library with clip_torch on one converted checkpoint, and reads what it saves."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        given = open_source(checkpoint or write_small(directory / "given"))
        source = write_source(directory / "source", given.model, given.format.profile)
        model = open_source(source).model
        convert(source, directory / "converted", to=FORMATS[library])
        np.savez(directory / "inputs.npz", **fixed_inputs(model.config))
        has_tokenizer = "vocab.json" in model.files
        if has_tokenizer:
            (directory / "texts.json").write_text(json.dumps(TEXTS))
            write_picture(directory / "picture.png")
        ours = run_model(model, "torch")["logits_per_image"]
        theirs = run_library(python, library, directory)
        error = float(np.max(np.abs(ours - theirs))) if ours.shape == theirs.shape else float("inf")
        print(f"{library}: largest difference of logits {error:.1e}, logits from {ours.min():.2f} to {ours.max():.2f}")
        wrong = not error <= LIMIT or (has_tokenizer and not prepared_alike(directory, source))
        for saved in sorted(directory.glob("saved_*")):
            count = differing(saved, source, model.config)
            print(f"  {saved.name}: {f'{count} weights differ' if count else 'read, the same bit for bit'}")
            wrong |= bool(count)
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
