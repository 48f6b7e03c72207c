"""How weights are spread over devices: the names of their axes, and what an axis of the mesh is to split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding
from numpy.typing import NDArray

from clip_core.errors import InputError, InputTypeError
from clip_core.weights import STATISTICS, WeightSpec

LOGICAL_AXES = ("vocab", "token", "hidden", "head", "mlp", "embed")
"""The axes that weights have: words, positions, the width of a tower, its heads one after the other, the width between
the two layers of an MLP, the space shared by texts and images."""

_IN_OUT = {
    "q_proj": ("hidden", "head"),
    "k_proj": ("hidden", "head"),
    "v_proj": ("hidden", "head"),
    "out_proj": ("head", "hidden"),
    "fc1": ("hidden", "mlp"),
    "fc2": ("mlp", "hidden"),
    "text_projection": ("hidden", "embed"),
    "visual_projection": ("hidden", "embed"),
    "patch_embedding": (None, "hidden"),
    "classifier": ("hidden", None),
}
"""Input and output axis of layers by their names."""

Rules: TypeAlias = Mapping[str, Any] | Sequence[tuple[str, Any]]


def logical_axes(spec: WeightSpec, axes: str) -> tuple[str | None, ...]:
    """Names of the axes of a weight, ``None`` for those that nobody splits.

    Args:
        axes: the order in which the framework keeps them, in the words of `clip_core.weights.AXES`.
    """
    layer = spec.path.rpartition(".")[2]
    if (spec.kind == "conv" and layer != "patch_embedding") or spec.kind in STATISTICS or layer[:2] == "bn":
        return (None,) * len(axes.split())  # of a ResNet, whose widths differ
    in_axis, out_axis = _IN_OUT.get(layer, (None, None))
    words = {
        "in": in_axis,
        "out": out_axis,
        "row": "vocab" if layer == "token_embedding" else "token",
        "hidden": "hidden",
    }
    return tuple(words.get(axis) for axis in axes.split())


class Placement:
    """Where `from_pretrained` puts weights.

    Args:
        mesh: of devices.
        sharding: which axis of the mesh, or axes, split which of `LOGICAL_AXES`, as a dict or as the pairs of Flax's
            rules; what is not named is whole on every device. Or a `jax.sharding.Sharding` for all weights.

    Raises:
        InputTypeError: not a mesh, or not such a sharding.
        InputError: an axis that weights or mesh do not have, or rules without a mesh.
    """

    def __init__(self, mesh: Mesh | None, sharding: Rules | Sharding | None) -> None:
        if mesh is not None and not isinstance(mesh, Mesh):
            raise InputTypeError(f"mesh: expected a jax.sharding.Mesh, got {type(mesh).__name__}.")
        self.mesh, self.everywhere = mesh, sharding if isinstance(sharding, Sharding) else None
        if self.everywhere is not None:
            if mesh is not None:
                raise InputError(
                    "sharding: expected rules for the axes of the mesh, got a sharding, which has its own."
                )
            return
        try:
            self.rules = dict(sharding or {})
        except (TypeError, ValueError):
            raise InputTypeError(
                "sharding: expected a dict from logical axes to axes of the mesh, or a jax.sharding.Sharding, got "
                f"{type(sharding).__name__}. Pass sharding={{'mlp': 'model'}}, for example."
            ) from None
        if self.rules and mesh is None:
            raise InputError("sharding: expected mesh=, too, to whose axes the rules refer.")
        self._check_names()

    def _check_names(self) -> None:
        for name, target in self.rules.items():
            if name not in LOGICAL_AXES:
                raise InputError(f"sharding: expected logical axes {', '.join(LOGICAL_AXES)}, got {name!r}.")
            for axis in target if isinstance(target, tuple) else (target,):
                if axis is not None and axis not in self.mesh.axis_names:
                    names = ", ".join(map(str, self.mesh.axis_names))
                    raise InputError(f"sharding: expected axes of the mesh, {names}, got {axis!r} for {name!r}.")

    def put(self, name: str, value: NDArray[Any], axes: tuple[str | None, ...]) -> jax.Array:
        """The weight, each of its parts once on each device that holds it; other processes put theirs.

        Raises:
            InputError: an axis that cannot be split into so many equal parts.
        """
        sharding = self.everywhere
        if sharding is None:
            sharding = NamedSharding(self.mesh, PartitionSpec(*self._mesh_axes(axes)))
        try:
            sharding.shard_shape(value.shape)
        except ValueError as error:
            raise InputError(f"sharding: {name} {list(value.shape)} cannot be split so: {error}") from None
        return jax.make_array_from_callback(value.shape, sharding, lambda index: np.asarray(value[index]))

    def _mesh_axes(self, axes: tuple[str | None, ...]) -> list[Any]:
        """Per axis of a weight what splits it; an axis of the mesh splits the first only."""
        found, used = [], set()
        for axis in axes:
            target = self.rules.get(axis)
            names = set(target if isinstance(target, tuple) else (target,)) - {None}
            found.append(None if names & used else target)
            used |= names
        return found
