"""Mistakes in the ONNX graph. It is written by functions, so a mistake is a function that writes something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from conformance_tests.meta.seeder import Defect, Seeder


def defect(caught_by: str, seed: Callable[[Seeder], None], **options: Any) -> Defect:
    """A mistake of `clip_onnx`."""
    return Defect(caught_by, seed, backends=("onnx",), **options)


def nodes(change: Callable[..., tuple[tuple[str, ...], dict[str, Any]]]) -> Callable[[Seeder], None]:
    """Other nodes; ``change`` gets the graph, an operator, its inputs and attributes, and returns the last two."""

    def seed(s: Seeder) -> None:
        def add(original: Any, self: Any, kind: str, *inputs: str, **attributes: Any) -> str:
            inputs, attributes = change(self, kind, inputs, attributes)
            return str(original(self, kind, *inputs, **attributes))

        s.wrap(s.graph.Graph, "add", add)

    return seed


def attribute(operator: str, **other: Any) -> Callable[[Seeder], None]:
    """Other attributes of an operator, wherever it is."""
    return nodes(lambda graph, kind, inputs, given: (inputs, given | other if kind == operator else given))


def untransposed(graph: Any, kind: str, inputs: tuple[str, ...], given: dict[str, Any]) -> Any:
    """Square weights the wrong way round."""
    square = kind == "Gemm" and len(set(np.shape(graph.weights.get(inputs[1])))) == 1
    return inputs, given | {"transB": 0} if square else given


def tokens_reversed(graph: Any, kind: str, inputs: tuple[str, ...], given: dict[str, Any]) -> Any:
    """The class token behind the patches."""
    return inputs[::-1] if kind == "Concat" and given.get("axis") == 1 else inputs, given


def linear(change: Callable[[str, bool], tuple[str, bool]]) -> Callable[[Seeder], None]:
    """Other weights in a dense layer; ``change`` gets its path and whether it has a bias."""
    return lambda s: s.wrap_everywhere(
        "linear", lambda original, graph, path, x, bias=True: original(graph, *_placed(x, change(path, bias)))
    )


def _placed(x: str, changed: tuple[str, bool]) -> tuple[str, str, bool]:
    path, bias = changed
    return path, x, bias


def swapped(path: str, bias: bool) -> tuple[str, bool]:
    """Queries by the weights of keys, and the other way round."""
    names = {"q_proj": "k_proj", "k_proj": "q_proj"}
    owner, _, leaf = path.rpartition(".")
    return f"{owner}.{names.get(leaf, leaf)}" if owner else leaf, bias


def without_bias(layer: str) -> Callable[[Seeder], None]:
    """A dense layer's bias left out."""
    return linear(lambda path, bias: (path, bias and not path.endswith(layer)))


def skipped(module: str, leaf: str) -> Callable[[Seeder], None]:
    """A tower without one of its LayerNorms."""

    def seed(s: Seeder) -> None:
        original = s.modules[module].layer_norm
        s.patch.setattr(
            s.modules[module],
            "layer_norm",
            lambda graph, path, x, eps: x if path.endswith(leaf) else original(graph, path, x, eps),
        )

    return seed


def epsilon(value: float) -> Callable[[Seeder], None]:
    """Another than the configuration's."""
    return lambda s: s.wrap_everywhere(
        "layer_norm", lambda original, graph, path, x, eps: original(graph, path, x, value)
    )


def unmasked(s: Seeder) -> None:
    def attention(original: Any, graph: Any, path: str, x: str, config: Any, layout: Any, *rest: Any) -> Any:
        return original(graph, path, x, config, replace(layout, mask=None), *rest)

    s.wrap(s.layers, "attention", attention)


def without_residual(s: Seeder) -> None:
    def block(original: Any, graph: Any, path: str, x: str, *rest: Any) -> Any:
        return graph.add("Sub", original(graph, path, x, *rest), x)

    s.wrap(s.layers, "encoder_layer", block)


