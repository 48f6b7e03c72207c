"""What the processor returns is a nest of tensors to Keras, as a dict is: for `fit`, data sets, functional models.

Keras walks through nests with optree, on PyTorch with torch's own pytree; JAX's compiled functions take what JAX knows.
All treat a subclass of dict as one value unless it is registered.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import keras
import optree

from clip_core.batch import BatchEncoding, BatchFeature


def register(batch_class: type[BatchFeature]) -> None:
    """Makes a class of batches a nest in Keras' functions; other users of optree see no change."""

    def flatten(batch: BatchFeature) -> tuple[list[Any], tuple[str, ...]]:
        names = tuple(sorted(batch))  # as of a dict
        return [batch[name] for name in names], names

    def unflatten(names: Iterable[str], values: Iterable[Any]) -> BatchFeature:
        return batch_class(zip(names, values, strict=True))

    def with_path(batch: BatchFeature) -> tuple[list[Any], tuple[str, ...], tuple[str, ...]]:
        values, names = flatten(batch)
        return values, names, names

    optree.register_pytree_node(batch_class, with_path, unflatten, namespace="keras")
    if keras.backend.backend() == "torch":
        from torch.utils import _pytree

        _pytree.register_pytree_node(batch_class, flatten, lambda values, names: unflatten(names, values))
    if keras.backend.backend() == "jax":
        import jax

        jax.tree_util.register_pytree_node(batch_class, flatten, unflatten)


for _class in (BatchFeature, BatchEncoding):
    with suppress(ValueError):  # registered already, where this module is imported anew
        register(_class)
