"""What training can follow besides the contrastive loss: losses and metrics by output, recall, a bound of the scale."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from clip_core.errors import InputError
from clip_core.outputs import ModelOutput
from clip_tf.layers import plain_errors

LOGITS = ("logits_per_image", "logits_per_text")


def named_outputs(what: str, names: Any, output: Any, targets: Any) -> tuple[Any, Any]:
    """Targets and outputs for the losses or metrics of ``names``: those of their fields, if they are given by name.

    The i-th image belongs to the i-th text: that is the target of logits for which none is given.

    Args:
        what: is given by name, for messages.
        names: what `compile` was given; anything but a dict is Keras' own business.
        output: of the model.
        targets: of `fit`, by name or for the only name; or ``None``.

    Raises:
        InputError: a name that is no field with one tensor, or a field that has no target.
    """
    if not isinstance(names, dict) or isinstance(output, dict):
        return targets, output
    with plain_errors():
        if not isinstance(output, ModelOutput):
            raise InputError(f"{what}: expected outputs by name, got a tuple. Make the model with return_dict=True.")
        fields = {name: value for name, value in output.items() if not isinstance(value, tuple)}
        unknown = sorted(set(names) - set(fields))
        if unknown:
            raise InputError(f"{what}: expected names of outputs, {', '.join(fields)}; got {', '.join(unknown)}.")
        if not isinstance(targets, Mapping):
            targets = {} if targets is None else dict.fromkeys(names, targets) if len(names) == 1 else targets
        if not isinstance(targets, Mapping):
            raise InputError(f"{what}: expected targets by the names {', '.join(names)}, got {type(targets).__name__}.")
        odd = sorted(set(targets) - set(fields)) or sorted(set(names) - set(targets) - set(LOGITS))
        if odd:
            raise InputError(
                f"{what}: expected a target for each of {', '.join(names)}, but for {' and '.join(LOGITS)}, whose "
                f"targets are the pairs, got {', '.join(targets) or 'none'}; look at {odd[0]}."
            )
        if what == "loss":
            check_pair_losses({name: loss for name, loss in names.items() if name not in targets})
    pairs = {name: ops.arange(ops.shape(fields[name])[0]) for name in names if name not in targets}
    return {name: targets.get(name, pairs.get(name)) for name in names}, {name: fields[name] for name in names}


def check_weights(sample_weight: Any, targets: Any) -> None:
    """Checks that weights of samples are there for every target; Keras makes them for those that `fit` is given.

    Raises:
        InputError: a loss would go without them.
    """
    if isinstance(sample_weight, Mapping) and isinstance(targets, Mapping):
        without = sorted(set(targets) - set(sample_weight))
        if without:
            raise InputError(
                f"sample_weight: expected weights for every loss, got none for {', '.join(without)}, whose targets are "
                "the pairs. Give targets for these, too, or leave out sample_weight."
            )


def check_pair_losses(losses: dict[str, Any]) -> None:
    """Checks Keras' losses that compare logits with the numbers of their pairs; functions of one's own are taken.

    Raises:
        InputError: a loss for other targets, or one that takes logits for probabilities: its number would mean nothing.
    """
    for name, loss in losses.items():
        is_for_logits = (
            isinstance(loss, keras.losses.SparseCategoricalCrossentropy) and loss.get_config()["from_logits"]
        )
        if isinstance(loss, str) or (type(loss).__module__.startswith("keras.") and not is_for_logits):
            raise InputError(
                "loss: expected keras.losses.SparseCategoricalCrossentropy(from_logits=True) or a function of your own "
                f"for {name}, whose targets are the numbers of the pairs, got {loss!r}. Give targets for other losses."
            )


@keras.saving.register_keras_serializable(package="triclip")
class InBatchRecall(keras.metrics.Mean):
    """How many rows of logits ``[batch, batch]`` have the pair's own among their ``k`` largest, from 0 to 1.

    ``metrics={"logits_per_image": InBatchRecall(1), "logits_per_text": InBatchRecall(1)}`` in `compile` of a
    `TFCLIPModel`. The i-th image belongs to the i-th text; targets are not looked at. It is of each batch: larger
    batches are harder, and with several replicas it is of each replica's part. Ties and NaN are misses.

    Args:
        k: how many of the largest count.
    """

    def __init__(self, k: int = 1, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name=name or f"recall_at_{k}", dtype=dtype)
        if k < 1:
            raise InputError(f"k: expected 1 or more, got {k}.")
        self.k = k

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes a batch of logits ``[batch, batch]`` in."""
        y_pred = ops.convert_to_tensor(y_pred)
        own = ops.diagonal(y_pred)[:, None]  # [batch, 1]
        others = ops.shape(y_pred)[1] - 1 - ops.sum(ops.cast(y_pred < own, "int32"), axis=-1)  # as large or larger
        hits = (others < self.k) & (own == own)[:, 0]
        super().update_state(ops.cast(hits, self.dtype), sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {"k": self.k, "name": self.name, "dtype": self.dtype}


@keras.saving.register_keras_serializable(package="triclip")
class ScaleLimit(keras.constraints.Constraint):
    """Keeps ``exp(logit_scale)`` at ``maximum`` or below after each step, as CLIP was trained (section 2.5).

    ``model.logit_scale.constraint = ScaleLimit()`` before `fit`; ``.keras`` files keep it.
    """

    def __init__(self, maximum: float = 100.0) -> None:
        if not maximum > 0:
            raise InputError(f"maximum: expected a number above 0, got {maximum}.")
        self.maximum = maximum

    def __call__(self, w: Any) -> Any:
        return ops.minimum(w, ops.cast(math.log(self.maximum), w.dtype))

    def get_config(self) -> dict[str, Any]:
        return {"maximum": self.maximum}
