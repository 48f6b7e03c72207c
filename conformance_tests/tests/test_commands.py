"""The commands of this package pass; each runs its frameworks in processes of their own. ``-s`` shows their tables."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conformance_tests.jobs import Job, read_jobs, read_results, run_jobs, write_jobs, write_results
from conformance_tests.parity.coverage_table import all_rows

ROOT = Path(__file__).parents[2]


def run(*arguments):
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_nothing_of_the_documentation_page_is_missing():
    rows = all_rows()
    page = [row.name for row in rows if row.documented]
    assert sum("." not in name for name in page) == 20
    assert sum("." in name for name in page) == 24
    assert [row for row in rows if not row.exists or row.lacking] == []


@pytest.mark.parametrize("backend", ["torch", "tf", "flax"])
def test_parity_with_transformers(backend):
    done = run("conformance_tests.parity.compare_models", "--backend", backend)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_backends_agree():
    done = run("conformance_tests.cross_framework")
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ladder_without_a_backend_is_a_usage_error():
    done = run("pytest", "conformance_tests/ladder", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 4
    assert "--backend torch|tf|flax" in done.stdout + done.stderr


def test_a_fourth_backend_joins_with_one_module():
    backend = "conformance_tests.meta.numpy_backend"
    done = run("pytest", "conformance_tests", "-q", "-p", "no:cacheprovider", "--backend", backend, "--case", "base")
    assert done.returncode == 0, done.stdout + done.stderr


def test_jobs_and_results_survive_their_files(tmp_path):
    jobs = [
        Job(name="a/b", checkpoint="c", inputs={"x": np.arange(3)}, options={"flag": True}),
        Job(name="d", checkpoint=""),
    ]
    again = read_jobs(write_jobs(jobs, tmp_path))
    assert [job.name for job in again] == ["a/b", "d"]
    assert again[0].options == {"flag": True}
    np.testing.assert_array_equal(again[0].inputs["x"], [0, 1, 2])
    write_results({"a/b": {"y.0": np.eye(2)}}, tmp_path / "results.npz")
    np.testing.assert_array_equal(read_results(tmp_path / "results.npz")["a/b"]["y.0"], np.eye(2))


def test_failed_process_says_why(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(RuntimeError, match="model_type 'clip', got 'bert'"):
        run_jobs("conformance_tests.run_backend", "torch", [Job(name="x", checkpoint=str(tmp_path), weights=True)])
