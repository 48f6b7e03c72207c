"""A text tower that is called again outside of any graph runs as one: Keras takes longer to call its 140 layers one by
one than to compute a short text.

A graph must not outlive what it was traced from. So it is kept with all that was in the layers and in their classes, by
identity, but for the weights, which are read when it runs; a tower that somebody changed in between is traced anew. A
tower with code of others has none: what they record in a call, a graph would record once, without values.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import is_
from typing import Any
from weakref import ref

import keras
from keras import ops
from keras.src.backend.common.stateless_scope import in_stateless_scope

from clip_tf.frameworks import framework
from clip_tf.layers import Tensor, host_values

_NAME = "graphs_of_pooled_output"
KNOWN_CODE = ("clip_tf.layers.", "clip_tf.text.", "clip_tf.frameworks.", "keras.", "tensorflow.", "builtins.")
"""The modules whose functions leave nothing behind."""


class Graphs:
    """What was in a tower when it was called, and graphs by what they are given; a copy of a tower has none yet."""

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts
        self.can_be_made = all(map(_is_known, parts))
        self.by_inputs: dict[tuple[bool, ...], Callable[..., Tensor]] = {}

    def __reduce__(self) -> Any:
        return Graphs, ([],)


def pooled_output(
    tower: keras.layers.Layer,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    position_ids: Tensor | None,
    training: bool,
) -> Tensor:
    """The pooled output ``[batch, hidden]`` of a text tower.

    From the second call on of a tower as it is, outside of graphs and of training, a graph of any batch and length
    computes it.
    """
    given = input_ids, attention_mask, position_ids
    outside = all(value is None or host_values(value) is not None for value in given)
    if not framework.HAS_GRAPHS or training or not outside or in_stateless_scope():
        return _computed(tower, *given, training)
    graphs, parts = vars(tower).get(_NAME), _parts(tower)
    if graphs is None or len(parts) != len(graphs.parts) or not all(map(is_, parts, graphs.parts)):
        output = _computed(tower, *given, training)
        # after the call, which sets some at the first time; Keras tracks none
        vars(tower)[_NAME] = Graphs(_parts(tower))
        return output
    if not graphs.can_be_made:
        return _computed(tower, *given, training)
    present = tuple(value is not None for value in given)
    if present not in graphs.by_inputs:
        graphs.by_inputs[present] = framework.graph(_of_present(ref(tower), present), sum(present))
    return graphs.by_inputs[present](*(ops.cast(value, "int32") for value in given if value is not None))


def _computed(tower: Any, *given: Any) -> Tensor:
    ids, mask, positions, training = given
    return tower(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        output_attentions=False,
        output_hidden_states=False,
        training=training,
    ).pooler_output


def _of_present(tower: ref[keras.layers.Layer], present: tuple[bool, ...]) -> Callable[..., Tensor]:
    """The tower as a function of the inputs that are there."""

    def compute(*tensors: Tensor) -> Tensor:
        rest = iter(tensors)
        return _computed(tower(), *(next(rest) if is_there else None for is_there in present), False)

    return compute


def _parts(tower: keras.layers.Layer) -> list[Any]:
    """All attributes of the layers and of their classes."""
    layers = list(tower._flatten_layers())
    classes = dict.fromkeys(base for layer in layers for base in type(layer).__mro__)
    values = (value for owner in (*layers, *classes) for value in (owner, *vars(owner).values()))
    return [value for value in values if not isinstance(value, Graphs)]


def _is_known(part: Any) -> bool:
    """Whether something in a layer or a class is no code, or code of modules that are known, whatever it says."""
    if isinstance(part, property):
        return all(map(_is_known, (part.fget, part.fset, part.fdel)))
    function = getattr(part, "__func__", part)  # of a method
    if isinstance(function, type) or not callable(function):
        return True
    module = getattr(function, "__globals__", {}).get("__name__", type(function).__module__)
    return f"{module}.".startswith(KNOWN_CODE)
