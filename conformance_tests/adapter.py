"""What a backend implements to be tested, and how the suite reaches it.

An adapter is a module with the functions of `Adapter`. Those of this project are in ``conformance_tests.adapters``; any
other module can be named: ``pytest conformance_tests --backend package.module``.

Models are made by ``kind``: ``"model"``, ``"text"``, ``"text_projection"``, ``"vision"``, ``"vision_projection"``,
``"classification"``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clip_core import backends
from clip_core.config import CLIPConfig
from clip_core.weights import WeightSpec, weight_specs

BACKENDS = tuple(backends.BACKENDS)
CLASSES = {
    "model": "CLIPModel",
    "text": "CLIPTextModel",
    "text_projection": "CLIPTextModelWithProjection",
    "vision": "CLIPVisionModel",
    "vision_projection": "CLIPVisionModelWithProjection",
    "classification": "CLIPForImageClassification",
}
KINDS = tuple(kind for kind in CLASSES if kind != "classification")
"""The models that a checkpoint of the full model is read by."""

Arrays = Mapping[str, NDArray[Any]]


class Adapter(Protocol):
    """The functions of an adapter module. Arrays are NumPy's; weights have their shared names and axes.

    A module may also say ``ON_DEVICE = True``: its tensors do not lie in host memory, so that their values are not
    checked, and what means nothing is to be NaN instead of an error. With ``REFUSES_PARTS = True`` `global_loss` is to
    be an error: the backend has no loss over replicas. With ``WITHOUT_CLASSIFIER = True`` it has no image classifier,
    and that rung is not climbed. With ``COMPUTES_WIDE = True`` it computes in float32 whatever the dtype of the
    weights, and the rung of half precision is not climbed. ``WITHOUT`` names functions of this class that it has not,
    each with the reason: tests that call one are skipped, and say so.

    With ``RESNETS = False`` it has no ResNet towers, and the ladder is climbed without them. Who has them has the
    parts ``vision_model.stem``, which takes an image, and ``vision_model.stage``, which takes the number of a stage and
    an image; with ``CHANNELS_LAST = True`` images inside the tower are ``[batch, row, column, channel]``.
    """

    def build(self, kind: str, config: Any, weights: Arrays | None, *, dtype: str = "float32", seed: int = 0) -> Any:
        """A model in evaluation mode, with these weights, or with seeded initial ones (``None``)."""

    def load(self, kind: str, directory: Path, *, dtype: str | None = None, **sizes: Any) -> Any:
        """A model in evaluation mode from a checkpoint directory, for the sizes of `clip_core.positions.NewSizes`."""

    def save(self, model: Any, directory: Path, *, max_shard_size: int | str = "5GB") -> None:
        """Writes a checkpoint directory."""

    def weights(self, model: Any) -> Arrays:
        """All weights, in the order of the weight table, unconverted."""

    def call(self, model: Any, path: str, *inputs: Any, **named_inputs: Any) -> Any:
        """What the part of the model at an attribute path (``""``: the model) returns; arrays become tensors."""

    def to_array(self, value: Any) -> NDArray[Any]:
        """The values of a tensor."""

    def gradients(self, model: Any, inputs: Arrays, *, interpolate_pos_encoding: bool = False) -> Arrays:
        """The gradient of the model's own loss by every parameter of the table; zeros where none arrives.

        The loss is that of ``return_loss=True``; of a classifier that of the ``labels`` among the inputs.
        """

    def step(self, model: Any, inputs: Arrays, rule: str, learning_rate: float, epsilon: float) -> Arrays:
        """The weights after one step of the framework's own ``"sgd"`` or ``"adam"`` on the model's own loss."""

    def trained(self, model: Any, batches: Sequence[Arrays], learning_rate: float) -> Arrays:
        """The weights after one step of gradient descent in training mode on each batch; the model stays as it is."""

    def global_loss(self, model: Any, inputs: Arrays) -> NDArray[Any]:
        """The loss of all pairs, computed by two replicas of the model with half of the pairs each."""

    def adapted(self, model: Any) -> Any:
        """The model with an adapter that changes what it computes, by the framework's own means where it has some."""

    def restored(self, model: Any, other: Any, directory: Path) -> Any:
        """The other model, after the framework's own checkpoint of the model was written and read into it."""

    def compiled(self, model: Any, inputs: Arrays) -> Any:
        """What the compiled model returns."""

    def exported(self, model: Any, inputs: Arrays, directory: Path) -> Any:
        """What the model returns after it was exported to a file in ``directory`` and loaded from there."""


