"""A fourth backend, made from the reference: what it takes to join is one module with an adapter's functions.

pytest conformance_tests --backend conformance_tests.meta.numpy_backend
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  # registers bfloat16 with NumPy
import numpy as np
from numpy.typing import NDArray

from clip_core.checkpoint.directory import load_checkpoint
from clip_core.checkpoint.saving import save_checkpoint
from clip_core.checks import (
    check_end_of_text,
    check_pair_counts,
    check_pixel_input,
    check_text_input,
    check_text_values,
)
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.initialization import draw_weights
from clip_core.outputs import BaseModelOutputWithPooling, CLIPOutput, CLIPTextModelOutput, CLIPVisionModelOutput
from clip_core.positions import NewSizes
from conformance_tests import oracle, oracle_layers
from conformance_tests.adapter import CLASSES, Arrays
from conformance_tests.oracle import Oracle
from conformance_tests.oracle_layers import Weights

WITHOUT_CLASSIFIER = True
CONFIGS = {"model": CLIPConfig, "text": CLIPTextConfig, "vision": CLIPVisionConfig}
RESNETS = False


class Model:
    """A configuration and weights; computes in float64 and answers in the dtype of the weights."""

    def __init__(self, kind: str, config: Any, weights: dict[str, NDArray[Any]]) -> None:
        self.kind, self.config, self.weights = kind, config, weights

    @property
    def text_config(self) -> CLIPTextConfig:
        """Of the text tower."""
        return self.config.text_config if self.kind == "model" else self.config

    @property
    def vision_config(self) -> CLIPVisionConfig:
        """Of the vision tower."""
        return self.config.vision_config if self.kind == "model" else self.config

    def narrow(self, value: Any) -> Any:
        """Results in the dtype of the weights."""
        if isinstance(value, Mapping):
            return {name: self.narrow(inner) for name, inner in value.items()}
        if isinstance(value, tuple):
            return tuple(self.narrow(inner) for inner in value)
        return None if value is None else np.asarray(value).astype(next(iter(self.weights.values())).dtype)


def build(kind: str, config: Any, weights: Arrays | None, *, dtype: str = "float32", seed: int = 0) -> Model:
    """A model."""
    if not kind.startswith("vision"):
        check_end_of_text(config.text_config if kind == "model" else config)
    if weights is None:
        weights = dict(draw_weights(config, seed=seed, projection=kind not in ("text", "vision")))
    return Model(kind, config, {name: np.array(value, np.dtype(dtype)) for name, value in weights.items()})


def load(kind: str, directory: Path, *, dtype: str | None = None, **sizes: Any) -> Model:
    """A model from a checkpoint directory."""
    stored = load_checkpoint(directory, CONFIGS[kind.split("_")[0]], projection=kind not in ("text", "vision"))
    loaded = NewSizes(**sizes).applied(stored)
    return build(kind, loaded.config, dict(loaded.weights), dtype=loaded.dtype if dtype == "auto" else "float32")


def save(model: Model, directory: Path, *, max_shard_size: int | str = "5GB") -> None:
    """Writes a checkpoint directory."""
    architecture = CLASSES[model.kind]
    save_checkpoint(directory, model.config, model.weights, architecture=architecture, max_shard_size=max_shard_size)


def weights(model: Model) -> Arrays:
    """All weights."""
    return {name: value.copy() for name, value in model.weights.items()}


def to_array(value: Any) -> NDArray[Any]:
    """The values of a tensor."""
    return np.asarray(value)


def call(model: Model, path: str, *inputs: Any, **named_inputs: Any) -> Any:
    """What a part of the model returns."""
    if path == "":
        whole = _model if model.kind == "model" else _text if model.kind.startswith("text") else _vision
        return whole(model, *inputs, **named_inputs)
    if path in ("get_text_features", "get_image_features"):
        if "text" in path:
            return _text(Model("text_projection", model.text_config, model.weights), *inputs, **named_inputs)[0]
        return _vision(Model("vision_projection", model.vision_config, model.weights), *inputs, **named_inputs)[0]
    if path == "text_model":
        return _text(Model("text", model.text_config, model.weights), *inputs, **named_inputs)
    return model.narrow(_part(model, path, *inputs))


def _part(model: Model, path: str, x: NDArray[Any], *rest: Any) -> Any:
    held = Weights(model.weights)
    config = model.text_config if path.startswith("text") else model.vision_config
    leaf = path.split(".")[-1]
    if leaf == "embeddings":
        embed: Callable[..., Any] = oracle.text_embeddings if path.startswith("text") else oracle.vision_embeddings
        return embed(held, path, x, rest[0] if path.startswith("text") else config)[0]
    x = x.astype(np.float64)
    if "norm" in leaf:
        return oracle_layers.layer_norm(held, path, x, config.layer_norm_eps)[0]
    if leaf == "mlp":
        return oracle_layers.mlp(held, path, x, config.hidden_act)[0]
    if leaf == "encoder":
        states, attentions, _ = oracle.encoder(held, path, x, config, rest[0])
        return states[-1], states if rest[2] else None, attentions if rest[1] else None
    if leaf == "self_attn":
        y, attention, _ = oracle_layers.attention(held, path, x, config.num_attention_heads, rest[0])
        return y, attention if rest[1] else None
    if leaf.isdigit():
        y, attention, _ = oracle.block(held, path, x, config, rest[0])
        return y, attention if rest[1] else None
    return oracle_layers.linear(held, path, x, bias=f"{path}.bias" in model.weights)[0]


def _text(
    model: Model,
    input_ids: Any,
    attention_mask: Any = None,
    position_ids: Any = None,
    output_attentions: bool | None = None,
    output_hidden_states: bool | None = None,
    return_dict: bool | None = None,
) -> Any:
    config = model.text_config
    shapes = [None if value is None else value.shape for value in (attention_mask, position_ids)]
    check_text_input(input_ids.shape, str(input_ids.dtype), *shapes, config)
    check_text_values(input_ids, attention_mask, position_ids, config)
    held = Weights(model.weights)
    fields, _ = oracle.text_tower(held, config, input_ids, attention_mask, position_ids)
    if model.kind == "text_projection":
        fields["text_embeds"], _ = oracle_layers.linear(held, "text_projection", fields["pooler_output"], bias=False)
    kind = CLIPTextModelOutput if model.kind == "text_projection" else BaseModelOutputWithPooling
    return _answer(model, kind, fields, config, output_attentions, output_hidden_states, return_dict)


def _vision(
    model: Model,
    pixel_values: Any,
    output_attentions: bool | None = None,
    output_hidden_states: bool | None = None,
    interpolate_pos_encoding: bool = False,
    return_dict: bool | None = None,
) -> Any:
    config = model.vision_config
    check_pixel_input(pixel_values.shape, str(pixel_values.dtype), config, interpolate_pos_encoding)
    held = Weights(model.weights)
    fields, _ = oracle.vision_tower(held, config, pixel_values)
    if model.kind == "vision_projection":
        fields["image_embeds"], _ = oracle_layers.linear(held, "visual_projection", fields["pooler_output"], bias=False)
    kind = CLIPVisionModelOutput if model.kind == "vision_projection" else BaseModelOutputWithPooling
    return _answer(model, kind, fields, config, output_attentions, output_hidden_states, return_dict)


def _answer(
    model: Model, kind: Any, fields: dict[str, Any], config: Any, attentions: Any, states: Any, return_dict: Any
) -> Any:
    """A tower's output with the fields that the call or the configuration asks for."""
    if not (config.output_attentions if attentions is None else attentions):
        fields["attentions"] = None
    if not (config.output_hidden_states if states is None else states):
        fields["hidden_states"] = None
    output = kind.of(model.narrow(fields))
    return output if (config.return_dict if return_dict is None else return_dict) else output.to_tuple()


