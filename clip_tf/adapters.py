"""LoRA of the Keras models: factors beside kernels and tables of embeddings, their files, and what both make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from os import PathLike
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from clip_core.adapters import DEFAULT_TARGETS, LEAVES, LowRank, load_adapter, save_adapter, target_paths
from clip_core.errors import InputError
from clip_core.model_weights import module_at


def factors(layer: keras.Layer) -> tuple[keras.Variable, keras.Variable]:
    """Both factors of a layer with LoRA: ``[in, rank]``, ``[rank, out]``; or ``[row, rank]``, ``[rank, hidden]``."""
    if isinstance(layer, keras.layers.Embedding):
        return layer.lora_embeddings_a, layer.lora_embeddings_b
    return layer.lora_kernel_a, layer.lora_kernel_b


def has_factors(layer: Any) -> bool:
    """Whether a layer has LoRA beside weights that are not quantised, so that both can be merged exactly."""
    return getattr(layer, "lora_enabled", False) and not layer.quantization_mode


def values(variable: keras.Variable) -> NDArray[Any]:
    """The numbers of a variable in float32, or in float64 if it has that dtype."""
    array = ops.convert_to_numpy(ops.cast(variable, "float64" if variable.dtype == "float64" else "float32"))
    return np.array(array)


def merged(layer: keras.Layer) -> Any:
    """The kernel or table that a layer with LoRA computes with, in the dtype of the weight that lies beneath.

    Keras' own is in the dtype of computation: of a mixed policy it would lose half of the bits.
    """
    beneath = layer._embeddings if isinstance(layer, keras.layers.Embedding) else layer._kernel
    first, second = (values(factor) for factor in factors(layer))
    added = values(beneath) + np.float32(layer.lora_alpha / layer.lora_rank) * (first @ second)
    return ops.cast(ops.convert_to_tensor(added), beneath.dtype)


def add_factors(layer: keras.Layer, rank: int, alpha: float) -> None:
    """LoRA for a layer; nothing of it but the factors is trained.

    Raises:
        InputError: it has LoRA of another rank or scale already.
    """
    if not getattr(layer, "lora_enabled", False):
        layer.enable_lora(rank, lora_alpha=alpha)
    elif (layer.lora_rank, layer.lora_alpha) != (rank, alpha):
        raise InputError(
            f"{layer.path}: expected a layer without LoRA, or of rank {rank} and alpha {alpha:g}, got rank "
            f"{layer.lora_rank} and alpha {layer.lora_alpha:g}. Load the adapter into a new model."
        )


def set_factors(layer: keras.Layer, adapter: LowRank) -> None:
    """Gives a layer the factors of an adapter, with LoRA if it has none."""
    add_factors(layer, adapter.rank, adapter.alpha)
    for variable, value in zip(factors(layer), (adapter.down, adapter.up), strict=True):
        variable.assign(np.ascontiguousarray(np.transpose(value).astype(np.float32)))


def read_factors(layer: keras.Layer) -> LowRank:
    """The factors of a layer in the layout of adapters."""
    down, up = (np.ascontiguousarray(values(factor).T) for factor in factors(layer))
    return LowRank(down, up, float(layer.lora_alpha))


def keep_factors(layers: Iterator[keras.Layer] | list[keras.Layer]) -> None:
    """Has Keras save and load layers with LoRA without loss."""
    for layer in layers:
        if has_factors(layer):
            layer.save_own_variables = partial(save_with_factors, layer)
            layer.load_own_variables = partial(load_with_factors, layer)


def save_with_factors(layer: keras.Layer, store: Any) -> None:
    """As Keras, which stores the merged weight, but for its dtype; see `merged`."""
    kept: dict[str, Any] = {}
    type(layer).save_own_variables(layer, kept)
    for name, value in {**kept, "0": merged(layer)}.items():
        store[name] = value


def load_with_factors(layer: keras.Layer, store: Mapping[str, Any]) -> None:
    """Loads a layer that was saved with its adapter merged.

    Keras sets both factors to 0, from where they learn nothing; here the first one keeps what was drawn or learned.
    """
    first = factors(layer)[0]
    before = values(first)
    type(layer).load_own_variables(layer, store)
    first.assign(before)


class WithAdapters:
    """What a model can do with low-rank adapters; `save_pretrained` merges them and leaves the model as it is."""

    def enable_lora(
        self,
        rank: int = 8,
        targets: tuple[str, ...] | list[str] | str = DEFAULT_TARGETS,
        lora_alpha: float | None = None,
    ) -> None:
        """LoRA for layers of the towers, of which nothing but the factors is trained then; compile the model after it.

        Args:
            rank: of the factors. The first is drawn, the second is zero: nothing changes before training.
            targets: ends of the paths of linear layers and embeddings, ``"all-linear"`` or a regular expression.
            lora_alpha: the scale is this, divided by the rank; the rank unless given.

        Raises:
            InputError: no such layer, a rank below 1, or a layer that has LoRA of another rank or scale.
        """
        if rank < 1:
            raise InputError(f"rank: expected 1 or more, got {rank}.")
        for path in target_paths(self.weight_specs(), targets if isinstance(targets, str) else tuple(targets)):
            add_factors(module_at(self, path), rank, rank if lora_alpha is None else lora_alpha)
        self.train_factors_only()

    def save_adapter(self, save_directory: str | PathLike[str]) -> None:
        """Writes the adapter alone, as PEFT does: PyTorch's users load it with ``PeftModel.from_pretrained``.

        Raises:
            InputError: there is none, or something else is trained, which would be lost; all is in one list.
        """
        specs = self.weight_specs()
        layers = {spec.path: module_at(self, spec.path) for spec in specs if spec.kind in LEAVES}
        adapter = {path: read_factors(layer) for path, layer in layers.items() if getattr(layer, "lora_enabled", False)}
        saved = {id(factor) for path in adapter for factor in factors(layers[path])}
        lost = [variable.path for variable in self.trainable_variables if id(variable) not in saved]
        if lost or not adapter:
            raise InputError(
                "save_adapter: expected LoRA and nothing else that is trained, got "
                f"{', '.join(lost[:20]) or 'no LoRA'}. Call enable_lora before training, or save the whole model."
            )
        save_adapter(save_directory, adapter, specs, self.name_or_path or None)

    def load_adapter(self, directory: str | PathLike[str]) -> None:
        """Adds an adapter in PEFT's files, also of PyTorch; training goes on with its factors, as after `enable_lora`.

        Raises:
            CheckpointError: it is not there, broken, of another kind or for another model.
            InputError: a layer has LoRA of another rank or scale.
        """
        for path, adapter in load_adapter(directory, self.weight_specs()).items():
            set_factors(module_at(self, path), adapter)
        self.train_factors_only()

    def train_factors_only(self) -> None:
        """Freezes every variable but those of LoRA, biases of its layers too, which Keras would train."""
        layers = [layer for layer in self._flatten_layers() if getattr(layer, "lora_enabled", False)]
        trained = {id(factor) for layer in layers for factor in factors(layer)}
        for variable in self.weights:
            variable.trainable = id(variable) in trained

    def parameter(self, owner: Any, leaf: str) -> Any:
        """As `PretrainedModel.parameter`; of a layer with LoRA what both make together."""
        return merged(owner) if leaf in ("kernel", "embeddings") and has_factors(owner) else getattr(owner, leaf)

    def save_own_variables(self, store: Any) -> None:
        keep_factors(self._flatten_layers())
        super().save_own_variables(store)

    def load_own_variables(self, store: Any) -> None:
        keep_factors(self._flatten_layers())
        super().load_own_variables(store)
