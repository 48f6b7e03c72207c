"""Do the backends agree with each other, from one checkpoint?

    python -m conformance_tests.cross_framework [--checkpoint DIR]

Loads one checkpoint in each backend, each in a process of its own, and prints the largest difference of every output
between each pair (logits at the checkpoint's own scale; generated checkpoints have 100). Then compares the checkpoints
that each saves, byte for byte, and the weights that the other backends and transformers load from them.
Ends with exit code 1 if an output differs by more than its tolerance, or a byte at all.
"""

from __future__ import annotations

import hashlib
import tempfile
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

import click
import numpy as np

from clip_core.backends import FRAMEWORKS
from clip_core.checkpoint.saving import save_checkpoint
from conformance_tests.cases import EMBEDDED, LADDER, Case, checkpoint_case, full_inputs, named_case
from conformance_tests.jobs import Job, Results, run_jobs
from conformance_tests.tolerances import TOLERANCES

PAIRS = tuple(combinations(FRAMEWORKS, 2))
ROWS = (
    *("loss", "logits_per_image", "logits_per_text", "text_embeds", "image_embeds"),
    *(f"{tower}_model_output.{field}" for tower in ("text", "vision") for field in
      ("last_hidden_state", "pooler_output", "hidden_states", "attentions")),
)  # fmt: skip


def largest_differences(results: dict[str, Results], job: str, row: str) -> dict[tuple[str, str], float]:
    """Per pair of backends, of all fields of a row: absolute for logits and loss, else relative to the field."""
    names = [name for name in results[FRAMEWORKS[0]][job] if name == row or name.startswith(f"{row}.")]
    found = {}
    for left, right in PAIRS:
        errors = [0.0]
        for name in names:
            a, b = (results[backend][job][name].astype(np.float64) for backend in (left, right))
            scale = 1.0 if _absolute(row) else np.abs(a).max()
            errors.append(float(np.abs(a - b).max() / scale))
        found[left, right] = max(errors)
    return found


def _absolute(row: str) -> bool:
    return row.startswith(("logits", "loss"))


def report_outputs(results: dict[str, Results], job: str) -> bool:
    """Prints a line per output; whether all are within their tolerance."""
    passed = True
    print(f"\n{job:<42}" + "".join(f"{left + '-' + right:>14}" for left, right in PAIRS) + f"{'tolerance':>14}")
    for row in ROWS:
        limit = TOLERANCES["logits" if _absolute(row) else "hidden_states"].limit
        found = largest_differences(results, job, row)
        passed &= all(value <= limit for value in found.values())
        print(f"{row:<42}" + "".join(f"{found[pair]:>14.2e}" for pair in PAIRS) + f"{limit:>14.0e}")
    return passed


def report_saved(name: str, saved: dict[str, Path], weights: dict[str, Results], given: Case) -> bool:
    """Prints what the checkpoints saved by each backend are and give; whether all are the same."""
    digests = {
        backend: hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
        for backend, path in saved.items()
    }
    expected = {f"weights.{key}": value for key, value in given.weights.items()}
    same = {
        reader: all(
            results[f"{name} by {writer}"].keys() == expected.keys()
            and all(np.array_equal(results[f"{name} by {writer}"][key], value) for key, value in expected.items())
            for writer in saved
        )
        for reader, results in weights.items()
    }
    print(
        f"\n{name}, model.safetensors as saved by each: {'byte-equal' if len(set(digests.values())) == 1 else digests}"
    )
    for reader, equal in same.items():
        print(f"  loaded by {reader:<13} from all three: {'identical tensors' if equal else 'DIFFERENT TENSORS'}")
    return len(set(digests.values())) == 1 and all(same.values())


@click.command()
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, exists=True),
    help="a directory; else our own",
)
def main(checkpoint: Path | None) -> None:
    """Compares the three backends with each other."""
    cases = [checkpoint_case(checkpoint)] if checkpoint else [named_case(name) for name in (*LADDER, EMBEDDED)]
    with tempfile.TemporaryDirectory() as temporary:
        raise SystemExit(0 if compare(cases, Path(temporary)) else 1)


def compare(cases: list[Case], directory: Path) -> bool:
    """Runs and prints the comparisons; whether all passed."""
    for case in cases:
        save_checkpoint(directory / case.name, case.config, case.weights, architecture="CLIPModel")
    options = {"return_loss": True, "output_hidden_states": True, "output_attentions": True}
    saved = {(case.name, backend): directory / f"{case.name}-{backend}" for case in cases for backend in FRAMEWORKS}
    results = {
        backend: run_jobs(
            "conformance_tests.run_backend",
            backend,
            [
                Job(
                    name=case.name,
                    checkpoint=str(directory / case.name),
                    inputs=full_inputs(case.config, 3, 3),
                    options=options,
                    save_to=str(saved[case.name, backend]),
                )
                for case in cases
            ],
        )
        for backend in FRAMEWORKS
    }
    reading = [
        Job(name=f"{name} by {backend}", checkpoint=str(path), weights=True) for (name, backend), path in saved.items()
    ]
    weights = {backend: run_jobs("conformance_tests.run_backend", backend, reading) for backend in FRAMEWORKS}
    if find_spec("transformers"):
        weights["transformers"] = run_jobs("conformance_tests.run_transformers", "torch", reading)
    else:
        print("transformers is not installed: what it loads from these checkpoints is not compared.")
    passed = [report_outputs(results, case.name) for case in cases]
    for case in cases:
        written = {backend: saved[case.name, backend] for backend in FRAMEWORKS}
        passed.append(report_saved(case.name, written, weights, case))
    return all(passed)


if __name__ == "__main__":
    main()
