"""The transformer encoder that both towers share, as nodes of an ONNX graph.

Hidden states are ``[batch * token, hidden]``, so that a linear layer is one Gemm with the weight as checkpoints store
it. What an attention needs to know of batch and token comes with it in a `Layout`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from clip_core.config import CLIPTextConfig, CLIPVisionConfig
from clip_onnx.graph import Graph
from clip_onnx.quantization import is_quantized, quantized_linear

TowerConfig = CLIPTextConfig | CLIPVisionConfig


@dataclass(frozen=True)
class Layout:
    """How ``[batch * token, hidden]`` is made of batch and token.

    Attributes:
        hidden: the shape ``[batch, token, hidden]``.
        heads: the shape ``[batch, token, head, head_dim]``.
        mask: what is added to the scores, ``[batch or 1, 1, token, token]``; or nothing.
    """

    hidden: str
    heads: str
    mask: str | None = None


@dataclass
class Tower:
    """What a tower makes.

    Attributes:
        last_hidden_state: ``[batch, token, hidden]``, where somebody asks for it.
        pooler_output: ``[batch, hidden]``.
        hidden_states, attentions: as of `clip_core.outputs.BaseModelOutputWithPooling`, where somebody asks for them.
    """

    last_hidden_state: str = ""
    pooler_output: str = ""
    hidden_states: list[str] = field(default_factory=list)
    attentions: list[str] = field(default_factory=list)


def layout(graph: Graph, config: TowerConfig, tokens: str, mask: str | None = None) -> Layout:
    """The layout of so many tokens, the value ``[1]``, per row of the batch."""
    batch = graph.constant([-1], "int64")
    hidden = graph.constant([config.hidden_size], "int64")
    heads = graph.constant([config.num_attention_heads, config.head_dim], "int64")
    shapes = [graph.add("Concat", batch, tokens, sizes, axis=0) for sizes in (hidden, heads)]
    return Layout(shapes[0], shapes[1], mask)


def first_tokens(graph: Graph, config: TowerConfig, x: str, layout: Layout, count: int) -> str:
    """Of ``[batch * token, hidden]`` so many of each row's first tokens, ``[batch * count, hidden]``."""
    bounds = (graph.constant([number], "int64") for number in (0, count, 1))
    return flat(graph, config, graph.add("Slice", graph.add("Reshape", x, layout.hidden), *bounds))


def flat(graph: Graph, config: TowerConfig, x: str) -> str:
    """``[batch, token, hidden]`` as ``[batch * token, hidden]``."""
    return graph.add("Reshape", x, graph.constant([-1, config.hidden_size], "int64"))


def quick_gelu(graph: Graph, x: str) -> str:
    """The sigmoid approximation of GELU that OpenAI's weights were trained with."""
    return graph.add("Mul", x, graph.add("Sigmoid", graph.add("Mul", x, graph.constant(1.702))))


def gelu(graph: Graph, x: str) -> str:
    """The exact GELU."""
    return graph.add("Gelu", x, approximate="none")


def gelu_pytorch_tanh(graph: Graph, x: str) -> str:
    """The tanh approximation of GELU."""
    return graph.add("Gelu", x, approximate="tanh")


ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": gelu, "gelu_pytorch_tanh": gelu_pytorch_tanh}


def linear(graph: Graph, path: str, x: str, bias: bool = True) -> str:
    """A dense layer, ``[row, in]`` to ``[row, out]``."""
    if graph.precision == "int8" and is_quantized(path):
        return quantized_linear(graph, path, x, bias)
    weight = graph.weight(f"{path}.weight")
    return graph.add("Gemm", x, weight, *([graph.weight(f"{path}.bias")] if bias else []), transB=1)


def layer_norm(graph: Graph, path: str, x: str, eps: float) -> str:
    """LayerNorm over the last axis."""
    scale, bias = graph.weight(f"{path}.weight"), graph.weight(f"{path}.bias")
    return graph.add("LayerNormalization", x, scale, bias, axis=-1, epsilon=eps)


def attention(
    graph: Graph,
    path: str,
    x: str,
    config: TowerConfig,
    layout: Layout,
    asked: Tower | None = None,
    queries: int | None = None,
) -> str:
    """Multi-head self-attention, ``[batch * token, hidden]`` to the same shape.

    With ``queries``, only so many of the first tokens ask, and are returned.
    """
    asking, split = x, layout.heads
    if queries is not None:
        asking = first_tokens(graph, config, x, layout, queries)
        split = graph.constant([-1, queries, config.num_attention_heads, config.head_dim], "int64")
    query = graph.add("Reshape", linear(graph, f"{path}.q_proj", asking), split)  # [batch, query, head, head_dim]
    key, value = (
        graph.add("Reshape", linear(graph, f"{path}.{name}_proj", x), layout.heads) for name in ("k", "v")
    )  # [batch, token, head, head_dim]
    query = graph.add("Mul", query, graph.constant(config.head_dim**-0.5))
    query, value = (graph.add("Transpose", one, perm=[0, 2, 1, 3]) for one in (query, value))
    scores = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 2, 3, 1]))  # [batch, head, query, key]
    if layout.mask is not None:
        scores = graph.add("Add", scores, layout.mask)
    weights = graph.add("Softmax", scores, axis=-1)
    if asked is not None:
        asked.attentions.append(weights)
    context = graph.add("Transpose", graph.add("MatMul", weights, value), perm=[0, 2, 1, 3])
    return linear(graph, f"{path}.out_proj", flat(graph, config, context))


def mlp(graph: Graph, path: str, x: str, config: TowerConfig) -> str:
    """Two dense layers with the configuration's activation between them."""
    wide = ACTIVATIONS[config.hidden_act](graph, linear(graph, f"{path}.fc1", x))
    return linear(graph, f"{path}.fc2", wide)


def encoder_layer(
    graph: Graph,
    path: str,
    x: str,
    config: TowerConfig,
    layout: Layout,
    asked: Tower | None = None,
    queries: int | None = None,
) -> str:
    """A pre-norm transformer block, ``[batch * token, hidden]`` to ``[batch * (token or queries), hidden]``."""
    normed = layer_norm(graph, f"{path}.layer_norm1", x, config.layer_norm_eps)
    attended = attention(graph, f"{path}.self_attn", normed, config, layout, asked, queries)
    x = x if queries is None else first_tokens(graph, config, x, layout, queries)
    x = graph.add("Add", x, attended)
    normed = layer_norm(graph, f"{path}.layer_norm2", x, config.layer_norm_eps)
    return graph.add("Add", x, mlp(graph, f"{path}.mlp", normed, config))


def encoder(
    graph: Graph,
    path: str,
    x: str,
    config: TowerConfig,
    layout: Layout,
    asked: Tower | None = None,
    queries: int | None = None,
) -> str:
    """The stack of blocks, the last of which computes as many of the first tokens as ``queries`` says, or all."""
    last = config.num_hidden_layers - 1
    for index in range(config.num_hidden_layers):
        if asked is not None:
            asked.hidden_states.append(graph.add("Reshape", x, layout.hidden))
        fewer = queries if index == last else None
        x = encoder_layer(graph, f"{path}.layers.{index}", x, config, layout, asked, fewer)
    if asked is not None:
        asked.hidden_states.append(graph.add("Reshape", x, layout.hidden))
    return x
