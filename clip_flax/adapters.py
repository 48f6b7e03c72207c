"""Adapters of Flax, `nnx.LoRA` and `nnx.LoRALinear`, merged into the weights that they adapt."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn.dtypes import promote_dtype

Model = TypeVar("Model", bound=nnx.Module)
_MATRICES = {"lora_a", "lora_b"}


def merged(model: Model) -> Model:
    """The model with its adapters in the weights, as a copy; the model itself where there are none to merge.

    Merged is what adds exactly the product of two matrices to a dense layer. Whatever else is there stays as it is: an
    adapter of another class or around another layer, or one that holds more.
    """
    if not any(map(_is_mergeable, _modules(model))):
        return model
    model = nnx.clone(model)
    for module in filter(_is_mergeable, _modules(model)):
        if isinstance(module, nnx.LoRA):
            _add(_base(module), module)
            del module.lora_a, module.lora_b  # what is left passes on to the dense layer
        else:
            _add(module, module.lora)
            del module.lora
    return model


def _modules(model: nnx.Module) -> list[Any]:
    return [node for _, node in nnx.iter_graph(model) if isinstance(node, nnx.LoRA | nnx.LoRALinear)]


def _is_mergeable(module: Any) -> bool:
    """Whether a module, exactly of Flax's class, holds a dense layer and two matrices of its shape, and no more."""
    if type(module) is nnx.LoRALinear:
        adapter, base, held = getattr(module, "lora", None), module, {"kernel", "bias", "lora"}
        if type(adapter) is not nnx.LoRA or adapter.base_module is not None:
            return False
    else:
        adapter, base, held = module, _base(module), {"base_module", *_MATRICES}
    return (
        type(adapter) is nnx.LoRA
        and type(base) in (nnx.Linear, nnx.LoRALinear)
        and set(nnx.state(module)) <= held
        and set(nnx.state(adapter)) - {"base_module"} == _MATRICES
        and adapter.promote_dtype is promote_dtype
        and (adapter.lora_a.shape[0], adapter.lora_b.shape[1]) == base.kernel.shape
    )


def _base(module: Any) -> Any:
    while type(module) is nnx.LoRA:
        module = module.base_module
    return module


def _add(layer: Any, adapter: Any) -> None:
    """Adds the product of the adapter's matrices to the layer's kernel, in float32 or wider."""
    kernel = layer.kernel[...]
    wide = jnp.promote_types(kernel.dtype, jnp.float32)
    a, b = (matrix[...].astype(wide) for matrix in (adapter.lora_a, adapter.lora_b))
    product = jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)  # [in, out]
    layer.kernel = layer.kernel.replace((kernel.astype(wide) + product).astype(kernel.dtype))
