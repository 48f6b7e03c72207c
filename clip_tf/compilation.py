"""A tower that is called again outside of any graph runs as one: Keras takes longer to call its 140 layers one by one
than to compute a short text or a picture.

A graph must not outlive what it was traced from. So it is kept with all that was in the layers and in their classes, by
identity, but for the weights, which are read when it runs; a tower that somebody changed in between is traced anew. A
tower with code of others has none: what they record in a call, a graph would record once, without values.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from operator import is_
from typing import Any
from weakref import ref

import keras
import numpy as np
from keras import ops
from keras.src.backend.common.stateless_scope import in_stateless_scope

from clip_core.checks import check_pixel_values
from clip_tf.frameworks import framework
from clip_tf.layers import Tensor, dtype_name, host_values, plain_errors, sizes

_NAME = "graphs_of_pooled_output"
KNOWN_CODE = (
    "clip_tf.layers.",
    "clip_tf.text.",
    "clip_tf.vision.",
    "clip_tf.frameworks.",
    "keras.",
    "tensorflow.",
    "builtins.",
)
"""The modules whose functions leave nothing behind."""


class Graphs:
    """What was in a tower when it was called, and graphs by what they are given; a copy of a tower has none yet."""

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts
        self.can_be_made = all(map(_is_known, parts))
        self.by_inputs: dict[Hashable, Callable[..., Tensor]] = {}

    def __reduce__(self) -> Any:
        return Graphs, ([],)


def pooled_text(
    tower: keras.layers.Layer,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    position_ids: Tensor | None,
    training: bool,
) -> Tensor:
    """The pooled output ``[batch, hidden]`` of a text tower; as a graph, one for any batch and length."""
    given = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}
    given = {name: value for name, value in given.items() if value is not None}
    if training:
        return _computed(tower, given, training=training)
    return _by_graph(tower, given, ("int32", (None, None)))


def pooled_image(
    tower: keras.layers.Layer, pixel_values: Tensor, interpolate_pos_encoding: bool, training: bool, pooled_only: bool
) -> Tensor:
    """The pooled output ``[batch, hidden]`` of an image tower; as a graph, one for any batch of the tower's size.

    Args:
        pooled_only: the tower is ours, is untouched and computes the class token alone; another runs as no graph.
    """
    given, options = {"pixel_values": pixel_values}, {"pooled_only": True} if pooled_only else {}
    if training is not False or interpolate_pos_encoding or not pooled_only or not _fits(pixel_values, tower):
        options["interpolate_pos_encoding"] = interpolate_pos_encoding
        return _computed(tower, given, training=training, **options)
    with plain_errors():
        check_pixel_values(host_values(pixel_values))  # a graph sees none
    return _by_graph(tower, given, (dtype_name(pixel_values), (None, *sizes(pixel_values)[1:])), **options)


def _fits(pixel_values: Any, tower: Any) -> bool:
    """Whether images are of the kind and size that the tower is made for; of others it says what is wrong."""
    if not isinstance(pixel_values, Tensor | np.ndarray) or "float" not in dtype_name(pixel_values):
        return False
    side = tower.config.image_size
    return tuple(sizes(pixel_values)[1:]) == (tower.config.num_channels, side, side)


def _by_graph(
    tower: keras.layers.Layer, given: dict[str, Tensor], kind: tuple[str, tuple[int | None, ...]], **options: bool
) -> Tensor:
    """The pooled output; from the second call on of a tower as it is, outside of graphs, a graph computes it.

    Args:
        given: inputs by the names of their arguments.
        kind: the dtype and the sizes that a graph takes them in.
        options: of the call besides.
    """
    outside = all(host_values(value) is not None for value in given.values())
    if not framework.HAS_GRAPHS or not outside or in_stateless_scope():
        return _computed(tower, given, **options)
    graphs, parts = vars(tower).get(_NAME), _parts(tower)
    if graphs is None or len(parts) != len(graphs.parts) or not all(map(is_, parts, graphs.parts)):
        output = _computed(tower, given, **options)
        # after the call, which sets some at the first time; Keras tracks none
        vars(tower)[_NAME] = Graphs(_parts(tower))
        return output
    if not graphs.can_be_made:
        return _computed(tower, given, **options)
    of_these = (*given, kind, *options)
    if of_these not in graphs.by_inputs:
        graphs.by_inputs[of_these] = framework.graph(_of_inputs(ref(tower), [*given], options), [kind] * len(given))
    return graphs.by_inputs[of_these](*(ops.cast(value, kind[0]) for value in given.values()))


def _computed(tower: Any, given: dict[str, Tensor], training: bool = False, **options: bool) -> Tensor:
    states = {"output_attentions": False, "output_hidden_states": False}
    return tower(**given, **states, **options, training=training).pooler_output


def _of_inputs(tower: ref[Any], names: list[str], options: dict[str, bool]) -> Callable[..., Tensor]:
    """The tower as a function of its inputs."""

    def compute(*tensors: Tensor) -> Tensor:
        return _computed(tower(), dict(zip(names, tensors, strict=True)), **options)

    return compute


def _parts(tower: keras.layers.Layer) -> list[Any]:
    """All attributes of the layers and of their classes."""
    layers = list(tower._flatten_layers())
    classes = dict.fromkeys(base for layer in layers for base in type(layer).__mro__)
    values = (value for owner in (*layers, *classes) for value in (owner, *vars(owner).values()))
    return [value for value in values if not isinstance(value, Graphs)]


def _is_known(part: Any) -> bool:
    """Whether something in a layer or a class is no code, or code of modules that are known, whatever it says.

    A regularizer leaves a loss behind.
    """
    if isinstance(part, keras.regularizers.Regularizer):
        return False
    if isinstance(part, property):
        return all(map(_is_known, (part.fget, part.fset, part.fdel)))
    function = getattr(part, "__func__", part)  # of a method
    if isinstance(function, type) or not callable(function):
        return True
    module = getattr(function, "__globals__", {}).get("__name__", type(function).__module__)
    return f"{module}.".startswith(KNOWN_CODE)
