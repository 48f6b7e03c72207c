"""Meshes whose axes are explicit, the default of `jax.make_mesh`: what is inside a call is left to the compiler.

On such a mesh every operation says how its result is split, and one that could be split in several ways is an error: a
lookup of words, the class token before the patches, a product whose summed axis is split. None of these has one answer
that fits every way to split a model. Inputs and weights keep their types outside, the compiler splits what is inside,
and outputs are typed again: split along the batch as the inputs are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from clip_flax.functional import first_parameter


def across_devices(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method of a model, which may be called with arrays on a mesh with explicit axes."""
    signature = inspect.signature(method)

    @wraps(method)
    def call(self: Any, *args: Any, **options: Any) -> Any:
        given = [*args, *options.values()]
        mesh = _explicit_mesh([first_parameter(self), *given])
        if mesh is None:
            return method(self, *args, **options)
        return _left_to_the_compiler(method, signature.bind(self, *args, **options).arguments, mesh)

    return call


def _explicit_mesh(given: list[Any]) -> Any:
    """The mesh with explicit axes on which one of these lies, or that is in use; else ``None``."""
    context = jax.sharding.get_abstract_mesh()
    if context.explicit_axes:
        return context
    for leaf in jax.tree.leaves(given):
        if isinstance(leaf, jax.Array):
            typed = jax.typeof(leaf).sharding.mesh
            if typed.explicit_axes:
                concrete = None if isinstance(leaf, jax.core.Tracer) else leaf.sharding
                return concrete.mesh if isinstance(concrete, NamedSharding) else typed
    return None


def _left_to_the_compiler(method: Callable[..., Any], given: dict[str, Any], mesh: Any) -> Any:
    """What the method returns, split along the batch as the input with as many rows is, and else whole everywhere."""
    arrays = {name: value for name, value in given.items() if any(map(_is_array, jax.tree.leaves(value)))}
    rest = {name: value for name, value in given.items() if name not in arrays}
    batches = {array.shape[0]: _split(array) for array in map(given.get, ("input_ids", "pixel_values")) if _rows(array)}
    groups = [*batches, None]  # sizes of batches, and what has no such axis
    structure, group_of = None, []

    def compute(arrays: dict[str, Any]) -> list[list[Any]]:
        nonlocal structure, group_of
        leaves, structure = jax.tree.flatten(method(**arrays, **rest))
        group_of = [groups.index(_rows(leaf) if _rows(leaf) in batches else None) for leaf in leaves]
        return [
            [leaf for leaf, at in zip(leaves, group_of, strict=True) if at == group] for group in range(len(groups))
        ]

    splits = [NamedSharding(mesh, PartitionSpec(batches[group]) if group else PartitionSpec()) for group in groups]
    computed = [iter(leaves) for leaves in jax.sharding.auto_axes(compute, out_sharding=splits)(arrays)]
    return jax.tree.unflatten(structure, [next(computed[group]) for group in group_of])


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array)


def _rows(array: Any) -> int | None:
    """The size of the first axis."""
    return array.shape[0] if getattr(array, "shape", ()) else None


def _split(array: Any) -> Any:
    """What splits the first axis."""
    spec = jax.typeof(array).sharding.spec if _is_array(array) else ()
    return spec[0] if spec else None