def load_adapter(name: str) -> Any:
    """The adapter module of a backend: a short name of `BACKENDS`, or a module's full name.

    Raises:
        ValueError: neither.
    """
    if name in BACKENDS:
        return import_module(f"conformance_tests.adapters.{name}")
    if "." not in name:
        raise ValueError(f"expected {', '.join(BACKENDS)} or a module 'package.module', got {name!r}.")
    return import_module(name)


def part(model: Any, path: str) -> Any:
    """The part of a model at an attribute path; numbers are positions."""
    steps = path.split(".") if path else []
    return reduce(lambda owner, step: owner[int(step)] if step.isdigit() else getattr(owner, step), steps, model)


def converted(inputs: Any, to_tensor: Callable[[NDArray[Any]], Any]) -> Any:
    """Arrays among inputs (a tuple or a dict) as tensors; anything else unchanged."""
    if isinstance(inputs, Mapping):
        return {name: converted(value, to_tensor) for name, value in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(converted(value, to_tensor) for value in inputs)
    return to_tensor(inputs) if isinstance(inputs, np.ndarray) else inputs


def flat(output: Any, to_array: Callable[[Any], NDArray[Any]], name: str = "") -> dict[str, NDArray[Any]]:
    """Every array in an output by its dotted name, e.g. ``text_model_output.hidden_states.0``; ``None`` is left out."""
    if output is None:
        return {}
    if isinstance(output, Mapping):
        children = dict(output)
    elif hasattr(output, "_fields"):  # our outputs, and what exported programs make of them
        children = dict(zip(output._fields, tuple(output), strict=True))
    elif isinstance(output, tuple | list):
        children = {str(index): value for index, value in enumerate(output)}
    else:
        return {name or "output": to_array(output)}
    prefix = f"{name}." if name else ""
    return {k: v for key, value in children.items() for k, v in flat(value, to_array, f"{prefix}{key}").items()}


def loss_of(inputs: Arrays) -> dict[str, bool]:
    """What a model is told besides its inputs, so that it computes its loss; a classifier does for ``labels``."""
    return {} if "labels" in inputs else {"return_loss": True}


def to_grid(backend: Any, image: NDArray[Any]) -> NDArray[Any]:
    """An image ``[batch, channel, row, column]`` as it is inside of a backend's ResNet tower."""
    return np.ascontiguousarray(image.transpose(0, 2, 3, 1)) if getattr(backend, "CHANNELS_LAST", False) else image


def from_grid(backend: Any, tensor: Any) -> NDArray[Any]:
    """What comes out of a part of such a tower, as ``[batch, channel, row, column]``."""
    image: NDArray[Any] = backend.to_array(tensor)
    return image.transpose(0, 3, 1, 2) if getattr(backend, "CHANNELS_LAST", False) else image


def specs_of(kind: str, config: CLIPConfig) -> tuple[WeightSpec, ...]:
    """The weight table of a kind of model, from the configuration of the full model."""
    is_classifier = kind == "classification"
    return weight_specs(config_of(kind, config), projection=kind not in ("text", "vision"), classifier=is_classifier)


def config_of(kind: str, config: CLIPConfig) -> Any:
    """The configuration with which a kind of model is made."""
    if kind in ("model", "classification"):
        return config
    return config.text_config if kind.startswith("text") else config.vision_config
