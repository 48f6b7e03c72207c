"""Weights of the Flax models: how they are set and read, also as a tree, and the base class of the models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from os import PathLike
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array
from jax.experimental.multihost_utils import process_allgather, sync_global_devices
from numpy.typing import NDArray

from clip_core.config import CLIPConfig
from clip_core.errors import InputError, InputTypeError, WeightMismatchError
from clip_core.initialization import draw_weight
from clip_core.pretrained import PretrainedModel, Weights
from clip_core.schemes import FLAX
from clip_core.weights import AXES, WeightSpec, match_weights, mismatch_message, permutation

STATE_OF_TRAINING = (nnx.RngState, nnx.Intermediate, nnx.Perturbation, nnx.metrics.MetricState)
"""Variables that are no part of the function."""


def to_array(parameter: nnx.Param) -> NDArray[Any]:
    """The values of a parameter as an array, from all processes if it is spread over some; bfloat16 keeps its bits."""
    value = parameter[...]
    return np.asarray(process_allgather(value, tiled=True) if is_spread(value) else value)


def is_spread(value: Any) -> bool:
    """Whether parts of an array lie in other processes."""
    return isinstance(value, jax.Array) and not value.is_fully_addressable and not value.is_fully_replicated


def _tree_spec(spec: WeightSpec) -> WeightSpec:
    """A weight as the tree of parameters has it: named and shaped like the Linen models of transformers 4."""
    if spec.kind not in FLAX.leaves:
        return spec
    _, leaf, axes = FLAX.place(spec)
    owner = spec.name.rpartition(".")[0]
    shape = tuple(spec.shape[axis] for axis in permutation(AXES[spec.kind], axes))
    return WeightSpec(f"{owner}.{leaf}", "vector", shape)  # of this kind the path is the whole name


def _cast(params: Any, dtype: Any, mask: Any) -> Any:
    """The tree in another dtype where ``mask`` is true, or everywhere without it."""
    mask = jax.tree.map(lambda _: True, params) if mask is None else mask
    return jax.tree.map(lambda leaf, chosen: leaf.astype(dtype) if chosen else leaf, params, mask)


def jax_dtype(dtype: Any) -> np.dtype[Any]:
    """The dtype of that name; float32 for ``None``.

    Raises:
        InputTypeError: not a dtype for weights.
    """
    names = ["float32", "bfloat16", "float16", *(["float64"] if jax.config.jax_enable_x64 else [])]
    try:
        found = jnp.dtype("float32" if dtype is None else dtype)
    except TypeError:
        found = None
    if found is None or found.name not in names:
        raise InputTypeError(f"dtype: expected {', '.join(names[:-1])} or {names[-1]}, got {dtype!r}.")
    return found


def jax_precision(precision: Any) -> jax.lax.Precision | None:
    """The precision of that name; ``None``, which leaves it to `jax.default_matmul_precision`, for ``None``.

    Raises:
        InputTypeError: no such precision.
    """
    try:
        return None if precision is None else jax.lax.Precision(precision)
    except ValueError:
        raise InputTypeError(
            f"precision: expected 'highest', 'high', 'default', a jax.lax.Precision or None, got {precision!r}."
        ) from None


class FlaxCLIPPreTrainedModel(PretrainedModel, nnx.Module):
    """Base of the five models; their parameters are a tree, too.

    Args:
        config: of the model; of the class ``config_class``.
        seed: of the initial weights; one seed gives the same model in every framework.
        dtype: of weights and computation, ``"float32"``, the default, ``"bfloat16"`` or ``"float16"``, with
            ``jax_enable_x64`` also ``"float64"``. (In the Linen models of transformers 4 it was that of computation
            only: for that, pass float32 ``params`` to the call.)
        precision: of products of float32 matrices on GPUs and TPUs, a `jax.lax.Precision` or its name. ``"highest"``
            is float32; ``"default"`` is faster and rounds factors to TensorFloat-32 or bfloat16; ``None`` leaves it to
            `jax.default_matmul_precision`.
        weights: by their names in checkpoints, instead of seeded ones; copied.

    Raises:
        InputTypeError: ``config`` is of another class, no such dtype or precision, or ``weights`` are no mapping to
            arrays.
        WeightMismatchError: ``weights`` are not those of the configuration.
    """

    scheme = FLAX
    to_array = staticmethod(to_array)

    def __init__(
        self,
        config: Any,
        *,
        seed: int = 0,
        dtype: Any = None,
        precision: Any = "highest",
        weights: Weights | None = None,
    ) -> None:
        self.config = self.checked_config(config)
        self.deterministic = True  # the name that nnx.Module.train and eval look for
        self.precision: jax.lax.Precision | None = None
        dtype = jax_dtype(dtype)
        self.make_layers(config, dtype)
        self.set_attributes(precision=jax_precision(precision))
        traced = isinstance(jnp.zeros(()), jax.core.Tracer)
        values = self.traced_values(seed) if traced and weights is None else self.initial_values(seed, weights)
        for owner, leaf, value in values:
            setattr(owner, leaf, nnx.Param(jnp.array(value, dtype)))

    def traced_values(self, seed: int) -> Iterator[tuple[Any, str, Array]]:
        """Like `initial_values`, for a model that is made under ``nnx.jit`` or ``nnx.eval_shape``.

        The program draws the weights when it runs, rather than holding them; an abstract evaluation draws none.
        """
        for spec in self.weight_specs():
            owner, leaf, axes = self.place(spec)
            draw = partial(draw_weight, spec, self.config, seed)
            drawn = jax.pure_callback(draw, jax.ShapeDtypeStruct(spec.shape, jnp.float32))
            yield owner, leaf, drawn.transpose(permutation(AXES[spec.kind], axes))

    @classmethod
    def built(cls, config: Any, dtype: Any, weights: Weights, *, precision: Any = "highest") -> Any:
        """As `PretrainedModel.built`, with the ``precision`` of the constructor."""
        return cls(config, dtype=dtype, weights=weights, precision=precision)

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        params: Mapping[str, Any] | None = None,
        **keywords: Any,
    ) -> None:
        """As `PretrainedModel.save_pretrained`.

        Where weights are spread over processes, all of them call this and the first one writes.

        Args:
            params: written instead of the model's own weights.
        """
        model = self.with_params(params)
        spread = any(is_spread(leaf) for leaf in jax.tree.leaves(nnx.state(model)))
        if not spread or jax.process_index() == 0:
            super(FlaxCLIPPreTrainedModel, model).save_pretrained(save_directory, **keywords)
        else:
            model.check_saveable()
            for _ in model.named_weights().values():  # each is gathered by all processes, in this order
                pass
        if spread:
            sync_global_devices("save_pretrained")

    def held_parameters(self) -> dict[str, Any]:
        """All variables and arrays, but for random states, metrics, and what is recorded of a call."""
        return {
            ".".join(map(str, path)): node
            for path, node in nnx.iter_graph(self)
            if isinstance(node, nnx.Variable | jax.Array) and not isinstance(node, STATE_OF_TRAINING)
        }

    def place(self, spec: WeightSpec) -> tuple[Any, str, str]:
        """As `PretrainedModel.place`; wrappers such as `nnx.LoRA` are looked through."""
        owner, leaf, axes = super().place(spec)
        while not hasattr(owner, leaf) and hasattr(owner, "base_module"):
            owner = owner.base_module
        return owner, leaf, axes

    def owners(self) -> dict[WeightSpec, tuple[Any, str]]:
        """Of each weight the module that owns it and the parameter's name there.

        Raises:
            WeightMismatchError: the model has lost some, which are named.
        """
        found, problems = {}, []
        for spec in self.weight_specs():
            try:
                owner, leaf, _ = self.place(spec)
                self.parameter(owner, leaf)
            except (AttributeError, LookupError, TypeError) as error:
                problems.append(f"- {spec.name} {list(spec.shape)}: cannot be read: {error}")
            else:
                found[spec] = owner, leaf
        if problems:
            what = f"{type(self).__name__}.params: the model is not that of its configuration"
            raise WeightMismatchError(mismatch_message(problems, what, "Use nnx.split and nnx.merge instead."))
        return found

    @property
    def params(self) -> dict[str, Any]:
        """The weights as a tree: nested dicts with the keys and array layouts of the Linen models of transformers 4.

        ``model(..., params=tree)`` computes with such a tree, also inside ``jax.jit``, ``jax.grad`` and ``jax.vmap``.
        What a model holds besides, such as the matrices of `nnx.LoRA`, is not in the tree and stays in use.

        Raises:
            WeightMismatchError: the model has lost some weights.
        """
        leaves = {_tree_spec(spec).name: getattr(*place)[...] for spec, place in self.owners().items()}
        return unflatten_dict(leaves, sep=".")

    def with_params(self, params: Mapping[str, Any] | None) -> Self:
        """A model with the weights of a tree like `params`; without one this model itself.

        Raises:
            InputTypeError: not a tree of dicts.
            WeightMismatchError: missing, unexpected or misshapen arrays, or the model has lost some weights.
        """
        if params is None:
            return self
        if not isinstance(params, Mapping):
            raise InputTypeError(f"params: expected a tree of dicts like model.params, got {type(params).__name__}.")
        leaves = flatten_dict(dict(params), sep=".")
        layout = {name: (jnp.result_type(leaf), np.shape(leaf)) for name, leaf in leaves.items()}
        names = match_weights(tuple(_tree_spec(spec) for spec in self.weight_specs()), layout, "params")
        model = nnx.clone(self)
        for spec, (owner, leaf) in model.owners().items():
            tree_spec = _tree_spec(spec)
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

    @property
    def device(self) -> Any:
        """Where the weights lie: a device, or a sharding over several."""
        return jax.tree.leaves(self.params)[0].device

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the weights."""
        return jax.tree.leaves(self.params)[0].dtype
