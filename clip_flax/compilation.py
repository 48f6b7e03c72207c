"""Blocks that are called outside of any trace are compiled: one program for all blocks that are built alike.

Operation by operation, a block writes every intermediate array to memory. A program computes the same if a block does
nothing but return its result, and it must not outlive what it was made from. So a program is kept under all that is no
array in a block and under the methods of its classes, and only blocks are compiled whose parts are known to leave
nothing behind: one that somebody changed (a layer of another class, an activation that records, a patched method) runs
as it stands. ``jax.disable_jit`` switches it off.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import jax
from flax import nnx
from flax.nnx.pytreelib import PytreeState
from jax import Array

FUNCTIONAL = (nnx.Linear, nnx.LayerNorm, nnx.Dropout, nnx.LoRA, nnx.LoRALinear)
"""Layers of Flax that leave nothing behind; a Dropout with random numbers of its own is made of more than these."""

KNOWN_CODE = ("clip_flax.layers.", "flax.", "jax.")
"""The modules whose functions leave nothing behind."""


def call_block(
    parts: tuple[type, ...],
    block: Any,
    hidden_states: Array,
    attention_mask: Array | None,
    output_attentions: bool,
    dropout_rng: Array | None,
) -> tuple[Array, Array | None]:
    """What the block returns, by a compiled program if that is the same.

    Args:
        parts: the classes that such a block is made of, besides those of Flax.
    """
    leaves, structure = jax.tree.flatten(block)
    arrays = leaves, hidden_states, attention_mask, dropout_rng
    if all(isinstance(leaf, Array) and not isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arrays)):
        classes = (*parts, *FUNCTIONAL)
        methods = tuple(method for owner in classes for method in vars(owner).values() if inspect.isfunction(method))
        try:
            program = _program(structure, bool(output_attentions), classes, methods)
        except TypeError:  # something in the block cannot be hashed, so it could change unseen
            program = None
        if program is not None:
            return program(*arrays)
    return block(hidden_states, attention_mask, output_attentions, dropout_rng)


@lru_cache(maxsize=64)  # each with a compiled program per shape of inputs
def _program(
    structure: Any, output_attentions: bool, classes: tuple[type, ...], methods: tuple[Callable[..., Any], ...]
) -> Callable[..., Any] | None:
    """A program for blocks of this structure; ``None`` if it could differ from the block."""
    if not (all(map(_is_known, methods)) and _leaves_nothing_behind(structure, classes)):
        return None

    def compute(leaves: list[Array], hidden_states: Array, attention_mask: Array | None, dropout_rng: Any) -> Any:
        return jax.tree.unflatten(structure, leaves)(hidden_states, attention_mask, output_attentions, dropout_rng)

    return jax.jit(compute)


def _leaves_nothing_behind(structure: Any, classes: tuple[type, ...]) -> bool:
    """Whether a block is made of these classes, and of functions of modules that are known."""
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
