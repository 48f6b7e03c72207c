"""The backends: what each is called, what it needs, and which of them are installed here.

This is the one table of them; whatever differs between frameworks only in a name is read from it. Nothing here imports
a framework.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from clip_core.errors import InputError, MissingExtraError


@dataclass(frozen=True, kw_only=True)
class Backend:
    """What runs the models.

    Attributes:
        name: of the backend and of the extra that installs it.
        package: with its models.
        class_prefix: what the names of their classes begin with.
        modules: that must be installed; of a framework the first one makes the tensors.
        tensor_class: the class of its tensors in that module; none where they are NumPy's arrays.
        tensor_type: what ``return_tensors`` calls them.
    """

    name: str
    package: str
    class_prefix: str
    modules: tuple[str, ...]
    tensor_class: str | None
    tensor_type: str

    @property
    def is_framework(self) -> bool:
        """Whether it has tensors of its own, and models that can be trained."""
        return self.tensor_class is not None

    def missing_module(self) -> str | None:
        """The first of its modules that is not installed."""
        return next((module for module in self.modules if not find_spec(module)), None)


_TABLE = (
    Backend(
        name="torch",
        package="clip_torch",
        class_prefix="",
        modules=("torch",),
        tensor_class="Tensor",
        tensor_type="pt",
    ),
    Backend(
        name="tf",
        package="clip_tf",
        class_prefix="TF",
        modules=("tensorflow", "keras"),
        tensor_class="Tensor",
        tensor_type="tf",
    ),
    Backend(
        name="flax",
        package="clip_flax",
        class_prefix="Flax",
        modules=("jax", "flax"),
        tensor_class="Array",
        tensor_type="jax",
    ),
    Backend(
        name="onnx",
        package="clip_onnx",
        class_prefix="",
        modules=("onnxruntime",),
        tensor_class=None,
        tensor_type="np",
    ),
)

BACKENDS = {backend.name: backend for backend in _TABLE}
"""Every backend by its name, in the order in which they are shown."""

FRAMEWORKS = tuple(backend.name for backend in _TABLE if backend.is_framework)
"""The names of those that can be trained, in the same order."""

PREFERENCE = ("torch", "flax", "tf", "onnx")
"""The order in which they start: torch needs about half of TensorFlow's time to classify one picture, flax nearly as
much. ONNX Runtime starts before any, but comes last: where there is a framework, it is used as before, on its GPU if
there is one."""


def installed_backends() -> list[str]:
    """Names of the backends whose frameworks are installed, the preferred one first."""
    return [name for name in PREFERENCE if BACKENDS[name].missing_module() is None]


def choose_backend(name: str | None) -> str:
    """The backend of that name, or without one the preferred one of those installed.

    Raises:
        InputError: no backend has that name.
        MissingExtraError: its framework is not installed, or none is.
    """
    if name is None:
        installed = installed_backends()
        if not installed:
            raise MissingExtraError(
                "torch (or jax and flax, or tensorflow, or onnxruntime)", "torch", "running a model"
            )
        return installed[0]
    if name not in BACKENDS:
        raise InputError(f"backend: expected one of {', '.join(BACKENDS)}, got {name!r}.")
    missing = BACKENDS[name].missing_module()
    if missing is not None:
        raise MissingExtraError(missing, name, f"the backend {name}")
    return name
