"""What was changed in the layers of a model since it was made, for ``.keras`` files: policies, LoRA, what is frozen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from clip_core.errors import InputError

KERAS_ATTRIBUTES = frozenset(vars(keras.Model()))
"""Where Keras itself keeps lists of layers."""


def _inner_layers(owner: Any, path: str, seen: set[int]) -> Iterator[tuple[str, keras.Layer]]:
    """Every layer inside a layer, list or dict, once, by its attribute path; the outer ones first."""
    children = dict(enumerate(owner)) if isinstance(owner, list | tuple) else getattr(owner, "__dict__", owner)
    if isinstance(owner, keras.Layer):
        children = {**children, **getattr(owner, "_modules", {})}  # where torch keeps the layers that are attributes
    for name, child in children.items():
        if name in KERAS_ATTRIBUTES or id(child) in seen or not isinstance(child, keras.Layer | list | tuple | dict):
            continue
        seen.add(id(child))
        if isinstance(child, keras.Layer):
            yield f"{path}{name}", child
        yield from _inner_layers(child, f"{path}{name}.", seen)


def layers_by_path(model: keras.Model) -> list[tuple[str, keras.Layer]]:
    """The model itself, whose path is empty, and every layer inside, by its attribute path; the outer ones first."""
    return [("", model), *_inner_layers(model, "", set())]


def own_variables(layer: keras.Layer) -> dict[str, keras.Variable]:
    """The variables of a layer but not of those inside, by attribute name."""
    return {name: value for name, value in vars(layer).items() if isinstance(value, keras.Variable)}


def layer_state(layer: keras.Layer, policy: keras.DTypePolicy) -> dict[str, Any]:
    """What was changed in a layer of a model of that policy since it was made; empty if nothing was.

    Raises:
        InputError: it is quantised in a way that needs the data which it was calibrated with.
    """
    state: dict[str, Any] = {}
    if layer.quantization_mode in ("gptq", "awq"):
        raise InputError(
            f"{layer.name}: expected a layer that is not quantised, or as int8, int4 or float8, got "
            f"{layer.quantization_mode}, which a .keras file of this model cannot keep. Save it before quantize()."
        )
    dtype = keras.saving.serialize_keras_object(layer.dtype_policy)
    if dtype != keras.saving.serialize_keras_object(policy):  # policies of different classes cannot be compared
        state["dtype"] = dtype
    if layer.quantization_mode:
        state["quantization"] = keras.saving.serialize_keras_object(layer.quantization_config)
    if getattr(layer, "lora_enabled", False):
        state["lora"] = {"rank": layer.lora_rank, "lora_alpha": layer.lora_alpha}
    if not layer.trainable:
        state["trainable"] = False
    frozen = [name for name, variable in own_variables(layer).items() if not variable.trainable]
    if frozen:
        state["frozen"] = frozen
    bounds = {name: variable.constraint for name, variable in own_variables(layer).items() if variable.constraint}
    if bounds:
        state["constraints"] = {name: keras.saving.serialize_keras_object(bound) for name, bound in bounds.items()}
    if getattr(layer, "gradient_checkpointing", False):
        state["gradient_checkpointing"] = True
    return state


def change_layer(layer: keras.Layer, state: dict[str, Any], custom_objects: Any) -> None:
    """Changes a layer that was just made as `layer_state` describes."""
    if "quantization" in state:
        config = keras.saving.deserialize_keras_object(state["quantization"], custom_objects)
        layer.quantize(config.mode, config=config)
    if "dtype" in state:
        layer.dtype_policy = keras.saving.deserialize_keras_object(state["dtype"], custom_objects)
    if "lora" in state:
        layer.enable_lora(**state["lora"])
    if "gradient_checkpointing" in state:
        layer.gradient_checkpointing = True
    if layer.trainable is not state.get("trainable", True):
        layer.trainable = not layer.trainable
    for name, variable in own_variables(layer).items():
        variable.trainable = name not in state.get("frozen", ())
        if name in state.get("constraints", ()):
            variable.constraint = keras.saving.deserialize_keras_object(state["constraints"][name], custom_objects)
