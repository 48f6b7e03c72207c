"""Modules that are called outside of any trace are compiled: one program for all that are built alike.

Operation by operation, a module writes every intermediate array to memory, and each operation is compiled by itself. A
program computes the same if a module does nothing but return its result, and it must not outlive what it was made from.
So a program is kept under all that is no array in a module and under the methods of its classes, and only modules are
compiled whose parts are known to leave nothing behind: one that somebody changed (a layer of another class, an
activation that records, a patched method) runs as it stands, and the modules in it are compiled where they can be.
``jax.disable_jit`` switches it off.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from flax import nnx
from flax.nnx.pytreelib import PytreeState
from jax import Array
from jax.core import Tracer

FUNCTIONAL = (
    nnx.Linear,
    nnx.LayerNorm,
    nnx.Dropout,
    nnx.LoRA,
    nnx.LoRALinear,
    nnx.Embed,
    nnx.Conv,
    nnx.List,
)
"""Modules of Flax that leave nothing behind; a Dropout with random numbers of its own is made of more than these."""

KNOWN_CODE = (
    "clip_flax.layers.",
    "clip_flax.patches.",
    "clip_flax.text.",
    "clip_flax.vision.",
    "flax.",
    "jax.",
    "collections.abc.",
)
"""The modules whose functions leave nothing behind; the last one is where `nnx.List` has some of its methods from."""


def compiled(parts: tuple[type, ...], module: Any, *inputs: Any) -> Any:
    """What the module returns, by a compiled program if that is the same.

    Args:
        parts: the classes that such a module is made of, besides those of Flax.
        inputs: of its call, by position: arrays or ``None``, and truth values and counts, of which each has a program.
    """
    leaves, structure = jax.tree.flatten(module)
    choices = tuple(int(given) if isinstance(given, int | np.bool_) else None for given in inputs)
    arrays = leaves, [given if choice is None else None for given, choice in zip(inputs, choices, strict=True)]
    if all(isinstance(leaf, Array | np.ndarray) and not isinstance(leaf, Tracer) for leaf in jax.tree.leaves(arrays)):
        try:
            program = _program(structure, choices, *_classes_and_methods(parts))
        except TypeError:  # something in the module cannot be hashed, so it could change unseen
            program = None
        if program is not None:
            return program(*arrays)
    return module(*inputs)


def leaves_nothing_behind(parts: tuple[type, ...], module: Any) -> bool:
    """Whether a module does nothing but return its result; ``parts`` as of `compiled`."""
    try:
        return _is_functional(jax.tree.structure(module), *_classes_and_methods(parts))
    except TypeError:  # as there
        return False


def _classes_and_methods(parts: tuple[type, ...]) -> tuple[tuple[type, ...], tuple[Callable[..., Any], ...]]:
    """What a module may be made of."""
    classes = (*parts, *FUNCTIONAL)
    return classes, tuple(method for owner in classes for method in vars(owner).values() if inspect.isfunction(method))


@lru_cache(maxsize=64)
def _is_functional(structure: Any, classes: tuple[type, ...], methods: tuple[Callable[..., Any], ...]) -> bool:
    """Whether modules of this structure leave nothing behind."""
    return all(map(_is_known, methods)) and _leaves_nothing_behind(structure, classes)


@lru_cache(maxsize=64)  # each with a compiled program per shape of inputs
def _program(
    structure: Any,
    choices: tuple[int | None, ...],
    classes: tuple[type, ...],
    methods: tuple[Callable[..., Any], ...],
) -> Callable[..., Any] | None:
    """A program for modules of this structure; ``None`` if it could differ from the module."""
    if not _is_functional(structure, classes, methods):
        return None

    def compute(leaves: list[Array], arrays: list[Any]) -> Any:
        inputs = (array if choice is None else choice for choice, array in zip(choices, arrays, strict=True))
        return jax.tree.unflatten(structure, leaves)(*inputs)

    return jax.jit(compute)


def _leaves_nothing_behind(structure: Any, classes: tuple[type, ...]) -> bool:
    """Whether a module is made of these classes, and of functions of modules that are known."""
    kind, attributes = structure.node_data() or (None, None)
    if kind in (PytreeState, type(None)):
        return True
    if kind in (nnx.Param, nnx.LoRAParam):
        return all(map(_is_known, _functions(attributes)))
    return (
        kind in classes
        and all(map(_is_known, _functions(attributes)))
        and all(_leaves_nothing_behind(part, classes) for part in structure.children())
    )


def _functions(static: Any) -> Iterator[Callable[..., Any]]:
    """What can be called among the attributes that are no arrays; they lie in tuples."""
    for value in static:
        if isinstance(value, tuple):
            yield from _functions(value)
        elif callable(value) and not isinstance(value, type):
            yield value


def _is_known(function: Any) -> bool:
    """Whether a function's code stands in one of the modules, whatever it says of itself."""
    return f"{getattr(function, '__globals__', {}).get('__name__')}.".startswith(KNOWN_CODE)
