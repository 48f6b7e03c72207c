"""What the models of every backend share and no framework is needed for: weights by name, loading, saving, switches.

A backend's base class derives from `PretrainedModel` and its framework's own. It says in which `Scheme` it keeps the
weights, makes its layers, puts `initial_values` into them and reads one parameter; the rest is here, once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clip_core.checkpoint.directory import DEFAULT_MAX_SHARD_SIZE, LazyWeights, load_checkpoint, save_checkpoint
from clip_core.checkpoint.locating import resolve_checkpoint
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import InputTypeError
from clip_core.initialization import draw_weights
from clip_core.schemes import Scheme
from clip_core.weights import AXES, Layout, WeightSpec, match_weights, permutation, weight_specs

Weights: TypeAlias = Mapping[str, NDArray[Any]]


class PretrainedModel:
    """Base of the five models of every backend, beside the framework's own base class."""

    config_class: ClassVar[type[CLIPConfig] | type[CLIPTextConfig] | type[CLIPVisionConfig]]
    architecture: ClassVar[str]
    """Name of the class in transformers, for ``config.json``."""
    has_projection: ClassVar[bool] = False
    scheme: ClassVar[Scheme]
    """How the framework names and lays out parameters."""

    config: Any

    @staticmethod
    def to_array(parameter: Any, /) -> NDArray[Any]:
        """The values of a parameter of the framework, in its layout; each backend's own."""
        raise NotImplementedError

    def make_layers(self, config: Any) -> None:
        """Makes the layers; each model's own."""
        raise NotImplementedError

    @classmethod
    def checked_config(cls, config: Any) -> Any:
        """The configuration, if it is one for this class.

        Raises:
            InputTypeError: it is of another class.
        """
        if not isinstance(config, cls.config_class):
            expected, got = cls.config_class.__name__, type(config).__name__
            raise InputTypeError(f"{cls.__name__}: expected a {expected}, got {got}.")
        return config

    def weight_specs(self) -> tuple[WeightSpec, ...]:
        """The entries of the weight table that this model has."""
        return weight_specs(self.config, projection=self.has_projection)

    def named_weights(self) -> Weights:
        """The weights by their names in checkpoints, in the layout of checkpoints; each is converted when asked for."""
        return _NamedWeights(self)

    def place(self, spec: WeightSpec) -> tuple[Any, str, str]:
        """The module that owns a weight, the parameter's name in it and the order of its axes."""
        path, leaf, axes = self.scheme.place(spec)
        return module_at(self, path), leaf, axes

    def initial_values(self, seed: int, weights: Weights | None) -> Iterator[tuple[Any, str, NDArray[Any]]]:
        """Owner, parameter name and value, in the framework's layout, of every weight of a new model.

        Args:
            seed: of the drawn weights, if none are given.
            weights: by their names in checkpoints; they are matched like those of a checkpoint.

        Raises:
            InputTypeError: not a mapping from names to arrays.
            WeightMismatchError: missing, unexpected or misshapen weights, or of an impossible dtype, all in one list.
        """
        specs = self.weight_specs()
        if weights is None:
            values = (value for _, value in draw_weights(self.config, seed=seed, projection=self.has_projection))
        else:
            names = match_weights(specs, layout_of(weights), f"{type(self).__name__}(weights=)")
            values = (np.asarray(weights[names[spec.name]]).reshape(spec.shape) for spec in specs)
        for spec, value in zip(specs, values, strict=True):
            owner, leaf, axes = self.place(spec)
            yield owner, leaf, np.transpose(value, permutation(AXES[spec.kind], axes))

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | PathLike[str],
        *,
        config: Any = None,
        dtype: Any = None,
        subfolder: str = "",
        revision: str = "main",
        cache_dir: str | PathLike[str] | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """The model of a checkpoint, in evaluation mode.

        Args:
            name_or_path: a directory, ``"triclip-emoji"`` or a repository name; see `clip_core.resolve_checkpoint`.
            config: used instead of the checkpoint's.
            dtype: as of the constructor, with its default; ``"auto"`` is the dtype of the stored weights.
            subfolder, revision, cache_dir, local_files_only: where to look for the checkpoint.

        Raises:
            CheckpointNotFoundError, CheckpointFormatError, ConfigError: the checkpoint is not there or broken.
            WeightMismatchError: the weights are not those of the configuration.
        """
        directory = resolve_checkpoint(
            name_or_path,
            part="weights",
            subfolder=subfolder,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        return cls.from_directory(directory, config=config, dtype=dtype)

    @classmethod
    def from_directory(cls, directory: Path, *, config: Any = None, dtype: Any = None) -> Self:
        """Like `from_pretrained`, for a checkpoint directory that has been found already."""
        loaded = load_checkpoint(directory, cls.config_class, projection=cls.has_projection, config=config)
        dtype = loaded.dtype if str(dtype) == "auto" else dtype
        return cls(loaded.config, dtype=dtype, weights=loaded.weights)  # type: ignore[call-arg]  # of the backend's

    def save_pretrained(
        self, save_directory: str | PathLike[str], *, max_shard_size: int | str = DEFAULT_MAX_SHARD_SIZE
    ) -> None:
        """Writes ``config.json`` and the weights, in shards if they are larger than ``max_shard_size``."""
        save_checkpoint(
            save_directory,
            self.config,
            self.named_weights(),
            architecture=self.architecture,
            max_shard_size=max_shard_size,
        )

    def gradient_checkpointing_enable(self) -> None:
        """Recomputes each block in the backward pass of training instead of keeping its activations."""
        self._set_gradient_checkpointing(True)

    def gradient_checkpointing_disable(self) -> None:
        """Keeps the activations of each block."""
        self._set_gradient_checkpointing(False)

    def _set_gradient_checkpointing(self, value: bool) -> None:
        for tower in ("text_model", "vision_model"):
            if hasattr(self, tower):
                getattr(self, tower).encoder.gradient_checkpointing = value


class _NamedWeights(Mapping[str, NDArray[Any]]):
    """The weights of a model by their names in checkpoints."""

    def __init__(self, model: PretrainedModel) -> None:
        self._model = model
        self._specs = {spec.name: spec for spec in model.weight_specs()}

    def __getitem__(self, name: str) -> NDArray[Any]:
        spec = self._specs[name]
        owner, leaf, axes = self._model.place(spec)
        return np.transpose(self._model.to_array(getattr(owner, leaf)), permutation(axes, AXES[spec.kind]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)


def module_at(model: Any, path: str) -> Any:
    """The part of a model at a dotted path, where numbers are positions in lists; the model itself if it is empty."""
    steps = path.split(".") if path else []
    return reduce(lambda owner, step: owner[int(step)] if step.isdecimal() else getattr(owner, step), steps, model)


def layout_of(weights: Mapping[str, Any]) -> Layout:
    """Dtype and shape of weights in memory or in a checkpoint.

    Raises:
        InputTypeError: not a mapping from names to arrays of NumPy or JAX.
    """
    if isinstance(weights, LazyWeights):
        return weights.layout()
    if not isinstance(weights, Mapping):
        raise InputTypeError(
            f"weights: expected a mapping from names to NumPy arrays, got {type(weights).__name__}. "
            "Pass a dict, such as dict(model.named_weights())."
        )
    try:
        return {name: (np.dtype(value.dtype), tuple(value.shape)) for name, value in weights.items()}
    except (AttributeError, TypeError):
        odd = next(name for name, value in weights.items() if not isinstance(getattr(value, "dtype", None), np.dtype))
        raise InputTypeError(
            f"weights: expected NumPy arrays, got {type(weights[odd]).__name__} for {odd!r}. Convert it, for instance "
            "with tensor.detach().cpu().numpy()."
        ) from None
