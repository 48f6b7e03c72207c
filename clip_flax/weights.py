"""Weights of the Flax models: how they are set and read, also as a tree, and the base class of the models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from os import PathLike
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import Mesh, Sharding
from numpy.typing import NDArray

from clip_core.checkpoint.tensors import contiguous
from clip_core.errors import CheckpointError, InputTypeError
from clip_core.initialization import draw_weight
from clip_core.model_weights import Weights
from clip_core.schemes import FLAX
from clip_core.weights import AXES, WeightSpec, permutation
from clip_flax.adapters import merged
from clip_flax.functional import FunctionalForm
from clip_flax.sharding import Placement, Rules, logical_axes

STATE_OF_TRAINING = (nnx.RngState, nnx.Intermediate, nnx.Perturbation, nnx.metrics.MetricState)
"""Variables that are no part of the function."""


def to_tensor(value: NDArray[Any] | Array, dtype: np.dtype[Any]) -> Array:
    """An array of JAX in the memory of that of NumPy, if it lies so that JAX takes it over, or else of a copy."""
    if isinstance(value, Array):
        return value.astype(dtype)
    return jax.device_put(contiguous(value.astype(dtype, copy=False)))


def to_array(parameter: nnx.Param) -> NDArray[Any]:
    """The values of a parameter as an array, from all processes if it is spread over some; bfloat16 keeps its bits."""
    value = parameter[...]
    return np.asarray(process_allgather(value, tiled=True) if is_spread(value) else value)


def is_spread(value: Any) -> bool:
    """Whether parts of an array lie in other processes."""
    return isinstance(value, jax.Array) and not value.is_fully_addressable and not value.is_fully_replicated


def _draw(spec: WeightSpec, config: Any, seed: Any) -> NDArray[Any]:
    return draw_weight(spec, config, int(seed)).astype(held_dtype(spec, np.dtype(np.float32)))


def held_dtype(spec: WeightSpec, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of a weight in a model of a dtype; integers have 32 bits unless ``jax_enable_x64``."""
    return jax.dtypes.canonicalize_dtype(spec.dtype_in(dtype.name))


def jax_dtype(dtype: Any, name: str = "dtype") -> np.dtype[Any]:
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
        raise InputTypeError(f"{name}: expected {', '.join(names[:-1])} or {names[-1]}, got {dtype!r}.")
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


