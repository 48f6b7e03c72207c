"""The functional form: weights as a tree beside the model, as with the Linen classes of transformers 4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array

from clip_core.config import CLIPConfig
from clip_core.errors import InputError, InputTypeError, WeightMismatchError
from clip_core.pretrained import PretrainedModel
from clip_core.schemes import FLAX
from clip_core.weights import AXES, WeightSpec, match_weights, mismatch_message, permutation


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


class FunctionalForm(PretrainedModel):
    """What the models have for code that keeps their weights as a tree."""

    deterministic: bool

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
            value = jnp.asarray(leaves[names[tree_spec.name]]).reshape(tree_spec.shape)
            setattr(owner, leaf, getattr(owner, leaf).replace(value))
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
