"""The line that says what a run was made with."""

import platform
from dataclasses import replace
from importlib.metadata import version

from clip_core.backends import BACKENDS
from conformance_tests.versions import environment_line


def test_names_python_numpy_and_the_backends_own_framework():
    line = environment_line("torch")
    assert f"Python {platform.python_version()}, numpy {version('numpy')}, torch {version('torch')};" in line
    assert "tensorflow" not in line


def test_another_backend_names_every_framework_that_is_installed():
    line = environment_line("package.module")
    assert all(f"{name} {version(name)}" in line for name in ("torch", "tensorflow", "keras", "jax", "flax"))


def test_what_is_not_installed_is_left_out(monkeypatch):
    backend = replace(BACKENDS["torch"], modules=("torch", "a-framework-nobody-has"))
    monkeypatch.setitem(BACKENDS, "torch", backend)
    assert "nobody" not in environment_line("torch")


def test_threads_are_those_of_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("TF_NUM_INTEROP_THREADS", raising=False)
    line = environment_line(None)
    assert "OMP_NUM_THREADS=3 " in line
    assert "TF_NUM_INTEROP_THREADS=(unset)" in line
