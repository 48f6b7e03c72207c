"""Do models of the shape of every published one compute what open_clip's own do, in three backends?

    python -m conformance_tests.parity.published_shapes --python ENV/bin/python [--backend torch] [--ladder] [NAME ...]

A shape is an architecture of the table with an activation that a model of it has. Its towers keep three and two of
their heads, ResNets an eighth of their width; the width of a head, the ratio of the MLP and the depths of a ResNet
stay, other depths become 3 and 2, pictures 3 patches and what is left over. Each gets random weights, is converted to
open_clip's files and loaded there with open_clip's own loader; logits are compared at scale 100. ``--python`` is an
interpreter that has open_clip_torch. With ``--ladder`` each also climbs three rungs of the ladder in each backend:
towers, logits and gradients of every weight, against the float64 oracle. Ends with exit code 1 if something differs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import numpy as np

from clip_core.backends import BACKENDS, FRAMEWORKS
from clip_core.checkpoint.saving import save_checkpoint
from clip_core.config import CLIPConfig
from clip_core.published.table import architectures, models
from conformance_tests.cases import random_weights
from conformance_tests.threads import ONE_THREAD
from weights_convert import convert
from weights_convert.outputs import fixed_inputs

LIMIT = 5e-5
"""Relative to the largest logit or to 1: float32 on a CPU at scale 100."""
VOCABULARY, PATCHES = 601, 3
RUNGS = ("towers", "logits", "gradients")
_OPEN_CLIP = """
import logging, sys, numpy, torch, open_clip
from pathlib import Path
logging.disable(logging.CRITICAL)
for folder in map(Path, sys.argv[1:]):
    model = open_clip.create_model(f"local-dir:{folder / 'open_clip'}").eval()
    inputs = numpy.load(folder / "inputs.npz")
    with torch.no_grad():
        image, text, scale = model(*(torch.from_numpy(inputs[name]) for name in ("pixel_values", "input_ids")))
    numpy.save(folder / "open_clip.npy", (scale * image @ text.T).numpy())
"""


def scaled(sizes: Mapping[str, Any], activation: str) -> CLIPConfig:
    """A small configuration of the shape of an architecture."""
    vision, text = dict(sizes["vision_config"]), dict(sizes["text_config"])
    resnet = "stage_depths" in vision
    for tower, heads in ((vision, vision["num_attention_heads"] // 8 if resnet else 3), (text, 2)):
        for name in ("hidden_size", "intermediate_size"):
            if name in tower:
                tower[name] = tower[name] * heads // tower["num_attention_heads"]
        tower["num_attention_heads"] = heads
    vision["image_size"] = PATCHES * vision["patch_size"] + vision["image_size"] % vision["patch_size"]
    text |= {"vocab_size": VOCABULARY, "eos_token_id": VOCABULARY - 1, "bos_token_id": VOCABULARY - 2}
    text |= {"num_hidden_layers": 2, "hidden_act": activation}
    if not resnet:
        vision |= {"num_hidden_layers": 3, "hidden_act": activation}
    embed = {"projection_dim": sizes["projection_dim"] // 8}
    return CLIPConfig.from_dict({**embed, "text_config": {**text, **embed}, "vision_config": {**vision, **embed}})


def shapes() -> dict[str, tuple[CLIPConfig, list[str]]]:
    """Every distinct shape by the name of the first that has it, and the names of all that have."""
    used = {(model.architecture.name, model.activation or "gelu") for model in models().values()}
    used |= {(name, "gelu") for name in architectures() if name not in {architecture for architecture, _ in used}}
    found: dict[str, tuple[CLIPConfig, list[str]]] = {}
    for name, activation in sorted(used):
        config, label = scaled(architectures()[name].sizes, activation), f"{name} {activation}"
        same = next((listed for other, listed in found.values() if other == config), None)
        if same is None:
            found[label] = (config, [label])
        else:
            same.append(label)
    return found


def write(folder: Path, config: CLIPConfig) -> None:
    """A checkpoint with random weights, the same for open_clip, and inputs."""
    save_checkpoint(folder / "hf", config, random_weights(config, seed=0), architecture="CLIPModel")
    convert(folder / "hf", folder / "open_clip", to="open_clip")
    np.savez(folder / "inputs.npz", **fixed_inputs(config))


def run_here(backend: str, folders: list[str]) -> None:
    """Writes the logits that a backend gives for each folder; in a process of its own."""
    package, prefix = import_module(BACKENDS[backend].package), BACKENDS[backend].class_prefix
    for folder in map(Path, folders):
        model = getattr(package, f"{prefix}CLIPModel").from_pretrained(folder / "hf")
        with np.load(folder / "inputs.npz") as loaded:
            inputs: dict[str, Any] = dict(loaded)
        if backend == "torch":
            import torch

            inputs = {name: torch.from_numpy(value) for name, value in inputs.items()}
        logits = model(**inputs).logits_per_image
        np.save(folder / f"{backend}.npy", np.asarray(logits.detach() if backend == "torch" else logits))


def _run(command: list[str | Path], **more: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **ONE_THREAD, "TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, **more)


def climb_here(backend: str, folders: list[str]) -> None:
    """Has each folder's checkpoint climb the rungs in a backend, in this process; prints how many did not."""
    import pytest

    rungs = [str(Path(__file__).parents[1] / "ladder" / f"test_{rung}.py") for rung in RUNGS]
    options = ["-q", "-p", "no:cacheprovider", "--no-header", "--backend", backend]
    failed = [folder for folder in folders if pytest.main([*options, "--checkpoint", f"{folder}/hf", *rungs])]
    print(f"{backend}: {len(folders) - len(failed)} of {len(folders)} shapes climbed {', '.join(RUNGS)}", flush=True)
    raise SystemExit(1 if failed else 0)


