"""Mistakes in the model of both towers, and in its files."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from clip_core import pretrained
from clip_core.checkpoint.directory import LoadedCheckpoint
from clip_core.checkpoint.lazy_weights import LazyWeights
from clip_core.checkpoint.tensors import constant
from conformance_tests.meta.seeder import Seeder


def scale(change: Callable[[Seeder, Any], Any]) -> Callable[[Seeder], None]:
    """Another scale of logits, made from its logarithm."""

    def seed(s: Seeder) -> None:
        def logits(original: Any, self: Any, *embeds: Any) -> Any:
            logarithm = s.value(self.logit_scale)
            return original(self, *embeds) * (change(s, logarithm) / s.numpy.exp(logarithm))

        s.wrap(s.model_class, "logits", logits)

    return seed


def clamped_scale(s: Seeder) -> None:
    """At the scale of 100 that trained models have the value is right, but not the gradient."""
    s.differentiate_anew()
    scale(lambda s, logarithm: s.numpy.clip(s.numpy.exp(logarithm), 0, 100))(s)


def detached_scale(s: Seeder) -> None:
    s.differentiate_anew()
    scale(lambda s, logarithm: s.numpy.exp(s.stopped(logarithm)))(s)


def rounded_logits(s: Seeder) -> None:
    """As multiplied in the dtype of the embeddings."""

    def logits(original: Any, self: Any, texts: Any, images: Any) -> Any:
        wide = original(self, texts, images)
        return s.cast(s.cast(wide, texts.dtype), wide.dtype)

    s.wrap(s.model_class, "logits", logits)


def one_sided_loss(s: Seeder) -> None:
    def loss(original: Any, logits: Any, *group: Any) -> Any:
        original(logits, *group)  # which checks the numbers
        shift = s.numpy.amax(logits)
        sums = s.numpy.log(s.numpy.sum(s.numpy.exp(logits - shift), -1)) + shift
        return s.numpy.mean(sums - s.numpy.diagonal(logits))

    s.wrap(s.model, "contrastive_loss", loss)


def flags_ignored(s: Seeder) -> None:
    """What the full model's configuration says of optional fields."""
    flags = {"output_attentions": False, "output_hidden_states": False}
    s.wrap_call(s.model_class, lambda original, self, *args, **options: original(self, *args, **{**flags, **options}))


def loaded_as_stored(s: Seeder) -> None:
    """In the dtype of the file, though none was asked for."""
    s.wrap(
        s.model_class,
        "from_pretrained",
        lambda original, directory, dtype: original(directory, dtype="auto" if dtype is None else dtype),
    )


def saved_as(dtype: str) -> Callable[[Seeder], None]:
    """Weights stored in another dtype than they have."""

    def seed(s: Seeder) -> None:
        def save(original: Any, directory: Any, config: Any, weights: Any, **options: Any) -> None:
            original(directory, config, {k: v.astype(dtype) for k, v in weights.items()}, **options)

        s.wrap(pretrained, "save_checkpoint", save)

    return seed


def rounded_when_loaded(s: Seeder) -> None:
    def load(original: Any, *args: Any, **options: Any) -> Any:
        loaded = original(*args, **options)
        rounded = {name: value.astype(np.float16).astype(value.dtype) for name, value in loaded.weights.items()}
        return LoadedCheckpoint(loaded.config, LazyWeights({name: constant(v) for name, v in rounded.items()}))

    s.wrap(pretrained, "load_checkpoint", load)


def features_of_unit_length(s: Seeder) -> None:
    unit_length = s.model.unit_length
    s.wrap(
        s.model_class, "get_text_features", lambda original, *args, **options: unit_length(original(*args, **options))
    )


def ungathered(s: Seeder) -> None:
    """Each replica compares only the pairs that it has, and the losses are averaged."""
    if s.backend == "tf":

        def loss(original: Any, self: Any, logits_per_text: Any, *embeds: Any) -> Any:
            return s.model.contrastive_loss(logits_per_text) / s.model.framework.replicas()

        s.wrap(s.model_class, "batch_loss", loss)
        return
    name = {"torch": "group", "flax": "axis_name"}[s.backend]
    alone = {"torch": None, "flax": ()}[s.backend]
    mean = {"torch": _mean_of_processes, "flax": _mean_of_axis}[s.backend]

    def call(original: Any, self: Any, *args: Any, **options: Any) -> Any:
        split = options.pop(name, None)
        if split is None:
            return original(self, *args, **options)
        output = original(self, *args, **options, **{name: alone})
        return output._replace(loss=mean(output.loss, split))

    s.wrap_call(s.model_class, call)


def _mean_of_processes(loss: Any, group: Any) -> Any:
    distributed = import_module("torch.distributed")
    distributed.all_reduce(loss, group=group)
    return loss / distributed.get_world_size(group)


def _mean_of_axis(loss: Any, axis_name: str) -> Any:
    return import_module("jax.lax").pmean(loss, axis_name)


def untracked_blocks(s: Seeder) -> None:
    """They are computed with, but the framework does not know of them."""
    encoder = s.layers.Encoder
    if s.backend == "tf":  # they stay in Keras' list, as they once were
        assign = encoder.__setattr__
        s.patch.setattr(
            encoder, "__setattr__", lambda self, name, value: name.startswith("layers_") or assign(self, name, value)
        )
        return

    def construct(original: Any, self: Any, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        blocks = list(self.layers)
        del self.layers
        self.layers = blocks

    s.wrap(encoder, "__init__", construct)


def adapter_dropped(s: Seeder) -> None:
    """Saved is what stood there before it."""
    s.wrap(pretrained.PretrainedModel, "check_saveable", lambda original, self: None)
    if s.backend == "tf":
        s.patch.setattr("clip_tf.adapters.merged", lambda layer: layer._kernel)
    if s.backend == "flax":
        s.patch.setattr(s.weights, "merged", lambda model: model)
