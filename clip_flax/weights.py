"""Weights of the Flax models: between them and the shared table, from and to checkpoints, as a tree of parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array
from numpy.typing import NDArray

from clip_core.checkpoint.directory import DEFAULT_MAX_SHARD_SIZE, load_checkpoint, save_checkpoint
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import InputError, InputTypeError
from clip_core.initialization import draw_weights
from clip_core.weights import AXES, WeightSpec, match_weights, permutation, weight_specs
from clip_flax.layers import Encoder

LEAVES = {
    "linear": ("kernel", "in out"),
    "linear_bias": ("bias", "out"),
    "conv": ("kernel", "height width in out"),
    "embedding": ("embedding", "row hidden"),
    "norm_scale": ("scale", "hidden"),
    "norm_bias": ("bias", "hidden"),
}
"""Per kind: the parameter's name in its module and the order of its axes."""


def load_weights(
    model: nnx.Module, specs: Iterable[WeightSpec], weights: Iterable[tuple[str, NDArray[Any]]], dtype: np.dtype[Any]
) -> None:
    """Puts weights, given in the order of ``specs``, into the model's parameters; the arrays are copied."""
    for spec, (name, value) in zip(specs, weights, strict=True):
        assert spec.name == name
        owner, leaf, axes = _parameter_place(model, spec)
        value = np.transpose(value, permutation(AXES[spec.kind], axes))
        setattr(owner, leaf, nnx.Param(jnp.array(value, dtype)))


class ModelWeights(Mapping[str, NDArray[Any]]):
    """The weights of a model by their names in the shared scheme, converted when asked for."""

    def __init__(self, model: nnx.Module, specs: Iterable[WeightSpec]) -> None:
        self.model = model
        self.specs = {spec.name: spec for spec in specs}

    def __getitem__(self, name: str) -> NDArray[Any]:
        spec = self.specs[name]
        owner, leaf, axes = _parameter_place(self.model, spec)
        value = np.asarray(getattr(owner, leaf)[...])
        return np.transpose(value, permutation(axes, AXES[spec.kind]))

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)


def _parameter_place(model: nnx.Module, spec: WeightSpec) -> tuple[nnx.Module, str, str]:
    """The module that owns a weight, the parameter's name in it and the order of its axes."""
    if spec.kind in LEAVES:
        leaf, axes = LEAVES[spec.kind]
        return _submodule(model, spec.path), leaf, axes
    owner, _, leaf = spec.path.rpartition(".")
    return _submodule(model, owner), leaf, AXES[spec.kind]


def _submodule(model: nnx.Module, path: str) -> nnx.Module:
    """The module at a dotted path; the path of the model itself is empty."""
    for part in filter(None, path.split(".")):
        model = model[int(part)] if part.isdigit() else getattr(model, part)
    return model


def _tree_spec(spec: WeightSpec) -> WeightSpec:
    """A weight as the tree of parameters has it: named and shaped like the Linen models of transformers 4."""
    if spec.kind not in LEAVES:
        return spec
    leaf, axes = LEAVES[spec.kind]
    owner = spec.name.rpartition(".")[0]
    shape = tuple(spec.shape[axis] for axis in permutation(AXES[spec.kind], axes))
    return WeightSpec(f"{owner}.{leaf}", "vector", shape)  # of this kind the path is the whole name


def _cast(params: Any, dtype: Any, mask: Any) -> Any:
    """The tree in another dtype where ``mask`` is true, or everywhere without it."""
    mask = jax.tree.map(lambda _: True, params) if mask is None else mask
    return jax.tree.map(lambda leaf, chosen: leaf.astype(dtype) if chosen else leaf, params, mask)


def jax_dtype(dtype: Any) -> np.dtype[Any]:
    """The dtype of that name.

    Raises:
        InputTypeError: not a dtype for weights.
    """
    names = ["float32", "bfloat16", "float16", *(["float64"] if jax.config.jax_enable_x64 else [])]
    try:
        found = jnp.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found.name not in names:
        raise InputTypeError(f"dtype: expected {', '.join(names[:-1])} or {names[-1]}, got {dtype!r}.")
    return found