def _model(
    model: Model,
    input_ids: Any,
    pixel_values: Any,
    attention_mask: Any = None,
    position_ids: Any = None,
    return_loss: bool | None = None,
    output_attentions: bool | None = None,
    output_hidden_states: bool | None = None,
    interpolate_pos_encoding: bool = False,
    return_dict: bool | None = None,
) -> Any:
    config = model.config
    flags = (
        config.output_attentions if output_attentions is None else output_attentions,
        config.output_hidden_states if output_hidden_states is None else output_hidden_states,
    )
    towers = {
        "text_model_output": _text(
            Model("text", model.text_config, model.weights), input_ids, attention_mask, position_ids, *flags
        ),
        "vision_model_output": _vision(
            Model("vision", model.vision_config, model.weights), pixel_values, *flags, interpolate_pos_encoding
        ),
    }
    if return_loss:
        check_pair_counts(len(pixel_values), len(input_ids))
    inputs = {"input_ids": input_ids, "pixel_values": pixel_values}
    inputs |= {"attention_mask": attention_mask, "position_ids": position_ids}
    fields = Oracle(config, model.weights).outputs(inputs)
    embeds = model.narrow({name: fields[name] for name in ("text_embeds", "image_embeds")})
    texts, images = (value.astype(np.float64) for value in embeds.values())
    logits = np.float32(np.exp(model.weights["logit_scale"].astype(np.float64)) * texts @ images.T)
    loss = np.asarray(oracle.contrastive_loss(np.float64(logits))[0], np.float32) if return_loss else None
    wide = {"loss": loss, "logits_per_image": logits.T, "logits_per_text": logits}
    output = CLIPOutput.of({**wide, **embeds, **towers})
    return output if (config.return_dict if return_dict is None else return_dict) else output.to_tuple()


def gradients(model: Model, inputs: Arrays, *, interpolate_pos_encoding: bool = False) -> Arrays:
    """The gradient of the loss by every weight."""
    found = Oracle(model.config, model.weights).gradients(inputs)
    return {name: model.narrow(found[name]) for name in model.weights}


def step(model: Model, inputs: Arrays, rule: str, learning_rate: float, epsilon: float) -> Arrays:
    """The weights after one step."""
    changed = oracle.updated_weights(model.weights, gradients(model, inputs), rule, learning_rate, epsilon)
    return {name: model.narrow(value) for name, value in changed.items()}


def global_loss(model: Model, inputs: Arrays) -> NDArray[Any]:
    """NumPy has one device."""
    return to_array(call(model, "", **inputs, return_loss=True).loss)


def adapted(model: Model) -> Model:
    """NumPy has no adapters: one that is merged at once."""
    name = "text_projection.weight"
    rank_one = np.ones_like(model.weights[name])
    return Model(model.kind, model.config, {**model.weights, name: model.weights[name] + rank_one})


def restored(model: Model, other: Model, directory: Path) -> Model:
    """The other model with pickled weights."""
    (directory / "weights.pickle").write_bytes(pickle.dumps(model.weights))
    other.weights = pickle.loads((directory / "weights.pickle").read_bytes())
    return other


def compiled(model: Model, inputs: Arrays) -> Any:
    """NumPy has no compiler."""
    return call(model, "", **inputs)


def exported(model: Model, inputs: Arrays, directory: Path) -> Any:
    """What the model returns after it was pickled."""
    (directory / "model.pickle").write_bytes(pickle.dumps(model))
    return call(pickle.loads((directory / "model.pickle").read_bytes()), "", **inputs)
