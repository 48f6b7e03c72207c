"""The text tower, as nodes of an ONNX graph."""

from __future__ import annotations

import numpy as np

from clip_core.checks import LEGACY_EOS_TOKEN_ID
from clip_core.config import CLIPTextConfig
from clip_onnx.graph import Graph
from clip_onnx.layers import Tower, encoder, flat, layer_norm, layout, linear

_TOWER = "text_model"


def text_inputs(graph: Graph, positions: bool = False, batch: str = "batch") -> tuple[str, str, str | None]:
    """``input_ids`` and ``attention_mask``, ``[batch, token]``, and if asked for ``position_ids`` as inputs."""
    ids = graph.input("input_ids", "int64", (batch, "token"))
    mask = graph.input("attention_mask", "int64", (batch, "token"))
    return ids, mask, graph.input("position_ids", "int64", ("positions", "token")) if positions else None


def text_embeddings(graph: Graph, config: CLIPTextConfig, ids: str, tokens: str, positions: str | None = None) -> str:
    """Token embedding plus position embedding, ``[batch, token, hidden]``; positions count from 0 unless given.

    An id or a position out of range takes a row that is there; what becomes of it is made NaN by `_without_bad_texts`.
    """
    path = f"{_TOWER}.embeddings"
    table = graph.narrow_weight(f"{path}.token_embedding.weight")
    embedded = graph.add("Gather", table, _within(graph, ids, config.vocab_size), axis=0)
    if graph.precision != "float32":
        embedded = graph.cast(embedded, "float32")
    table = graph.weight(f"{path}.position_embedding.weight")
    if positions is None:
        zero = graph.constant([0], "int64")
        return graph.add("Add", embedded, graph.add("Slice", table, zero, tokens, zero))
    places = _within(graph, positions, config.max_position_embeddings)
    return graph.add("Add", embedded, graph.add("Gather", table, places, axis=0))


def causal_mask(graph: Graph, length: int, tokens: str, attention_mask: str | None) -> str:
    """What is added to scores, ``[batch or 1, 1, token, token]``: nothing where a query may see a key.

    A query sees what is not later than itself, and no padding.
    """
    lowest = np.finfo(np.float32).min
    causal = graph.constant(np.triu(np.full((length, length), lowest), 1)[None, None], name="causal_mask")
    start, ends = graph.constant([0, 0], "int64"), graph.add("Concat", tokens, tokens, axis=0)
    mask = graph.add("Slice", causal, start, ends, graph.constant([2, 3], "int64"))
    if attention_mask is None:
        return mask
    padding = graph.add("Equal", attention_mask, graph.constant(0, "int64"))
    padding = graph.add("Unsqueeze", padding, graph.constant([1, 2], "int64"))  # [batch, 1, 1, token]
    return graph.add("Where", padding, graph.constant(lowest), mask)


def text_tower(
    graph: Graph,
    config: CLIPTextConfig,
    ids: str,
    mask: str | None = None,
    positions: str | None = None,
    everything: bool = False,
) -> Tower:
    """The tower; with ``everything`` also what is on the way.

    The end of a text is the first ``eos_token_id``; in configurations where that is 2, the first largest id.
    """
    tower, tokens = Tower(), graph.add("Shape", ids, start=1, end=2)
    form = layout(graph, config, tokens, causal_mask(graph, config.max_position_embeddings, tokens, mask))
    x = flat(graph, config, text_embeddings(graph, config, ids, tokens, positions))
    x = encoder(graph, f"{_TOWER}.encoder", x, config, form, tower if everything else None)
    last = layer_norm(graph, f"{_TOWER}.final_layer_norm", x, config.layer_norm_eps)
    tower.last_hidden_state = graph.add("Reshape", last, form.hidden)
    pooled = graph.add("GatherND", tower.last_hidden_state, _end(graph, config, ids), batch_dims=1)  # [batch, hidden]
    tower.pooler_output = _without_bad_texts(graph, config, pooled, ids, mask, positions)
    return tower


def text_projection(graph: Graph, pooled: str) -> str:
    """``[batch, hidden]`` to ``[batch, embed]``."""
    return linear(graph, "text_projection", pooled, bias=False)


def _end(graph: Graph, config: CLIPTextConfig, ids: str) -> str:
    """Which token is the end of its text, ``[batch, 1]``; of several the first."""
    if config.eos_token_id != LEGACY_EOS_TOKEN_ID:
        ids = graph.cast(graph.add("Equal", ids, graph.constant(config.eos_token_id, "int64")), "int32")
    return graph.add("ArgMax", ids, axis=1, keepdims=1)


def _within(graph: Graph, values: str, limit: int) -> str:
    return graph.add("Min", graph.add("Max", values, graph.constant(0, "int64")), graph.constant(limit - 1, "int64"))


def _without_bad_texts(
    graph: Graph, config: CLIPTextConfig, pooled: str, ids: str, mask: str | None, positions: str | None
) -> str:
    """NaN in the rows of ``pooled`` of texts that `clip_core.checks.check_text_values` would refuse.

    A graph raises nothing, in every runtime the same, and a finite number would be taken for an answer.
    """
    bad = [_out_of_range(graph, ids, config.vocab_size)]
    if config.eos_token_id != LEGACY_EOS_TOKEN_ID:
        is_end = graph.add("Equal", ids, graph.constant(config.eos_token_id, "int64"))
        bad.append(graph.add("Not", _any(graph, is_end)))
    if mask is not None:  # begins with padding, has no token, or is one that is added to scores
        zero, one = graph.constant([0], "int64"), graph.constant([1], "int64")
        bad.append(graph.add("Equal", graph.add("Slice", mask, zero, one, one), graph.constant(0, "int64")))
        bad.append(_out_of_range(graph, mask, 2))
    if positions is not None:
        bad.append(_out_of_range(graph, positions, config.max_position_embeddings))
    is_bad = bad[0]
    for other in bad[1:]:
        is_bad = graph.add("Or", is_bad, other)  # [batch, 1]
    return graph.add("Where", is_bad, graph.constant(np.nan), pooled)


def _out_of_range(graph: Graph, values: str, limit: int) -> str:
    below = graph.add("Less", values, graph.constant(0, "int64"))
    return _any(graph, graph.add("Or", below, graph.add("GreaterOrEqual", values, graph.constant(limit, "int64"))))


def _any(graph: Graph, values: str) -> str:
    """Whether one of a row is true, ``[batch, token]`` to ``[batch, 1]``."""
    number = graph.cast(values, "int32")
    return graph.cast(graph.add("ReduceMax", number, graph.constant([1], "int64"), keepdims=1), "bool")