class FlaxCLIPPreTrainedModel(nnx.Module):
    """What the five models share: initial weights, loading, saving, parameters as a tree, gradient checkpointing.

    Args:
        config: of the model; of the class ``config_class``.
        seed: of the initial weights; one seed gives the same model in every framework.
        dtype: of weights and computation, ``"float32"``, ``"bfloat16"`` or ``"float16"``. (In the Linen models of
            transformers 4 it was that of the computation only: for that, pass float32 ``params`` to the call.)
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
        dtype: Any = "float32",
        weights: Iterable[tuple[str, NDArray[Any]]] | None = None,
    ) -> None:
        if not isinstance(config, self.config_class):
            expected, got = self.config_class.__name__, type(config).__name__
            raise InputTypeError(f"{type(self).__name__}: expected a {expected}, got {got}.")
        self.config = config
        self.deterministic = True  # the name that nnx.Module.train and eval look for
        if weights is None:
            weights = draw_weights(config, seed=seed, projection=self.has_projection)
        self.make_layers(config, jax_dtype(dtype))
        load_weights(self, self.weight_specs(), weights, jax_dtype(dtype))

    def make_layers(self, config: Any, dtype: np.dtype[Any]) -> None:
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
        dtype = loaded.dtype if str(dtype) == "auto" else dtype or "float32"
        return cls(loaded.config, dtype=dtype, weights=loaded.weights)

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        params: Mapping[str, Any] | None = None,
        *,
        max_shard_size: int | str = DEFAULT_MAX_SHARD_SIZE,
    ) -> None:
        """Writes ``config.json`` and the weights, in shards if they are larger than ``max_shard_size``.

        Args:
            params: written instead of the model's own weights.
        """
        weights = ModelWeights(self.with_params(params), self.weight_specs())
        save_checkpoint(
            save_directory, self.config, weights, architecture=self.architecture, max_shard_size=max_shard_size
        )

    @property
    def params(self) -> dict[str, Any]:
        """The weights as a tree: nested dicts with the keys and array layouts of the Linen models of transformers 4.

        ``model(..., params=tree)`` computes with such a tree, also inside ``jax.jit``, ``jax.grad`` and ``jax.vmap``.
        """
        leaves = {}
        for spec in self.weight_specs():
            owner, leaf, _ = _parameter_place(self, spec)
            leaves[_tree_spec(spec).name] = getattr(owner, leaf)[...]
        return unflatten_dict(leaves, sep=".")

    def with_params(self, params: Mapping[str, Any] | None) -> Self:
        """A model with the weights of a tree like `params`; without one this model itself.

        Raises:
            InputTypeError: not a tree of dicts.
            WeightMismatchError: missing, unexpected or misshapen arrays.
        """
        if params is None:
            return self
        if not isinstance(params, Mapping):
            raise InputTypeError(f"params: expected a tree of dicts like model.params, got {type(params).__name__}.")
        leaves = flatten_dict(dict(params), sep=".")
        specs = [(spec, _tree_spec(spec)) for spec in self.weight_specs()]
        shapes = {name: np.shape(leaf) for name, leaf in leaves.items()}
        names = match_weights(tuple(tree_spec for _, tree_spec in specs), shapes, "params")
        model = nnx.clone(self)
        for spec, tree_spec in specs:
            owner, leaf, _ = _parameter_place(model, spec)
            setattr(owner, leaf, nnx.Param(jnp.asarray(leaves[names[tree_spec.name]]).reshape(tree_spec.shape)))
        return model

    def to_bf16(self, params: Mapping[str, Any], mask: Any = None) -> Any:
        """The tree in bfloat16, but where ``mask``, a tree of booleans, is false; computation stays in `dtype`."""
        return _cast(params, jnp.bfloat16, mask)

    def to_fp16(self, params: Mapping[str, Any], mask: Any = None) -> Any:
        """Like `to_bf16`, in float16."""
        return _cast(params, jnp.float16, mask)

    def to_fp32(self, params: Mapping[str, Any], mask: Any = None) -> Any:
        """Like `to_bf16`, in float32."""
        return _cast(params, jnp.float32, mask)

    def dropout_key(self, train: bool, dropout_rng: Array | None) -> Array | None:
        """The key of a call's dropout; ``None`` if nothing is to be dropped.

        Raises:
            InputError: there is dropout to be done, but no key.
        """
        config = self.config
        towers = (config.text_config, config.vision_config) if isinstance(config, CLIPConfig) else (config,)
        if not (train or not self.deterministic) or not any(tower.attention_dropout for tower in towers):
            return None
        if dropout_rng is None:
            raise InputError(
                "dropout_rng: expected a key, since the model trains and attention_dropout is above 0, got None. "
                "Pass dropout_rng=jax.random.key(step)."
            )
        return dropout_rng

    def set_view(self, deterministic: bool | None = None) -> None:
        """What ``nnx.view(model, deterministic=...)`` calls on its copy."""
        if deterministic is not None:
            self.deterministic = deterministic

    def gradient_checkpointing_enable(self) -> None:
        """Recomputes each block in the backward pass instead of keeping its activations."""
        self._set_gradient_checkpointing(True)

    def gradient_checkpointing_disable(self) -> None:
        """Keeps the activations of each block."""
        self._set_gradient_checkpointing(False)

    def _set_gradient_checkpointing(self, value: bool) -> None:
        for _, module in nnx.iter_graph(self):
            if isinstance(module, Encoder):
                module.gradient_checkpointing = value

    @property
    def device(self) -> Any:
        """Where the weights lie: a device, or a sharding over several."""
        return jax.tree.leaves(self.params)[0].device

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the weights."""
        return jax.tree.leaves(self.params)[0].dtype