def first_block_again(s: Seeder) -> None:
    def block(original: Any, graph: Any, path: str, *rest: Any) -> Any:
        return original(graph, path.rpartition(".")[0] + ".0", *rest)

    s.wrap(s.layers, "encoder_layer", block)


def another_token(s: Seeder) -> None:
    """The last block computes the first patch, where the class token alone is read."""

    def first_tokens(original: Any, graph: Any, config: Any, x: str, layout: Any, count: int) -> Any:
        bounds = (graph.constant([number], "int64") for number in (1, 1 + count, 1))
        tokens = graph.add("Slice", graph.add("Reshape", x, layout.hidden), *bounds)
        return s.layers.flat(graph, config, tokens)

    s.wrap(s.layers, "first_tokens", first_tokens)


def padding_ignored(original: Any, graph: Any, length: int, tokens: str, mask: str | None) -> Any:
    return original(graph, length, tokens, None)


def future_seen(original: Any, graph: Any, *arguments: Any) -> Any:
    """A mask that hides nothing."""
    return graph.add("Mul", original(graph, *arguments), graph.constant(0.0))


def scale(change: Callable[[Any], Any]) -> Callable[[Seeder], None]:
    """Cosines times something else; ``change`` gets the weight."""

    def logits(original: Any, self: Any, texts: Any, images: Any) -> Any:
        weight = np.float32(self.named_weights()["logit_scale"])
        return original(self, texts, images) / np.exp(weight) * change(weight)

    return lambda s: s.wrap(s.model_class, "logits", logits)


DEFECTS = {
    "gelu for quick_gelu": defect(
        "test_layers::test_mlp", lambda s: s.patch.setitem(s.layers.ACTIVATIONS, "quick_gelu", s.layers.gelu)
    ),
    "tanh approximation for gelu": defect(
        "test_layers::test_mlp", attribute("Gelu", approximate="tanh"), case="legacy"
    ),
    "epsilon 1e-6": defect("test_layers::test_layer_norm", epsilon(1e-6)),
    "square weights untransposed": defect("test_layers::test_linear", nodes(untransposed)),
    "output bias of the MLP skipped": defect("test_layers::test_mlp", without_bias("fc2")),
    "output bias of attention skipped": defect("test_layers::test_attention", without_bias("out_proj")),
    "query and key swapped": defect("test_layers::test_attention", linear(swapped)),
    "softmax over queries": defect("test_layers::test_attention", attribute("Softmax", axis=-2)),
    "mask ignored": defect("test_layers::test_attention", unmasked),
    "class token last": defect("test_layers::test_vision_embeddings", nodes(tokens_reversed)),
    "residual skipped": defect("test_blocks::test_block", without_residual),
    "first block's weights in all": defect("test_blocks::test_encoder", first_block_again),
    "padding mask ignored": defect(
        "test_towers::test_text", lambda s: s.wrap(s.text_graph, "causal_mask", padding_ignored)
    ),
    "causal mask dropped": defect("test_towers::test_text", lambda s: s.wrap(s.text_graph, "causal_mask", future_seen)),
    "last end pooled": defect("test_towers::test_text", attribute("ArgMax", select_last_index=1)),
    "largest id pooled": defect(
        "test_towers::test_text", lambda s: s.patch.setattr(s.text_graph, "LEGACY_EOS_TOKEN_ID", 57)
    ),
    "final LayerNorm skipped": defect("test_towers::test_text", skipped("text_graph", "final_layer_norm")),
    "LayerNorm before the blocks skipped": defect("test_towers::test_vision", skipped("vision_graph", "pre_layrnorm")),
    "another token than the class token alone": defect("test_logits::test_image_features", another_token),
    "logit scale not exponentiated": defect("test_logits::test_logits", scale(lambda weight: weight)),
    "embeddings not normalised": defect(
        "test_logits::test_logits", lambda s: s.patch.setattr(s.model, "unit_length", lambda embeds: embeds)
    ),
    "embeddings of the file not normalised": defect(
        "test_compiled::test_exported", lambda s: s.patch.setattr(s.model, "_unit_length", lambda graph, embeds: embeds)
    ),
}
