"""Weights of the PyTorch models: between them and the shared table, from and to checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from typing import Any, ClassVar, Self

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clip_core.checkpoint.directory import DEFAULT_MAX_SHARD_SIZE, load_checkpoint, save_checkpoint
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import InputTypeError
from clip_core.initialization import draw_weights
from clip_core.weights import AXES, WeightSpec, permutation, weight_specs
from clip_torch.layers import Encoder

LEAVES = {
    "linear": ("weight", "out in"),
    "linear_bias": ("bias", "out"),
    "conv": ("weight", "out in height width"),
    "embedding": ("weight", "row hidden"),
    "norm_scale": ("weight", "hidden"),
    "norm_bias": ("bias", "hidden"),
}
"""Per kind: the parameter's name in its module and the order of its axes."""

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def load_weights(
    model: nn.Module, specs: Iterable[WeightSpec], weights: Iterable[tuple[str, NDArray[Any]]], dtype: torch.dtype
) -> None:
    """Puts weights, given in the order of ``specs``, into the model's parameters; the arrays are copied."""
    for spec, (name, value) in zip(specs, weights, strict=True):
        assert spec.name == name
        owner, leaf, axes = _parameter_place(model, spec)
        value = np.transpose(value, permutation(AXES[spec.kind], axes))
        parameter = nn.Parameter(to_tensor(value).to(device=torch.get_default_device(), dtype=dtype))
        setattr(owner, leaf, parameter)


class ModelWeights(Mapping[str, NDArray[Any]]):
    """The weights of a model by their names in the shared scheme, converted when asked for."""

    def __init__(self, model: nn.Module, specs: Iterable[WeightSpec]) -> None:
        self.model = model
        self.specs = {spec.name: spec for spec in specs}

    def __getitem__(self, name: str) -> NDArray[Any]:
        spec = self.specs[name]
        owner, leaf, axes = _parameter_place(self.model, spec)
        value = to_array(getattr(owner, leaf))
        return np.transpose(value, permutation(axes, AXES[spec.kind]))

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)


def _parameter_place(model: nn.Module, spec: WeightSpec) -> tuple[nn.Module, str, str]:
    """The module that owns a weight, the parameter's name in it and the order of its axes."""
    if spec.kind in LEAVES:
        leaf, axes = LEAVES[spec.kind]
        return model.get_submodule(spec.path), leaf, axes
    owner, _, leaf = spec.path.rpartition(".")
    return model.get_submodule(owner), leaf, AXES[spec.kind]


def to_tensor(value: NDArray[Any]) -> Tensor:
    """A tensor with a copy of the array; bfloat16 keeps its bits."""
    copy = np.array(value, order="C")
    if copy.dtype == _BFLOAT16:
        return torch.from_numpy(copy.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(copy)


def to_array(tensor: Tensor) -> NDArray[Any]:
    """The values of a tensor as an array; bfloat16 keeps its bits."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(_BFLOAT16)
    return tensor.numpy()


def torch_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """The dtype of that name.

    Raises:
        InputTypeError: not a dtype for weights.
    """
    name = str(dtype).removeprefix("torch.")
    if name not in ("float32", "bfloat16", "float16", "float64"):
        raise InputTypeError(f"dtype: expected float32, bfloat16, float16 or float64, got {dtype!r}.")
    return getattr(torch, name)


class CLIPPreTrainedModel(nn.Module):
    """What the five models share: initial weights, loading, saving, gradient checkpointing.

    Args:
        config: of the model; of the class ``config_class``.
        seed: of the initial weights; one seed gives the same model in every framework.
        dtype: of weights and computation, ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"float64"``.
        weights: names and values in the order of the weight table, instead of seeded ones.

    Raises:
        InputTypeError: ``config`` is of another class, or no such dtype.
    """

    config_class: ClassVar[type[CLIPConfig] | type[CLIPTextConfig] | type[CLIPVisionConfig]]
    architecture: ClassVar[str]
    """Name of the class in transformers, for ``config.json``."""
    has_projection: ClassVar[bool] = False

    def __init__(
        self,
        config: Any,
        *,
        seed: int = 0,
        dtype: torch.dtype | str = "float32",
        weights: Iterable[tuple[str, NDArray[Any]]] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(config, self.config_class):
            expected, got = self.config_class.__name__, type(config).__name__
            raise InputTypeError(f"{type(self).__name__}: expected a {expected}, got {got}.")
        self.config = config
        if weights is None:
            weights = draw_weights(config, seed=seed, projection=self.has_projection)
        with torch.device("meta"):  # neither memory nor random numbers for weights that are set next
            self.make_layers(config)
        load_weights(self, self.weight_specs(), weights, torch_dtype(dtype))

    def make_layers(self, config: Any) -> None:
        """Makes the layers; each model's own."""
        raise NotImplementedError

    def weight_specs(self) -> tuple[WeightSpec, ...]:
        """The entries of the weight table that this model has."""
        return weight_specs(self.config, projection=self.has_projection)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | PathLike[str],
        *,
        config: Any = None,
        dtype: torch.dtype | str | None = None,
        subfolder: str = "",
        revision: str = "main",
        cache_dir: str | PathLike[str] | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """The model of a checkpoint, in evaluation mode.

        Args:
            name_or_path: a directory, ``"triclip-emoji"`` or a repository name; see `clip_core.resolve_checkpoint`.
            config: used instead of the checkpoint's.
            dtype: float32 unless given; ``"auto"`` is the dtype of the stored weights.
            subfolder, revision, cache_dir, local_files_only: where to look for the checkpoint.

        Raises:
            CheckpointNotFoundError, CheckpointFormatError, ConfigError: the checkpoint is not there or broken.
            WeightMismatchError: the weights are not those of the configuration.
        """
        loaded = load_checkpoint(
            name_or_path,
            cls.config_class,
            projection=cls.has_projection,
            config=config,
            subfolder=subfolder,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        dtype = loaded.dtype if dtype == "auto" else dtype or "float32"
        return cls(loaded.config, dtype=dtype, weights=loaded.weights).eval()

    def save_pretrained(
        self, save_directory: str | PathLike[str], *, max_shard_size: int | str = DEFAULT_MAX_SHARD_SIZE
    ) -> None:
        """Writes ``config.json`` and the weights, in shards if they are larger than ``max_shard_size``."""
        weights = ModelWeights(self, self.weight_specs())
        save_checkpoint(
            save_directory, self.config, weights, architecture=self.architecture, max_shard_size=max_shard_size
        )

    def gradient_checkpointing_enable(self) -> None:
        """Recomputes each block in the backward pass of training instead of keeping its activations."""
        self._set_gradient_checkpointing(True)

    def gradient_checkpointing_disable(self) -> None:
        """Keeps the activations of each block."""
        self._set_gradient_checkpointing(False)

    def _set_gradient_checkpointing(self, value: bool) -> None:
        for module in self.modules():
            if isinstance(module, Encoder):
                module.gradient_checkpointing = value

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next(self.parameters()).dtype