class FlaxCLIPPreTrainedModel(FunctionalForm, nnx.Module):
    """Base of the models; their parameters are a tree, too.

    Args:
        config: of the model; of the class ``config_class``.
        seed: of the initial weights; one seed gives the same model in every framework.
        dtype: of weights and computation, ``"float32"``, the default, ``"bfloat16"`` or ``"float16"``, with
            ``jax_enable_x64`` also ``"float64"``. (In the Linen models of transformers 4 it was that of computation
            only: for that, pass float32 ``params`` to the call.)
        precision: of products of float32 matrices on GPUs and TPUs, a `jax.lax.Precision` or its name. ``"highest"``
            is float32; ``"default"`` is faster and rounds factors to TensorFloat-32 or bfloat16; ``None`` leaves it to
            `jax.default_matmul_precision`.
        param_dtype: of the weights, where it is to be another than that of the computation.
        rngs: the next key of its stream ``params`` says the seed, for code that makes modules of NNX so.
        mesh, sharding: where the weights are put; see `clip_flax.sharding.Placement`.
        input_shape: as in transformers 4; weights do not depend on it.
        _do_init: false makes a model without weights, for calls with ``params=``.
        weights: by their names in checkpoints, instead of seeded ones; copied.

    Raises:
        InputTypeError: ``config`` is of another class, no such dtype, precision or mesh, or ``weights`` are no mapping
            to arrays.
        InputError: weights cannot be spread so over the mesh.
        WeightMismatchError: ``weights`` are not those of the configuration.
    """

    scheme = FLAX

    def __init__(
        self,
        config: Any,
        *,
        seed: int = 0,
        dtype: Any = None,
        precision: Any = "highest",
        param_dtype: Any = None,
        rngs: nnx.Rngs | None = None,
        mesh: Mesh | None = None,
        sharding: Rules | Sharding | None = None,
        input_shape: Any = None,
        _do_init: bool = True,
        weights: Weights | None = None,
    ) -> None:
        self.config = self.checked_config(config)
        self.deterministic = True  # the name that nnx.Module.train and eval look for
        self.precision: jax.lax.Precision | None = None
        self.computation_dtype = dtype = jax_dtype(dtype)
        kept = dtype if param_dtype is None else jax_dtype(param_dtype, "param_dtype")
        placed = None if mesh is None and sharding is None else Placement(mesh, sharding)
        self.make_layers(self.config, dtype)
        self.set_attributes(precision=jax_precision(precision), param_dtype=kept, raise_if_not_found=False)
        drawn = seed if rngs is None else jax.random.bits(rngs.params())
        if not _do_init:
            values = self.no_values(kept)
        elif weights is None and isinstance(jnp.zeros(()), jax.core.Tracer):
            values = self.traced_values(drawn)
        else:
            values = self.initial_values(int(drawn), weights)
        for spec, (owner, leaf, value) in zip(self.weight_specs(), values, strict=True):
            axes, held = logical_axes(spec, self.place(spec)[2]), held_dtype(spec, kept)
            if _do_init:
                value = placed.put(spec.name, value.astype(held), axes) if placed else to_tensor(value, held)
            # where it lies is said by mesh and sharding, not by a mesh that happens to be in use
            kind = nnx.Param if spec.is_parameter else nnx.BatchStat
            setattr(owner, leaf, kind(value, out_sharding=axes, eager_sharding=False))

    def no_values(self, dtype: Any) -> Iterator[tuple[Any, str, jax.ShapeDtypeStruct]]:
        """Like `initial_values`, for a model without weights."""
        for spec in self.weight_specs():
            owner, leaf, axes = self.place(spec)
            shape = tuple(spec.shape[axis] for axis in permutation(AXES[spec.kind], axes))
            yield owner, leaf, jax.ShapeDtypeStruct(shape, held_dtype(spec, dtype))

    def traced_values(self, seed: Any) -> Iterator[tuple[Any, str, Array]]:
        """Like `initial_values`, for a model that is made under ``nnx.jit`` or ``nnx.eval_shape``.

        The program draws the weights when it runs, rather than holding them; an abstract evaluation draws none.
        """
        for spec in self.weight_specs():
            owner, leaf, axes = self.place(spec)
            draw = partial(_draw, spec, self.config)
            shape = jax.ShapeDtypeStruct(spec.shape, held_dtype(spec, np.dtype(np.float32)))
            drawn = jax.pure_callback(draw, shape, seed)
            yield owner, leaf, drawn.transpose(permutation(AXES[spec.kind], axes))

    @classmethod
    def built(
        cls,
        config: Any,
        dtype: Any,
        weights: Weights,
        *,
        precision: Any = "highest",
        param_dtype: Any = None,
        mesh: Mesh | None = None,
        sharding: Rules | Sharding | None = None,
        _do_init: bool = True,
    ) -> Any:
        """As `PretrainedModel.built`, with those arguments of the constructor; ``_do_init=False`` gives two things.

        Returns:
            The model, or, as in transformers 4, a model without weights and their tree. Running statistics are in the
            model.
        """
        options = {"dtype": dtype, "precision": precision, "param_dtype": param_dtype}
        model = cls(config, **options, mesh=mesh, sharding=sharding, weights=weights)
        if _do_init:
            return model
        without_weights = cls(config, **options, _do_init=False)
        without_weights.batch_stats = model.batch_stats
        return without_weights, model.params

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        params: Mapping[str, Any] | None = None,
        **keywords: Any,
    ) -> None:
        """As `PretrainedModel.save_pretrained`.

        Adapters, `nnx.LoRA` and `nnx.LoRALinear`, are merged into what is written; the model keeps them. Where weights
        are spread over processes, all of them call this and the first one writes.

        Args:
            params: written instead of the model's own weights.

        Raises:
            CheckpointError: in other processes than the first, if that could not write.
        """
        model = merged(self.with_params(params))
        spread = any(is_spread(leaf) for leaf in jax.tree.leaves(nnx.state(model)))
        save = super(FlaxCLIPPreTrainedModel, model).save_pretrained
        if not spread:
            save(save_directory, **keywords)
            return
        model.check_saveable()
        values = dict(model.named_weights().items())  # each is gathered by all processes, in this order
        failure: Exception | None = None
        if jax.process_index() == 0:
            try:
                save(save_directory, **{"state_dict": values, **keywords})
            except Exception as error:  # told to the others, rather than let them wait
                failure = error
        failed = bool(process_allgather(np.array(failure is not None)).any())
        if failure is not None:
            raise failure
        if failed:
            raise CheckpointError(f"{type(self).__name__}.save_pretrained: the first process could not write.")

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None, *, policy: Any = None
    ) -> None:
        """As `PretrainedModel.gradient_checkpointing_enable`.

        Args:
            policy: which activations are kept all the same, one of `jax.checkpoint_policies`; none unless given.

        Raises:
            InputTypeError: ``policy`` is none.
        """
        if policy is not None and not callable(policy):
            raise InputTypeError(f"policy: expected one of jax.checkpoint_policies, got {policy!r}.")
        super().gradient_checkpointing_enable(gradient_checkpointing_kwargs)
        self.set_attributes(checkpoint_policy=policy)

    def to_array(self, parameter: nnx.Param) -> NDArray[Any]:
        """As `to_array`. No static method: of those `nnx.tabulate` leaves the function in the class."""
        return to_array(parameter)

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

    def set_view(self, deterministic: bool | None = None) -> None:
        """What ``nnx.view(model, deterministic=...)`` calls on its copy."""
        if deterministic is not None:
            self.deterministic = deterministic

    def is_counted(self, parameter: Any) -> bool:
        return isinstance(parameter, nnx.Param)

    def is_trainable(self, parameter: Any) -> bool:
        return isinstance(parameter, nnx.Param)

    def set_table(self, layer: Any, table: NDArray[Any]) -> None:
        layer.embedding = layer.embedding.replace(jnp.asarray(table, layer.embedding.dtype))
        layer.num_embeddings = len(table)

    @property
    def device(self) -> Any:
        """Where the weights lie: a device, or a sharding over several."""
        return jax.tree.leaves(self.params)[0].device

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the weights."""
        return jax.tree.leaves(self.params)[0].dtype
