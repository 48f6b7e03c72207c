"""An image classifier: a linear layer on the patches of the vision tower, for Flax."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from clip_core.config import CLIPConfig
from clip_core.labels import IGNORED_LABEL, check_labels, problem_of
from clip_core.outputs import ImageClassifierOutput
from clip_flax.explicit_mesh import across_devices
from clip_flax.functional import params_of_call
from clip_flax.layers import default, host_values, linear, sizes, tensor_input, wide
from clip_flax.vision import vision_tower
from clip_flax.weights import FlaxCLIPPreTrainedModel


class FlaxCLIPForImageClassification(FlaxCLIPPreTrainedModel):
    """The vision tower and a linear layer on the mean of its patch tokens, which no LayerNorm comes after.

    `from_pretrained` reads a checkpoint of such a classifier. One of a CLIP has none: say ``num_labels=`` or
    ``id2label=``, and the classifier is new, with a warning, to be trained.
    """

    config_class = CLIPConfig
    architecture = "CLIPForImageClassification"
    has_classifier = True

    def make_layers(self, config: CLIPConfig, dtype: Any) -> None:
        hidden = config.vision_config.hidden_size
        self.vision_model = vision_tower(config.vision_config, dtype)
        self.classifier = linear(hidden, config.num_labels, dtype) if config.num_labels else None

    @across_devices
    def __call__(
        self,
        pixel_values: Array,
        labels: Array | None = None,
        params: dict[str, Any] | None = None,
        dropout_rng: Array | None = None,
        train: bool = False,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = False,
        return_dict: bool | None = None,
    ) -> ImageClassifierOutput | tuple[Any, ...]:
        """Classifies images; other arguments as of `FlaxCLIPVisionModel.__call__`.

        Args:
            labels: for the loss, as of `classification_loss`.

        Returns:
            `ImageClassifierOutput`, or a tuple of its fields with ``return_dict=False``. Without labels in the
            configuration the logits are the mean of the patch tokens ``[image, hidden]``.

        Raises:
            InputError, InputTypeError: as the tower; or ``labels`` that are not those of the configuration.
            WeightMismatchError: ``params`` are not those of the configuration.
        """
        model = self.with_params(params_of_call(self, params, train))
        dropout_rng = self.dropout_key(train, dropout_rng)
        output = model.vision_model(
            pixel_values,
            default(output_attentions, self.config.output_attentions),
            default(output_hidden_states, self.config.output_hidden_states),
            interpolate_pos_encoding,
            dropout_rng,
            train,
        )
        pooled = self.patches(output.last_hidden_state).mean(axis=1)  # [image, hidden]
        logits = pooled if model.classifier is None else model.classifier(pooled)  # [image, label]
        fields = {
            "loss": None if labels is None else classification_loss(logits, labels, self.config),
            "logits": logits,
            "hidden_states": output.hidden_states,
            "attentions": output.attentions,
        }
        classified = ImageClassifierOutput.of(fields)
        return classified if default(return_dict, self.config.return_dict) else classified.to_tuple()

    def patches(self, last_hidden_state: Array) -> Array:
        """The tokens of the patches, ``[image, patch, hidden]``; only a transformer has another, its first."""
        return last_hidden_state if self.config.vision_config.is_resnet else last_hidden_state[:, 1:]


def classification_loss(logits: Array, labels: Array, config: CLIPConfig) -> Array:
    """The mean loss of a batch, scalar, float32 or wider.

    In compiled code, where values cannot be checked, a label that there is not gives NaN.

    Args:
        logits: ``[image, label]``.
        labels: as ``config.problem_type`` says, or, where it says nothing, as many labels and their dtype do.
            ``single_label_classification``: integers ``[image]``, the cross entropy; -100 leaves an image out.
            ``multi_label_classification``: numbers from 0 to 1 ``[image, label]``, the mean of binary cross entropies.
            ``regression``: numbers ``[image, label]``, or ``[image]`` for one label, the mean of squares.

    Raises:
        InputError, InputTypeError: other labels.
    """
    labels = tensor_input("labels", labels)
    dtype = str(labels.dtype)
    check_labels(sizes(labels), dtype, host_values(labels), sizes(logits)[0], config)
    problem, logits = problem_of(config, dtype), wide(logits)
    if problem == "single_label_classification":
        return cross_entropy(logits, jnp.asarray(labels).reshape(-1))
    targets = jnp.asarray(labels).reshape(logits.shape).astype(logits.dtype)
    if problem == "regression":
        return jnp.square(logits - targets).mean()
    return (jax.nn.softplus(logits) - logits * targets).mean()


def cross_entropy(logits: Array, labels: Array) -> Array:
    """The mean over the images that have a label, scalar; NaN if one has a label that there is not."""
    labels, count = labels.astype(jnp.promote_types(labels.dtype, jnp.int32)), logits.shape[1]
    there, counted = (labels >= 0) & (labels < count), labels != IGNORED_LABEL
    own = jax.nn.log_softmax(logits)[jnp.arange(logits.shape[0]), jnp.where(there, labels, 0)]  # [image]
    own = jnp.where(counted, jnp.where(there, own, jnp.nan), 0)
    return -own.sum() / counted.sum()
