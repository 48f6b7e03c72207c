"""The functional form: weights as a tree beside the model, as with the Linen classes of transformers 4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.traverse_util import unflatten_dict
from jax import Array

from clip_core.config import CLIPConfig
from clip_core.errors import InputError, InputTypeError, WeightMismatchError
from clip_core.pretrained import PretrainedModel
from clip_core.schemes import FLAX
from clip_core.weights import AXES, COUNTER_DTYPE, WeightSpec, match_weights, mismatch_message, permutation


def _tree_spec(spec: WeightSpec) -> WeightSpec:
    """A weight as the tree of parameters has it: named and shaped like the Linen models of transformers 4."""
    if spec.kind not in FLAX.leaves or spec.kind == "counter":
        return spec
    _, leaf, axes = FLAX.place(spec)
    owner = spec.name.rpartition(".")[0]
    shape = tuple(spec.shape[axis] for axis in permutation(AXES[spec.kind], axes))
    return WeightSpec(f"{owner}.{leaf}", "vector", shape)  # of this kind the path is the whole name


def first_parameter(model: nnx.Module) -> Any:
    """The array in one of the parameters, or its shape and dtype where there is none."""
    return next((node.get_raw_value() for _, node in nnx.iter_graph(model) if isinstance(node, nnx.Param)), None)


def _leaves(params: Any) -> dict[str, Any]:
    """The arrays of a tree by their dotted paths.

    Raises:
        InputTypeError: not a tree of dicts with arrays as leaves.
    """
    if not isinstance(params, Mapping):
        hint = " Pass the result of nnx.state." if isinstance(params, nnx.Module) else ""
        raise InputTypeError(f"params: expected a tree of dicts like model.params, got {type(params).__name__}.{hint}")
    if set(params) == {"params"}:
        raise InputTypeError("params: expected a tree of dicts like model.params, got one under 'params'. Pass that.")
    found: dict[str, Any] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{path}": leaf for path, leaf in _leaves(value).items()} if value else {}
            continue
        value = value.get_raw_value() if isinstance(value, nnx.Variable) else value
        if isinstance(key, tuple):
            raise InputTypeError(
                f"params: expected a tree of dicts like model.params, got the path {key!r} as a key. Pass the tree "
                "before it was flattened, or flax.traverse_util.unflatten_dict of this."
            )
        if not hasattr(value, "shape") and not isinstance(value, float | int):
            raise InputTypeError(f"params: expected an array at {str(key)!r}, got {type(value).__name__}.")
        found[str(key)] = value
    return found


# Functions, and no methods: these `nnx.tabulate` compiles, and neither modules nor truth values come out of that.


def _batch_norms(model: Any) -> list[Any]:
    """The batch normalisations of a ResNet tower; of other models none, and nothing is looked through."""
    if not getattr(getattr(model.config, "vision_config", model.config), "is_resnet", False):
        return []
    return [module for _, module in nnx.iter_modules(model) if hasattr(module, "use_running_average")]


def _has_statistics(norm: Any) -> bool:
    """Whether a batch normalisation has its statistics, which a model has not that was made with ``_do_init=False``."""
    kept = (value for value in vars(norm).values() if isinstance(value, nnx.BatchStat))
    return not any(isinstance(value.get_raw_value(), jax.ShapeDtypeStruct) for value in kept)


def _has_parameters(model: Any) -> bool:
    return not isinstance(first_parameter(model), jax.ShapeDtypeStruct)


def params_of_call(model: Any, params: Any, train: bool) -> Any:
    """The tree of a call, as it is.

    Raises:
        InputError: there is one in a call that trains a ResNet tower, whose new running statistics would be lost.
    """
    if params is not None and any(train or not norm.use_running_average for norm in _batch_norms(model)):
        raise InputError(
            "params: expected none in a call that trains a ResNet tower, whose new running statistics would be "
            "lost. Use output, batch_stats = model.call_and_update(params, batch_stats, ...)."
        )
    return params


def _stored_dtype(name: str, leaf: Any) -> np.dtype[Any]:
    """The dtype of an array in checkpoints; counters may have 32 bits here."""
    dtype = jnp.result_type(leaf)
    is_counter = name.endswith(".num_batches_tracked") and jnp.issubdtype(dtype, jnp.integer)
    return np.dtype(COUNTER_DTYPE) if is_counter else dtype


def _cast(params: Any, dtype: Any, mask: Any) -> Any:
    """The tree in another dtype where ``mask`` is true, or everywhere without it."""
    mask = jax.tree.map(lambda _: True, params) if mask is None else mask
    return jax.tree.map(lambda leaf, chosen: leaf.astype(dtype) if chosen else leaf, params, mask)


class FunctionalForm(PretrainedModel):
    """What the models have for code that keeps their weights as a tree."""

    deterministic: bool
    computation_dtype: Any

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
        What a model holds besides, such as the matrices of `nnx.LoRA`, is not in the tree and stays in use. A tree
        that is set is checked as that of a call.

        Raises:
            InputError: the model was made without weights.
            WeightMismatchError: the model has lost some weights.
        """
        self.check_has_weights()
        return self._tree(statistics=False)

    @params.setter
    def params(self, tree: Mapping[str, Any]) -> None:
        self._set_weights(tree)

    @property
    def batch_stats(self) -> dict[str, Any]:
        """The running statistics of a ResNet tower as a tree, beside `params`, which has none; otherwise empty.

        No gradient and no optimiser changes them, so they have a tree of their own, as in Linen. A call in training
        changes those of the model; see `call_and_update` for code that keeps them outside.
        """
        return self._tree(statistics=True)

    @batch_stats.setter
    def batch_stats(self, tree: Mapping[str, Any]) -> None:
        self._set_weights(tree, statistics=True)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("params", "batch_stats"):  # modules of NNX look at what is set before they look for a property
            self._set_weights(value, statistics=name == "batch_stats")
        else:
            super().__setattr__(name, value)

    def _tree(self, *, statistics: bool) -> dict[str, Any]:
        places = {spec: place for spec, place in self.owners().items() if spec.is_parameter != statistics}
        leaves = {_tree_spec(spec).name: getattr(*place)[...] for spec, place in places.items()}
        return unflatten_dict(leaves, sep=".")

    def parts(self) -> tuple[str, ...]:
        """The names at the top of the tree."""
        return tuple(dict.fromkeys(spec.name.split(".")[0] for spec in self.weight_specs()))

    def check_has_weights(self) -> None:
        """Raises `InputError` if the model was made with ``_do_init=False``, which leaves its weights to the caller."""
        if _has_parameters(self) and not all(map(_has_statistics, _batch_norms(self))):
            raise InputError(
                f"{type(self).__name__}: expected running statistics, since the model was made with _do_init=False and "
                "holds none. Set model.batch_stats, or call model.call_and_update(params, batch_stats, ...)."
            )
        if not _has_parameters(self):
            raise InputError(
                f"{type(self).__name__}: expected params=, since the model was made with _do_init=False and holds no "
                "weights. Pass the tree that from_pretrained or init_weights returned, or set model.params."
            )

    def with_params(self, params: Mapping[str, Any] | None) -> Self:
        """A model with the weights of a tree like `params`; without one this model itself.

        The tree may also be the state of such a model, as `nnx.state` or `nnx.to_pure_dict` returns it; then running
        statistics are those of the tree, else those of this model.

        Raises:
            InputError: there is no tree, and the model was made without weights; or it trains a ResNet tower, whose new
                running statistics would be lost.
            InputTypeError: not a tree of dicts.
            WeightMismatchError: missing, unexpected or misshapen arrays, or the model has lost some weights.
        """
        if params is None:
            self.check_has_weights()
            return self
        params_of_call(self, params, train=False)
        model = nnx.clone(self)
        model._set_weights(params)
        model.check_has_weights()
        return model

    def call_and_update(
        self, params: Mapping[str, Any], batch_stats: Mapping[str, Any], *inputs: Any, **named_inputs: Any
    ) -> tuple[Any, dict[str, Any]]:
        """A call in training, with weights and running statistics as trees; also inside ``jax.jit`` and ``jax.grad``.

        This model stays as it is. Its gradient by ``params`` is taken with ``has_aux=True``::

            def loss(params, batch_stats, batch):
                output, batch_stats = model.call_and_update(params, batch_stats, **batch, return_loss=True)
                return output.loss, batch_stats

            (loss, batch_stats), gradients = jax.value_and_grad(loss, has_aux=True)(params, batch_stats, batch)

        Args:
            params, batch_stats: trees like those of this model; without ResNet tower the second is empty.
            inputs, named_inputs: of the call, but for ``params`` and ``train``.

        Returns:
            What the call returns, and the new running statistics.
        """
        model = nnx.clone(self)
        model._set_weights(params)
        model._set_weights(batch_stats, statistics=True)
        return model(*inputs, **named_inputs, train=True), model.batch_stats

    def _set_weights(self, params: Mapping[str, Any], *, statistics: bool = False) -> None:
        """Sets parameters, with running statistics where they are in the tree; or these alone."""
        leaves = _leaves(params)
        layout = {name: (_stored_dtype(name, leaf), np.shape(leaf)) for name, leaf in leaves.items()}
        specs = {spec: _tree_spec(spec) for spec in self.weight_specs()}
        if statistics or not any(tree.name in leaves for spec, tree in specs.items() if not spec.is_parameter):
            specs = {spec: tree for spec, tree in specs.items() if spec.is_parameter != statistics}
        names = match_weights(tuple(specs.values()), layout, "batch_stats" if statistics else "params")
        for spec, (owner, leaf) in self.owners().items():
            if spec in specs:
                value = jnp.asarray(leaves[names[specs[spec].name]]).reshape(specs[spec].shape)
                setattr(owner, leaf, getattr(owner, leaf).replace(value))

    def init_weights(
        self, rng: Array, input_shape: Any = None, params: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """New weights as a tree, drawn from the key; the model keeps its own.

        Args:
            rng: a key of `jax.random`.
            input_shape: as in transformers 4; weights do not depend on it.
            params: arrays that are taken over, where the tree has them.

        Raises:
            WeightMismatchError: ``params`` has others than the model, or misshapen ones.
        """
        dtypes = {"dtype": self.computation_dtype, "param_dtype": first_parameter(self).dtype}
        drawn = type(self)(self.config, rngs=nnx.Rngs(params=rng), **dtypes)
        if params is not None:
            drawn.params = unflatten_dict(_leaves(drawn.params) | _leaves(params), sep=".")
        return drawn.params

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
