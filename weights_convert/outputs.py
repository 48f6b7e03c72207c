"""What models compute on fixed inputs, each framework in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from clip_core.backends import choose_backend, installed_backends
from clip_core.checkpoint.tensors import Array
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import CheckpointError
from weights_convert.formats.hf_torch import HF
from weights_convert.model import AnyConfig, Model
from weights_convert.scratch import scratch_directory

LARGEST_DIFFERENCE = 2e-4
"""What two frameworks may differ by, relative to the largest value of an output or to 1: float32 on a CPU, at the
temperature 100 of trained models."""
_ROWS = 3
_SECONDS = 1800


def choose_backends(wanted: Sequence[str]) -> tuple[str, ...]:
    """The backends of these names; without any, two that are installed, or the only one.

    Raises:
        InputError: no backend has such a name.
        MissingExtraError: it is not installed, or none is.
    """
    if wanted:
        return tuple(choose_backend(name) for name in wanted)
    choose_backend(None)  # raises if none is installed
    return tuple(installed_backends()[:2])


def check_outputs(source: Model, result: Model, backends: Sequence[str], *, exact: bool) -> dict[str, dict[str, float]]:
    """Runs the source in the first backend and the result in the last.

    Args:
        exact: whether both have the same weights, so that differences are limited.

    Returns:
        By the names of the two backends, the largest absolute difference of each output.

    Raises:
        CheckpointError: one is larger than frameworks differ by, or is not finite.
    """
    first, second = run_model(source, backends[0]), run_model(result, backends[-1])
    found = compared(first, second) if exact else largest_differences(first, second)
    odd = [name for name, value in found.items() if not np.isfinite(value)]
    if odd:
        raise CheckpointError(f"The outputs are not finite: {', '.join(odd)}. Choose a dtype with a larger range.")
    return {f"{backends[0]}-{backends[-1]}": found}


def largest_differences(first: Mapping[str, Array], second: Mapping[str, Array]) -> dict[str, float]:
    """The largest absolute difference of each output."""
    return {name: float(np.max(np.abs(first[name] - second[name]))) for name in first}


def compared(first: Mapping[str, Array], second: Mapping[str, Array]) -> dict[str, float]:
    """As `largest_differences`; raises `CheckpointError` beyond `LARGEST_DIFFERENCE`."""
    differences = largest_differences(first, second)
    limits = {name: LARGEST_DIFFERENCE * max(1.0, float(np.max(np.abs(first[name])))) for name in first}
    wrong = [f"{name} by {value:.1e}" for name, value in differences.items() if not value <= limits[name]]
    if wrong:
        raise CheckpointError(f"The outputs differ: {', '.join(wrong)}; expected at most {LARGEST_DIFFERENCE:.0e}.")
    return differences


def run_model(model: Model, backend: str) -> dict[str, Array]:
    """The outputs of a model, in float32, on fixed inputs.

    Raises:
        CheckpointError: the framework's process failed.
    """
    with scratch_directory() as directory:
        HF.write(replace(model.cast("float32"), files={}), directory, sys.maxsize)
        np.savez(directory / "inputs.npz", **fixed_inputs(model.config))
        # -P and the path of our own package: a Python file that lies beside a checkpoint is not to be imported
        command = [sys.executable, "-P", "-m", "weights_convert.run_model", str(directory), backend, model.architecture]
        environment = {**os.environ, "PYTHONPATH": _import_path()}
        try:
            ended = subprocess.run(
                command, capture_output=True, text=True, timeout=_SECONDS, check=False, env=environment
            )
        except subprocess.TimeoutExpired as error:
            raise CheckpointError(f"The backend {backend} took more than {_SECONDS} seconds.") from error
        if ended.returncode:
            raise CheckpointError(f"The backend {backend} failed to run the model:\n{ended.stderr[-2000:]}")
        with np.load(directory / "outputs.npz") as outputs:
            return dict(outputs)


def _import_path() -> str:
    """What is imported from, without the working directory, and with a checkout that is not installed."""
    given = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return os.pathsep.join([*given, str(Path(__file__).parents[1])])


def fixed_inputs(config: AnyConfig) -> dict[str, Any]:
    """Seeded inputs: texts of several lengths with their ends in place, and noise for pictures."""
    draw = np.random.default_rng(0)
    text = config.text_config if isinstance(config, CLIPConfig) else config
    vision = config.vision_config if isinstance(config, CLIPConfig) else config
    inputs: dict[str, Any] = {}
    if isinstance(text, CLIPTextConfig):
        inputs["input_ids"] = _token_ids(text, draw)
    if isinstance(vision, CLIPVisionConfig):
        shape = (_ROWS, vision.num_channels, vision.image_size, vision.image_size)
        inputs["pixel_values"] = draw.standard_normal(shape, np.float32)
    return inputs


def _token_ids(config: CLIPTextConfig, draw: np.random.Generator) -> Array:
    length = config.max_position_embeddings
    end = config.vocab_size - 1 if config.eos_token_id == 2 else config.eos_token_id
    ids = draw.integers(0, max(end, 1), (_ROWS, length))
    for row, stop in enumerate(np.linspace(min(2, length - 1), length - 1, _ROWS).astype(int)):
        ids[row, stop:] = end
    return ids