def compared(folder: Path, backends: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """The largest difference of each backend's logits to open_clip's, relative to the largest of these or to 1."""
    theirs = np.load(folder / "open_clip.npy")
    for backend in backends:
        ours = np.load(folder / f"{backend}.npy")
        yield backend, float(np.max(np.abs(ours - theirs)) / max(1.0, float(np.max(np.abs(theirs)))))


@click.command()
@click.argument("names", nargs=-1)
@click.option("--python", required=True, help="The Python of an environment that has open_clip_torch.")
@click.option("--backend", "backends", multiple=True, type=click.Choice(FRAMEWORKS), default=FRAMEWORKS)
@click.option("--ladder", is_flag=True, help="Climb three rungs of the ladder, too.")
@click.option("--no-resnets", is_flag=True, help="Leave out ResNet towers.")
def main(names: tuple[str, ...], python: str, backends: tuple[str, ...], ladder: bool, no_resnets: bool) -> None:
    """Compares models of the shape of every published one with open_clip's own."""
    chosen = {
        label: found
        for label, found in shapes().items()
        if (not names or any(label.split()[0] == name for name in names))
        and not (no_resnets and found[0].vision_config.is_resnet)
    }
    wrong = False
    with tempfile.TemporaryDirectory() as temporary:
        folders = {label: Path(temporary) / str(number) for number, label in enumerate(chosen)}
        for label, (config, _) in chosen.items():
            write(folders[label], config)
        listed = [str(folder) for folder in folders.values()]
        for name, command in {
            "open_clip": [python, "-W", "ignore", "-c", _OPEN_CLIP],
            **{backend: [sys.executable, "-m", __spec__.name, "--run", backend] for backend in backends},
        }.items():
            done = _run([*command, *listed])
            if done.returncode:
                raise SystemExit(f"{name} ended with exit code {done.returncode}:\n{done.stderr[-3000:]}")
        for label, (config, same) in chosen.items():
            errors = dict(compared(folders[label], backends))
            wrong |= not all(error <= LIMIT for error in errors.values())
            vision = config.vision_config
            heads = f"{vision.num_attention_heads} of {vision.hidden_size // vision.num_attention_heads}"
            figures = " | ".join(f"{error:.1e}" for error in errors.values())
            print(f"| {', '.join(same)} | {heads} | {figures} |", flush=True)
        for backend in backends if ladder else ():
            done = _run([sys.executable, "-m", __spec__.name, "--climb", backend, *listed])
            print(done.stdout[-3000:] if done.returncode else done.stdout.strip().splitlines()[-1], flush=True)
            wrong |= bool(done.returncode)
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run_here(sys.argv[2], sys.argv[3:])
    elif sys.argv[1:2] == ["--climb"]:
        climb_here(sys.argv[2], sys.argv[3:])
    else:
        main()
