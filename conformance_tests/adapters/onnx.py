"""`clip_onnx` for the suite. A part of a model is a graph of its own, written by the functions that write the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

import clip_onnx
from clip_core.resnet import stage_blocks
from clip_onnx import layers, resnet_graph, text_graph, vision_graph
from clip_onnx.graph import Graph
from clip_onnx.layers import Tower
from clip_onnx.programs import Program
from conformance_tests.adapter import CLASSES, Arrays, part

WITHOUT_CLASSIFIER = True
COMPUTES_WIDE = True
_INFERENCE_ONLY = "ONNX Runtime computes no gradients here"
WITHOUT = {
    **dict.fromkeys(("gradients", "step", "trained"), _INFERENCE_ONLY),
    "global_loss": "it has no replicas",
    "adapted": "its layers are nodes of a graph, which take no adapters",
    "restored": "it has no checkpoints of its own; its weights are not in one piece with its files",
}
_DTYPES = {"i": "int64", "f": "float32"}


def model_class(kind: str) -> Any:
    """The class of a kind of model."""
    return getattr(clip_onnx, CLASSES[kind])


def build(kind: str, config: Any, weights: Arrays | None, *, dtype: str = "float32", seed: int = 0) -> Any:
    """A model."""
    return model_class(kind)(config, seed=seed, dtype=dtype, weights=weights)


def load(kind: str, directory: Path, *, dtype: str | None = None, **sizes: Any) -> Any:
    """A model from a checkpoint directory."""
    return model_class(kind).from_pretrained(directory, dtype=dtype, **sizes)


def save(model: Any, directory: Path, *, max_shard_size: int | str = "5GB") -> None:
    """Writes a checkpoint directory."""
    model.save_pretrained(directory, max_shard_size=max_shard_size)


def weights(model: Any) -> Arrays:
    """All weights, in the order of the weight table."""
    return {name: np.array(value) for name, value in model.named_weights().items()}


def to_array(value: Any) -> NDArray[Any]:
    """The values of an array."""
    return np.asarray(value)


def call(model: Any, path: str, *inputs: Any, **named_inputs: Any) -> Any:
    """What a part of the model returns."""
    if path in ("", "text_model", "vision_model", "get_text_features", "get_image_features"):
        return (part(model, path) if path else model)(*inputs, **named_inputs)
    if path.startswith("vision_model.") and model.vision_model.config.is_resnet:
        return _call_resnet(_Part(model, path), path.removeprefix("vision_model."), *inputs)
    written = _Part(model, path)
    names = written.outputs(*inputs)
    return names(written.run())


class _Part:
    """A graph of a part of a model, with what it is called with."""

    def __init__(self, model: Any, path: str) -> None:
        config = model.config
        is_text = path.startswith("text")
        self.path, self.is_text, self.embed = path, is_text, config.projection_dim
        self.config = getattr(config, "text_config" if is_text else "vision_config", config)
        self.graph = Graph(model.wide_weights())
        self.given: dict[str, NDArray[Any]] = {}

    def run(self) -> dict[str, NDArray[Any]]:
        """The outputs of the graph."""
        return Program(self.graph, threads=1).run(self.given)

    def input(self, name: str, value: NDArray[Any]) -> str:
        """An input with its value."""
        dtype = _DTYPES[value.dtype.kind]
        self.given[name] = value.astype(dtype)
        return self.graph.input(name, dtype, value.shape)

    def outputs(self, x: NDArray[Any], *rest: Any) -> Callable[[dict[str, Any]], Any]:
        """Writes the graph; what makes of its outputs what a backend returns."""
        graph, path, config = self.graph, self.path, self.config
        leaf = path.split(".")[-1]
        if leaf == "embeddings":
            self._embeddings(x, *rest)
            return lambda outputs: outputs["y"]
        value = self.input("x", x)
        if leaf not in ("self_attn", "encoder") and not leaf.isdigit():
            self._rows(value, x.shape, leaf)
            return lambda outputs: outputs["y"]
        asked = Tower()
        form = layers.layout(graph, config, graph.constant([x.shape[1]], "int64"), self._mask(rest[0]))
        write = {"self_attn": layers.attention, "encoder": layers.encoder}.get(leaf, layers.encoder_layer)
        y = write(graph, path, layers.flat(graph, config, value), config, form, asked)
        graph.output("y", graph.add("Reshape", y, form.hidden))
        for kind in ("hidden_states", "attentions"):
            for number, one in enumerate(getattr(asked, kind)):
                graph.output(f"{kind}.{number}", one)

        def several(outputs: dict[str, Any], kind: str) -> tuple[Any, ...]:
            return tuple(one for name, one in outputs.items() if name.startswith(f"{kind}."))

        def returned(outputs: dict[str, Any]) -> Any:
            states, attentions = (several(outputs, kind) for kind in ("hidden_states", "attentions"))
            if leaf == "encoder":
                return outputs["y"], states if rest[2] else None, attentions if rest[1] else None
            return outputs["y"], attentions[0] if rest[1] else None

        return returned

    def _rows(self, value: str, shape: tuple[int, ...], leaf: str) -> None:
        """A layer that knows only rows."""
        graph, path, config = self.graph, self.path, self.config
        x = graph.add("Reshape", value, graph.constant([-1, shape[-1]], "int64"))
        if leaf == "mlp":
            y = layers.mlp(graph, path, x, config)
        elif "norm" in leaf:
            y = layers.layer_norm(graph, path, x, config.layer_norm_eps)
        else:
            y = layers.linear(graph, path, x, bias=f"{path}.bias" in graph.weights)
        out = self.embed if leaf.endswith("projection") else len(graph.weights[f"{path}.bias"]) if leaf != "mlp" else -1
        graph.output("y", graph.add("Reshape", y, graph.constant([*shape[:-1], out], "int64")))

    def _embeddings(self, x: NDArray[Any], *rest: Any) -> None:
        graph, config = self.graph, self.config
        if not self.is_text:
            rows, columns = (size // config.patch_size for size in x.shape[2:])
            pixels = self.input("x", x)
            graph.output("y", vision_graph.vision_embeddings(graph, config, pixels, rows, columns))
            return
        tokens = graph.constant([x.shape[1]], "int64")
        positions = None if rest[0] is None else self.input("positions", rest[0])
        graph.output("y", text_graph.text_embeddings(graph, config, self.input("x", x), tokens, positions))

    def _mask(self, visible: NDArray[Any] | None) -> str | None:
        """A boolean mask as it is added to scores."""
        if visible is None:
            return None
        added = np.where(visible, np.float32(0), np.finfo(np.float32).min)
        return self.input("mask", np.asarray(added, np.float32))


def _call_resnet(written: _Part, path: str, *inputs: Any) -> Any:
    """What a part of a ResNet tower returns; a stage is given its number and an image, the pooling what is wanted."""
    graph, config = written.graph, written.config
    image = next(value for value in inputs if isinstance(value, np.ndarray))
    x, asked = written.input("x", image), Tower()
    steps = path.split(".")
    whole = f"vision_model.{path}"
    if path == "stem":
        y = resnet_graph.stem(graph, x)
    elif path == "stage":
        y = resnet_graph.stage(graph, config, inputs[0], x)
    elif path == "attnpool":
        y = resnet_graph.attention_pooling(graph, config, x, *image.shape[2:], asked)
        graph.output("weights", asked.attentions[0])
    elif len(steps) == 2:
        number, index = int(steps[0].removeprefix("layer")), int(steps[1])
        block = stage_blocks(config.stage_depths, config.hidden_size)[number - 1][index]
        y = resnet_graph.bottleneck(graph, whole, x, block)
    elif f"{whole}.running_mean" in graph.weights:
        y = resnet_graph.batch_norm(graph, whole, x)
    else:
        y = resnet_graph.convolution(graph, whole, x)
    graph.output("y", y)
    outputs = written.run()
    return (outputs["y"], outputs["weights"] if inputs[1] else None) if path == "attnpool" else outputs["y"]


def compiled(model: Any, inputs: Arrays) -> Any:
    """What the model returns: it is compiled as it is."""
    return model(**inputs)


def exported(model: Any, inputs: Arrays, directory: Path) -> Any:
    """What ONNX Runtime returns of the model's file."""
    model.export(directory / "model.onnx")
    session = onnxruntime.InferenceSession(directory / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))
