"""The table of backends, and how one of them is chosen."""

import subprocess
import sys

import pytest

from clip_core import backends
from clip_core.errors import InputError, MissingExtraError


def _hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None if name in modules else object())


@pytest.mark.parametrize(
    ("hidden", "found"),
    [
        ((), ["torch", "flax", "tf", "onnx"]),
        (("torch",), ["flax", "tf", "onnx"]),
        (("jax",), ["torch", "tf", "onnx"]),
        (("keras", "onnxruntime"), ["torch", "flax"]),
        (("torch", "jax", "keras"), ["onnx"]),
    ],
)
def test_backends_whose_frameworks_are_there(
    monkeypatch: pytest.MonkeyPatch, hidden: tuple[str, ...], found: list[str]
) -> None:
    _hide(monkeypatch, *hidden)
    assert backends.installed_backends() == found
    assert backends.choose_backend(None) == found[0]


@pytest.mark.parametrize(
    ("name", "module"), [("torch", "torch"), ("tf", "keras"), ("flax", "flax"), ("onnx", "onnxruntime")]
)
def test_a_missing_framework_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    _hide(monkeypatch, module)
    with pytest.raises(MissingExtraError, match=rf"'{module}'.*pip install 'triclip\[{name}\]'"):
        backends.choose_backend(name)


def test_no_framework_at_all_names_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "torch", "tensorflow", "jax", "onnxruntime")
    with pytest.raises(MissingExtraError, match=r"pip install 'triclip\[torch\]'"):
        backends.choose_backend(None)


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(InputError, match="expected one of torch, tf, flax, onnx, got 'mlx'"):
        backends.choose_backend("mlx")


def test_every_backend_has_its_place_in_the_preference() -> None:
    assert sorted(backends.PREFERENCE) == sorted(backends.BACKENDS)


def test_finding_backends_imports_none() -> None:
    code = (
        "import sys; from clip_core.backends import choose_backend, installed_backends; "
        "assert installed_backends(); choose_backend(None); "
        "assert not {'torch', 'tensorflow', 'keras', 'jax', 'flax', 'onnxruntime', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
