"""What a tower gives out, in a graph and in the output of a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clip_onnx.graph import Graph
from clip_onnx.layers import Tower
from clip_onnx.protobuf import Size

_STATES, _ATTENTIONS = "hidden_states", "attentions"


def give_out(graph: Graph, tower: Tower, token: Size, hidden: int) -> None:
    """Makes what a tower made the outputs of its graph."""
    graph.output("last_hidden_state", tower.last_hidden_state, ("batch", token, hidden))
    graph.output("pooler_output", tower.pooler_output, ("batch", hidden))
    for kind, values in ((_STATES, tower.hidden_states), (_ATTENTIONS, tower.attentions)):
        for number, value in enumerate(values):
            graph.output(f"{kind}.{number}", value)


def fields_of(outputs: Mapping[str, Any], states: bool, attentions: bool) -> dict[str, Any]:
    """The outputs of such a graph as the fields of an output, by their names."""
    fields: dict[str, Any] = {name: value for name, value in outputs.items() if "." not in name}
    for kind, wanted in ((_STATES, states), (_ATTENTIONS, attentions)):
        listed = tuple(value for name, value in outputs.items() if name.startswith(f"{kind}."))
        fields[kind] = listed if wanted else None
    return fields
