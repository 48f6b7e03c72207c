"""Puts a mistake into a backend's package, in words that fit all frameworks, for as long as a test runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
from numpy.typing import NDArray

from clip_core.backends import BACKENDS, FRAMEWORKS

MODULES = ("layers", "positions", "text", "vision", "vision_resnet", "model", "classification", "weights")
MODULES_OF_ONNX = ("graph", "layers", "text_graph", "vision_graph", "model")
CALL = {"torch": "forward", "tf": "call", "flax": "__call__"}


class Seeder:
    """Patches one backend's package; everything is undone when the test ends."""

    def __init__(self, backend: str, patch: pytest.MonkeyPatch) -> None:
        self.backend = backend
        self.patch = patch
        names = MODULES_OF_ONNX if backend == "onnx" else MODULES
        self.modules = {name: import_module(f"clip_{backend}.{name}") for name in names}
        if backend == "flax":  # programs that were compiled before there was a mistake
            self.patch.setattr(import_module("clip_flax.compilation"), "_program", lambda *_: None)

    def __getattr__(self, name: str) -> ModuleType:
        return self.modules[name]

    def wrap(self, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
        """Replaces ``owner.name`` by ``wrapper(original, *arguments)``, of the same signature: Keras looks at it."""
        original = getattr(owner, name)

        def call(*args: Any, **options: Any) -> Any:
            return wrapper(original, *args, **options)

        call.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
        self.patch.setattr(owner, name, call)

    def wrap_call(self, owner: Any, wrapper: Callable[..., Any]) -> None:
        """The same for what a layer computes."""
        self.wrap(owner, CALL[self.backend], wrapper)

    def wrap_everywhere(self, name: str, wrapper: Callable[..., Any]) -> None:
        """The same for a function of ``layers`` in every module that imports it."""
        original = getattr(self.layers, name)
        for module in self.modules.values():
            if hasattr(module, name):
                self.patch.setattr(module, name, lambda *args, **options: wrapper(original, *args, **options))

    @property
    def numpy(self) -> Any:
        """The framework's functions that are called as NumPy's are."""
        return import_module({"torch": "torch", "tf": "keras.ops", "flax": "jax.numpy"}[self.backend])

    @property
    def functions(self) -> Any:
        """The module whose ``softmax`` the backend calls."""
        return import_module({"torch": "torch", "tf": "tensorflow.nn", "flax": "jax.nn"}[self.backend])

    @property
    def layer_norm_class(self) -> Any:
        """The framework's LayerNorm."""
        module, name = {
            "torch": ("torch.nn", "LayerNorm"),
            "tf": ("keras.layers", "LayerNormalization"),
            "flax": ("flax.nnx", "LayerNorm"),
        }[self.backend]
        return getattr(import_module(module), name)

    def value(self, parameter: Any) -> Any:
        """The tensor in a parameter."""
        return {"torch": lambda: parameter, "tf": lambda: parameter.value, "flax": lambda: parameter[...]}[
            self.backend
        ]()

    def cast(self, tensor: Any, dtype: Any) -> Any:
        """The tensor in another dtype."""
        if self.backend == "tf":
            return import_module("tensorflow").cast(tensor, dtype)
        return tensor.to(dtype) if self.backend == "torch" else tensor.astype(dtype)

    def tensor(self, array: NDArray[Any]) -> Any:
        """The array as a tensor."""
        return self.numpy.convert_to_tensor(array) if self.backend == "tf" else self.numpy.asarray(array)

    def turned(self, tensor: Any) -> Any:
        """The second axis backwards."""
        return self.numpy.fliplr(tensor) if self.backend == "torch" else self.numpy.flip(tensor, 1)

    def stopped(self, tensor: Any) -> Any:
        """The tensor, which no gradient passes."""
        if self.backend == "torch":
            return tensor.detach()
        return import_module({"tf": "tensorflow", "flax": "jax.lax"}[self.backend]).stop_gradient(tensor)

    def differentiate_anew(self) -> None:
        """JAX would use gradients that it compiled before there was a mistake."""
        if self.backend == "flax":
            adapter = import_module("conformance_tests.adapters.flax")
            self.patch.setattr(adapter, "_loss_gradients", adapter._loss_gradients.__wrapped__)

    @property
    def model_class(self) -> Any:
        """The class of the full model."""
        return getattr(self.model, f"{BACKENDS[self.backend].class_prefix}CLIPModel")


@dataclass(frozen=True)
class Defect:
    """One mistake.

    Attributes:
        caught_by: module and name of a test that fails, on the lowest broken rung of the ladder.
        seed: makes the mistake.
        case: the case of the ladder that shows it.
        backends: in which it can be made this way.
        climbs: whether it is shown without ``--climb``, too, that nothing below that test breaks; not of mistakes in
            what is computed in training only, which no lower rung does.
    """

    caught_by: str
    seed: Callable[[Seeder], None]
    case: str = "base"
    backends: tuple[str, ...] = FRAMEWORKS
    climbs: bool = True
