"""Does every backend give what transformers 4.57 gives?

    python -m conformance_tests.parity.compare_models [--backend torch|tf|flax]

Writes checkpoint directories with random weights, runs our models and those of transformers on them (PyTorch against
its PyTorch, TensorFlow against its TensorFlow, Flax against its Flax; each in a process of its own), and compares every
field of every output, hidden state and attention. What transformers lacks in a framework is compared with its PyTorch
models.
Ends with exit code 1 if a field differs by more than 1e-5 of its largest value.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from clip_core.backends import FRAMEWORKS
from clip_core.checkpoint.saving import save_checkpoint
from conformance_tests.cases import CONFIGS, full_inputs, named_case, pixel_inputs, text_inputs
from conformance_tests.jobs import Job, Results, run_jobs

LIMIT = 1e-5
FLAGS = {"output_hidden_states": True, "output_attentions": True}
RESAMPLED = ("base", "patch-14-of-30")
ENVIRONMENTS = {  # of transformers' models: its Keras is the old one; its Flax models are compiled for one call each
    "torch": {},
    "tf": {"TF_USE_LEGACY_KERAS": "1"},
    "flax": {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
}


def write_checkpoints(directory: Path) -> dict[str, Path]:
    """A checkpoint directory for every configuration."""
    paths = {name: directory / name for name in CONFIGS}
    for name, path in paths.items():
        case = named_case(name)
        save_checkpoint(path, case.config, case.weights, architecture="CLIPModel")
    return paths


def jobs_of(name: str, checkpoint: Path) -> Iterator[Job]:
    """What is called with the checkpoint of a configuration."""
    config, path = CONFIGS[name], str(checkpoint)
    masked = full_inputs(config, 3, 3)
    unmasked = {key: value for key, value in masked.items() if key != "attention_mask"}
    text = text_inputs(config.text_config, 3, positions=True)
    pixels = {"pixel_values": masked["pixel_values"]}
    loss = {**FLAGS, "return_loss": True}
    yield Job(name=f"{name}/model, masked", checkpoint=path, inputs=masked, options=loss)
    yield Job(name=f"{name}/model, unmasked", checkpoint=path, inputs=unmasked, options=loss)
    yield Job(name=f"{name}/text features", checkpoint=path, method="get_text_features", inputs=text)
    yield Job(name=f"{name}/image features", checkpoint=path, method="get_image_features", inputs=pixels)
    if name in RESAMPLED:
        yield from _resampling_jobs(name, path)
    for kind in ("text", "text_projection"):
        yield Job(name=f"{name}/{kind}", checkpoint=path, kind=kind, inputs=text, options=FLAGS)
    for kind in ("vision", "vision_projection"):
        yield Job(name=f"{name}/{kind}", checkpoint=path, kind=kind, inputs=pixels, options=FLAGS)


def _resampling_jobs(name: str, path: str) -> Iterator[Job]:
    vision = CONFIGS[name].vision_config
    side, patch = vision.patches_per_side, vision.patch_size
    for how, rows, columns in (("up", side + 2, side + 2), ("down", side - 1, side - 1), ("wide", side, side + 4)):
        inputs = {
            **text_inputs(CONFIGS[name].text_config, 3),
            "pixel_values": pixel_inputs(vision, 3, size=(patch * rows, patch * columns)),
        }
        options = {**FLAGS, "interpolate_pos_encoding": True}
        yield Job(name=f"{name}/model, resampled {how}", checkpoint=path, inputs=inputs, options=options)


def upstream_job(framework: str, job: Job) -> Job | None:
    """The job as transformers' models of a framework can do it, or nothing if they cannot."""
    kinds = {
        "tf": ("model", "text", "vision"),
        "flax": ("model", "text", "text_projection", "vision"),
    }
    if framework == "torch":
        return job
    if job.kind not in kinds[framework] or "interpolate_pos_encoding" in job.options:
        return None
    config = CONFIGS[job.name.split("/")[0]]
    if framework == "flax" and config.vision_config.num_channels != 3:
        return None  # written into the shape with which transformers' Flax models are made
    if framework == "tf" and config.text_config.hidden_act == "gelu_pytorch_tanh":
        return None  # transformers' TensorFlow activations have no such name
    options = {key: value for key, value in job.options.items() if framework == "tf" or key != "return_loss"}
    return replace(job, options=options)  # Flax' models have no loss


def upstream_results(framework: str, jobs: list[Job]) -> Results:
    """What transformers' models of a framework answer."""
    possible = [upstream for job in jobs if (upstream := upstream_job(framework, job))]
    return run_jobs("conformance_tests.run_transformers", framework, possible, ENVIRONMENTS[framework])


def error(got: NDArray[Any], expected: NDArray[Any]) -> float:
    """The largest difference as a part of the largest expected value; TensorFlow's loss of shape ``(1,)`` is scalar."""
    if expected.shape == (1,) and got.shape == ():
        expected = expected.reshape(())
    if got.shape != expected.shape:
        return float("inf")
    difference = np.abs(got.astype(np.float64) - expected)
    return float(np.max(difference, initial=0) / max(np.abs(expected).max(initial=0), np.finfo(np.float32).tiny))


def compare(ours: Results, own: Results, torch: Results) -> Iterator[tuple[str, str, str, float]]:
    """Job, field, the framework that it was compared with (``"own"`` or ``"torch"``), and the error."""
    for job, expected in torch.items():
        for name in expected.keys() | ours[job].keys():
            reference = own.get(job, {})
            source = "own" if name in reference else "torch"
            reference = reference if source == "own" else expected
            there = name in ours[job] and name in reference
            yield job, name, source, error(ours[job][name], reference[name]) if there else float("inf")


def report(backend: str, rows: list[tuple[str, str, str, float]]) -> bool:
    """Prints a line per configuration; whether all errors are within the limit."""
    print(f"\n{backend:<20}{'fields':>8}{'own':>8}{'torch':>8}{'largest error':>16}  where")
    for name in CONFIGS:
        mine = [row for row in rows if row[0].startswith(f"{name}/")]
        worst = max(mine, key=lambda row: row[3])
        counts = [sum(row[2] == source for row in mine) for source in ("own", "torch")]
        where = f"{worst[0].split('/')[1]}: {worst[1]}"
        print(f"{name:<20}{len(mine):>8}{counts[0]:>8}{counts[1]:>8}{worst[3]:>16.2e}  {where}")
    return all(row[3] <= LIMIT for row in rows)


@click.command()
@click.option("--backend", "backends", type=click.Choice(FRAMEWORKS), multiple=True, default=FRAMEWORKS)
def main(backends: tuple[str, ...]) -> None:
    """Compares every backend with transformers' models of the same framework."""
    with tempfile.TemporaryDirectory() as temporary:
        jobs = [job for name, path in write_checkpoints(Path(temporary)).items() for job in jobs_of(name, path)]
        torch = upstream_results("torch", jobs)
        passed = []
        for backend in backends:
            own = torch if backend == "torch" else upstream_results(backend, jobs)
            ours = run_jobs("conformance_tests.run_backend", backend, jobs)
            passed.append(report(backend, list(compare(ours, own, torch))))
    print(f"\nown: fields compared with transformers' models of the same framework. Limit {LIMIT:g}.")
    print("torch: with its PyTorch models, where it has none such.")
    raise SystemExit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
