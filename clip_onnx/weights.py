"""Weights of the models for ONNX Runtime: how they are held and read, and the base class of the models."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.checkpoint.tensors import WEIGHT_DTYPES, constant
from clip_core.errors import InputError, InputTypeError
from clip_core.model_weights import Weights
from clip_core.pretrained import PretrainedModel
from clip_core.schemes import TORCH
from clip_core.weights import AXES, WeightSpec
from clip_onnx.files import write_model
from clip_onnx.graph import PRECISIONS, Graph
from clip_onnx.programs import Program
from clip_onnx.quantization import as_quantized, is_quantized

DTYPES = ("float32", "bfloat16", "float16", "int8")
_MAKE_ANOTHER = "Make another model with other weights: Model(config, weights={**model.named_weights(), name: array})."
_MOST_PROGRAMS = 8
"""As many as are kept: each image size has its own, as has a call that asks for hidden states."""


class CLIPPreTrainedModel(PretrainedModel):
    """Base of the models, which are for inference only.

    Args:
        config: of the model; of the class ``config_class``.
        seed: of the initial weights; one seed gives the same model in every backend.
        dtype: what weights are rounded to: ``"float32"``, the default, ``"bfloat16"``, ``"float16"`` or ``"int8"``. All
            is computed in float32, but for the products of linear layers in int8, whose inputs are rounded too, by the
            largest in each call.
        weights: by their names in checkpoints, instead of seeded ones; copied.
        threads: that compute; see `clip_onnx.programs.thread_count`.
    """

    scheme = TORCH

    def __init__(
        self,
        config: Any,
        *,
        seed: int = 0,
        dtype: Any = None,
        weights: Weights | None = None,
        threads: int | None = None,
    ) -> None:
        self.config = self.checked_config(config)
        self.dtype = weight_dtype(dtype)
        self.threads = threads
        self._held = SimpleNamespace()
        self.make_layers(self.config)
        specs = {spec.name: spec for spec in self.weight_specs()}
        for _, name, value in self.initial_values(seed, weights):
            setattr(self._held, name, held_value(specs[name], value, self.dtype))
        self._begin_programs()

    @classmethod
    def built(cls, config: Any, dtype: Any, weights: Weights, *, threads: int | None = None) -> Any:
        return cls(config, dtype=dtype, weights=weights, threads=threads)

    def place(self, spec: WeightSpec) -> tuple[Any, str, str]:
        return self._held, spec.name, AXES[spec.kind]

    @staticmethod
    def to_array(parameter: Any, /) -> NDArray[Any]:
        return np.asarray(parameter)

    def held_parameters(self) -> dict[str, Any]:
        return vars(self._held)

    def all_parameters(self) -> dict[str, Any]:
        held = vars(self._held)
        return {spec.name: held[spec.name] for spec in self.weight_specs() if spec.is_parameter}

    def is_trainable(self, parameter: Any) -> bool:
        return False

    def input_layers(self) -> list[Any]:
        raise InputError(f"{type(self).__name__}: its layers are nodes of a graph. {_MAKE_ANOTHER}")

    def _set_gradient_checkpointing(self, value: bool) -> None:
        raise InputError(f"{type(self).__name__}: it is for inference only. Train with another backend.")

    @property
    def is_gradient_checkpointing(self) -> bool:
        return False

    def wide_weights(self) -> Mapping[str, NDArray[np.float32]]:
        """The weights as graphs are made from them."""
        return _Wide(vars(self._held))

    def program(self, kind: Hashable, fill: Callable[[Graph], None]) -> Program:
        """A program, made when it is first asked for.

        Args:
            kind: what it is known by.
            fill: writes its graph.
        """
        with self._making:
            found = self._programs.get(kind)
            if found is None:
                if len(self._programs) >= _MOST_PROGRAMS:
                    del self._programs[next(iter(self._programs))]
                graph = Graph(self.wide_weights(), "int8" if self.dtype == "int8" else "float32")
                fill(graph)
                found = self._programs[kind] = Program(graph, self.threads)
        return found

    def __getstate__(self) -> dict[str, Any]:
        """A copy, and what is pickled, has the weights and makes programs of its own."""
        return {name: value for name, value in vars(self).items() if name not in ("_programs", "_making")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin_programs()

    def _begin_programs(self) -> None:
        for value in vars(self._held).values():
            value.setflags(write=False)  # programs are made from it
        self._programs: dict[Hashable, Program] = {}
        self._making = threading.Lock()  # a first call in many threads makes one

    def fill(self, graph: Graph) -> None:
        """Writes the model into a graph, as it is exported; each model's own."""
        raise NotImplementedError

    def export(
        self, path: str | PathLike[str], *, dtype: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> tuple[Path, ...]:
        """Writes the model as an ONNX file, of standard operators (opset 20) only.

        Inputs and outputs have the names of the arguments and of the fields of the class's output; sizes of batch and
        token are open. A text that would be an error in a call is NaN there.

        Args:
            path: of the file. Weights of more than 1.9 GB go into another beside it.
            dtype: of the weights in the file, ``"float32"``, ``"float16"`` or ``"int8"``; that of the model unless
                given, float32 for bfloat16. Inputs and outputs are float32.
            metadata: to be written into the file.

        Returns:
            The paths of the files.

        Raises:
            InputError: weights that float16 cannot hold.
            InputTypeError: another dtype.
        """
        return self.write(path, self.fill, dtype, metadata)

    def write(
        self,
        path: str | PathLike[str],
        fill: Callable[[Graph], None],
        dtype: str | None,
        metadata: Mapping[str, str] | None,
    ) -> tuple[Path, ...]:
        """Writes what ``fill`` writes into a graph; otherwise as `export`."""
        precision = ("float32" if self.dtype == "bfloat16" else self.dtype) if dtype is None else dtype
        if precision not in PRECISIONS:
            raise InputTypeError(f"dtype: expected {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}, got {dtype!r}.")
        held = vars(self._held)
        rounded = {spec.name: held_value(spec, held[spec.name], precision) for spec in self.weight_specs()}
        graph = Graph(_Wide(rounded), precision)
        fill(graph)
        return write_model(graph, Path(path), metadata)


class _Wide(Mapping[str, "NDArray[np.float32]"]):
    """Weights in float32, made when they are asked for."""

    def __init__(self, held: Mapping[str, NDArray[Any]]) -> None:
        self._held = held

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return np.asarray(self._held[name], np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)


def weight_dtype(dtype: Any) -> str:
    """The name of a dtype of weights; float32 for ``None``.

    Raises:
        InputTypeError: it is none.
    """
    name = "float32" if dtype is None else dtype if isinstance(dtype, str) else getattr(dtype, "name", str(dtype))
    if name not in DTYPES:
        raise InputTypeError(f"dtype: expected {', '.join(DTYPES[:-1])} or {DTYPES[-1]}, got {dtype!r}.")
    return str(name)


def held_value(spec: WeightSpec, value: NDArray[Any], dtype: str) -> NDArray[Any]:
    """A weight as a model of that dtype has it.

    In int8 it is in float32 what is left after rounding: linear layers to int8, other tables to float16.

    Raises:
        InputError: float16 cannot hold it, or it is NaN or infinite and the dtype int8.
    """
    if spec.kind == "counter":
        return value
    if dtype != "int8":
        return constant(value).cast(WEIGHT_DTYPES[spec.dtype_in(dtype)], spec.name).read()
    wide = np.asarray(value, np.float32)
    if not np.isfinite(wide).all():
        raise InputError(
            f"{spec.name}: expected finite numbers, which alone can be computed with in int8; got others. Fetch or "
            "convert the checkpoint again."
        )
    if spec.kind == "linear" and is_quantized(spec.path):
        return as_quantized(wide)
    if wide.ndim < 2:
        return wide
    return constant(wide).cast(WEIGHT_DTYPES["float16"], spec.name).read().astype(np.float32)
