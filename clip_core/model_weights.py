"""The weights of a model by their names in checkpoints: where each lies, how it is read, what a new one starts with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clip_core.checkpoint.lazy_weights import LazyWeights, layout_of
from clip_core.checkpoint.tensors import Tensor, contiguous
from clip_core.errors import WeightMismatchError
from clip_core.initialization import draw_weight
from clip_core.schemes import Scheme
from clip_core.threads import map_ahead, usable_cores
from clip_core.weights import (
    AXES,
    COUNTER_DTYPE,
    WeightSpec,
    match_weights,
    mismatch_message,
    permutation,
    weight_specs,
)

Weights: TypeAlias = Mapping[str, NDArray[Any]]


class ModelWeights:
    """Part of `clip_core.pretrained.PretrainedModel`."""

    has_projection: ClassVar[bool] = False
    has_classifier: ClassVar[bool] = False
    scheme: ClassVar[Scheme]
    """How the framework names and lays out parameters."""

    config: Any

    @staticmethod
    def to_array(parameter: Any, /) -> NDArray[Any]:
        """The values of a parameter of the framework, in its layout; each backend's own."""
        raise NotImplementedError

    def weight_specs(self) -> tuple[WeightSpec, ...]:
        """The entries of the weight table that this model has."""
        return self.specs_of(self.config)

    @classmethod
    def specs_of(cls, config: Any) -> tuple[WeightSpec, ...]:
        """The entries of the weight table that a model of this class and configuration has."""
        return weight_specs(config, projection=cls.has_projection, classifier=cls.has_classifier)

    def held_parameters(self) -> dict[str, Any]:
        """All that the model computes with, by the framework's own names; each backend's own."""
        raise NotImplementedError

    def parameter(self, owner: Any, leaf: str) -> Any:
        """The parameter of that name in a module."""
        return getattr(owner, leaf)

    def place(self, spec: WeightSpec) -> tuple[Any, str, str]:
        """The module that owns a weight, the parameter's name in it and the order of its axes."""
        path, leaf, axes = self.scheme.place(spec)
        return module_at(self, path), leaf, axes

    def named_weights(self) -> LazyWeights:
        """The weights by their names in checkpoints, in the layout of checkpoints; each is converted when asked for.

        Raises:
            AttributeError, LookupError: the model has lost one of them.
        """
        return LazyWeights({spec.name: self._tensor(spec) for spec in self.weight_specs()})

    def _tensor(self, spec: WeightSpec) -> Tensor:
        owner, leaf, axes = self.place(spec)
        order = permutation(axes, AXES[spec.kind])
        found = self.parameter(owner, leaf)
        shape = tuple(found.shape[axis] for axis in order) if len(found.shape) == len(order) else tuple(found.shape)
        dtype = np.dtype(str(getattr(found.dtype, "name", found.dtype)).removeprefix("torch."))
        if spec.kind == "counter" and dtype.kind in "iu":  # of 32 bits in JAX
            dtype = np.dtype(COUNTER_DTYPE)

        def read() -> NDArray[Any]:
            return np.transpose(self.to_array(self.parameter(owner, leaf)), order).astype(dtype, copy=False)

        return Tensor(dtype, shape, read)

    def check_saveable(self) -> None:
        """Compares the model with what a checkpoint of its configuration holds.

        Raises:
            WeightMismatchError: something would be lost, or be read as something else: a layer that is gone, a changed
                shape, quantised weights, an adapter, an additional head. All is in one list.
        """
        problems, read = [], []
        for spec in self.weight_specs():
            try:
                owner, leaf, _ = self.place(spec)
                read.append(getattr(owner, leaf))
                tensor = self._tensor(spec)
            except (AttributeError, LookupError, TypeError) as error:
                problems.append(f"- {spec.name} {list(spec.shape)}: cannot be read: {error}")
                continue
            if tensor.shape != spec.shape or tensor.dtype.name not in spec.dtypes:
                problems.append(f"- {spec.name} {list(spec.shape)}: of the configuration, {', '.join(spec.dtypes)}")
                problems.append(f"+ {spec.name} {list(tensor.shape)}: in the model, {tensor.dtype.name}")
        known = {id(parameter) for parameter in read}
        problems += [
            f"+ {name} {list(getattr(parameter, 'shape', ()))}: has no place in a checkpoint"
            for name, parameter in self.held_parameters().items()
            if id(parameter) not in known
        ]
        if problems:
            raise WeightMismatchError(
                mismatch_message(
                    problems,
                    f"{type(self).__name__}.save_pretrained: nothing was written, it would be another model",
                    "Merge adapters into the weights, save what is additional by the framework's own means, and give "
                    "the model the configuration of its shapes.",
                )
            )

    def initial_values(self, seed: int, weights: Weights | None) -> Iterator[tuple[Any, str, NDArray[Any]]]:
        """Owner, parameter name and value, in the framework's layout, of every weight of a new model.

        The values are arrays that nothing else refers to, so that a parameter can lie in the memory of one.

        Args:
            seed: of the drawn weights, if none are given.
            weights: by their names in checkpoints; they are matched like those of a checkpoint.

        Raises:
            InputTypeError: not a mapping from names to arrays.
            WeightMismatchError: missing, unexpected or misshapen weights, or of an impossible dtype, all in one list.
        """
        specs = self.weight_specs()
        places = [self.place(spec) for spec in specs]
        orders = [permutation(AXES[spec.kind], axes) for spec, (_, _, axes) in zip(specs, places, strict=True)]
        names = {} if weights is None else match_weights(specs, layout_of(weights), f"{type(self).__name__}(weights=)")

        def value(item: tuple[WeightSpec, tuple[int, ...]]) -> NDArray[Any]:
            spec, order = item
            if weights is None:
                found = draw_weight(spec, self.config, seed)
            else:
                found = _own(weights, names[spec.name]).reshape(spec.shape)
            if spec.kind == "counter":
                found = np.asarray(found, COUNTER_DTYPE)
            return contiguous(np.transpose(found, order))

        items = list(zip(specs, orders, strict=True))
        # somebody's own mapping may not be read in threads; what a framework keeps as the file does costs nothing here
        is_work = weights is None or (isinstance(weights, LazyWeights) and any(map(_is_change, orders)))
        cores = usable_cores()
        values = map_ahead(value, items, 2 * cores, cores) if is_work and cores > 1 else map(value, items)
        for (owner, leaf, _), found in zip(places, values, strict=True):
            yield owner, leaf, found


def module_at(model: Any, path: str) -> Any:
    """The part of a model at a dotted path, where numbers are positions in lists; the model itself if it is empty."""
    steps = path.split(".") if path else []
    return reduce(lambda owner, step: owner[int(step)] if step.isdecimal() else getattr(owner, step), steps, model)


def _is_change(order: tuple[int, ...]) -> bool:
    return order != tuple(range(len(order)))


def _own(weights: Weights, name: str) -> NDArray[Any]:
    """A weight, in this machine's byte order, as an array that nothing else refers to."""
    value = np.asarray(weights[name])
    fresh = isinstance(weights, LazyWeights) and weights.tensor(name).fresh
    return value.astype(value.dtype.newbyteorder("="), copy=not fresh)
