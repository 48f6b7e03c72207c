"""An image classifier: a linear layer on the patches of the vision tower, for Keras."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
from keras import ops

from clip_core.config import CLIPConfig
from clip_core.errors import InputError
from clip_core.labels import IGNORED_LABEL, check_labels, problem_of
from clip_core.outputs import ImageClassifierOutput
from clip_tf.arguments import unpacked
from clip_tf.frameworks import framework
from clip_tf.layers import Tensor, default, dtype_name, host_values, linear, plain_errors, sizes, tensor_input, wide
from clip_tf.vision import vision_tower
from clip_tf.weights import TFCLIPPreTrainedModel


@keras.saving.register_keras_serializable(package="triclip")
class TFCLIPForImageClassification(TFCLIPPreTrainedModel):
    """The vision tower and a linear layer on the mean of its patch tokens, which no LayerNorm comes after.

    `from_pretrained` reads a checkpoint of such a classifier. One of a CLIP has none: say ``num_labels=`` or
    ``id2label=``, and the classifier is new, with a warning, to be trained.

    `fit` minimises `classification_loss` unless `compile` is given another loss, of the logits.
    """

    config_class = CLIPConfig
    architecture = "CLIPForImageClassification"
    has_classifier = True

    def make_layers(self, config: CLIPConfig) -> None:
        hidden, tower = config.vision_config.hidden_size, vision_tower(config.vision_config, name="vision_model")
        self.vision_model = tower
        unused = tower.attnpool if config.vision_config.is_resnet else tower.post_layernorm
        unused.trainable = False  # Keras would warn of it in each fit
        self.classifier = linear(hidden, config.num_labels, name="classifier") if config.num_labels else None

    @unpacked
    def call(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = False,
        return_dict: bool | None = None,
        training: bool = False,
    ) -> ImageClassifierOutput | tuple[Any, ...]:
        """Classifies images; other arguments as of `TFCLIPVisionModel.call`.

        Args:
            labels: for the loss, as of `classification_loss`.

        Returns:
            `ImageClassifierOutput`, or a tuple of its fields with ``return_dict=False``. Without labels in the
            configuration the logits are the mean of the patch tokens ``[image, hidden]``.

        Raises:
            InputError, InputTypeError: as the tower; or ``labels`` that are not those of the configuration.
        """
        output = self.vision_model(
            pixel_values=pixel_values,
            output_attentions=default(output_attentions, self.config.output_attentions),
            output_hidden_states=default(output_hidden_states, self.config.output_hidden_states),
            interpolate_pos_encoding=interpolate_pos_encoding,
            training=training,
        )
        pooled = ops.mean(self.patches(output.last_hidden_state), axis=1)  # [image, hidden]
        logits = pooled if self.classifier is None else self.classifier(pooled)  # [image, label]
        fields = {
            "loss": None if labels is None else classification_loss(logits, labels, self.config),
            "logits": logits,
            "hidden_states": output.hidden_states,
            "attentions": output.attentions,
        }
        classified = ImageClassifierOutput.of(fields)
        return classified if default(return_dict, self.config.return_dict) else classified.to_tuple()

    def patches(self, last_hidden_state: Tensor) -> Tensor:
        """The tokens of the patches, ``[image, patch, hidden]``; only a transformer has another, its first."""
        return last_hidden_state if self.config.vision_config.is_resnet else last_hidden_state[:, 1:]

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """As of every Keras model; losses and metrics that are given by no name are of the logits."""
        given = inspect.signature(keras.Model.compile).bind(self, *args, **kwargs).arguments
        for name in ("loss", "metrics", "weighted_metrics"):
            if given.get(name) is not None and not isinstance(given[name], dict):
                given[name] = {"logits": given[name]}
        if isinstance(given.get("loss"), dict) and "class_name" not in given["loss"]:
            check_losses(given["loss"])
        del given["self"]
        super().compile(**given)

    def check_data(self, arguments: dict[str, Any]) -> None:
        super().check_data(arguments)
        labels = arguments.get("y")
        if self.loss is None and (isinstance(labels, np.ndarray) or ops.is_tensor(labels)):
            dtype = str(labels.dtype) if isinstance(labels, np.ndarray) else dtype_name(labels)
            check_labels(sizes(labels), dtype, host_values(labels), None, self.config)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Tensor:
        """The loss that `fit` minimises: that of the labels, or those compiled; and what layers add.

        Raises:
            InputError: no labels; or weights of samples, which only a compiled loss has.
        """
        if self.loss is not None:
            return super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        with plain_errors():
            if sample_weight is not None:
                raise InputError(
                    "sample_weight: expected none, got one. The classifier's own loss weighs no samples; compile a "
                    "loss of the logits, such as keras.losses.SparseCategoricalCrossentropy(from_logits=True)."
                )
            if not isinstance(y_pred, ImageClassifierOutput):
                raise InputError(
                    f"{type(self).__name__}.call: expected the outputs of a classifier for its own loss, got "
                    f"{type(y_pred).__name__}. Compile the model with a loss for what it returns."
                )
            if y is None and y_pred.loss is None:
                raise InputError("y: expected labels, got none. Pass fit(images, labels).")
        loss = y_pred.loss if y is None else classification_loss(y_pred.logits, y, self.config)
        is_there = ops.shape(y_pred.logits)[0] > 0  # a replica can have none of a batch's images
        return (ops.where(is_there, loss, 0.0) + sum(self.losses)) / framework.replicas()


def check_losses(losses: dict[str, Any]) -> None:
    """Checks that losses of Keras take logits for logits; functions of one's own are taken.

    Raises:
        InputError: one takes them for probabilities: its number would mean nothing.
    """
    for name, loss in losses.items():
        found = keras.losses.get(loss) if isinstance(loss, str) else loss
        takes = found.get_config().get("from_logits") if isinstance(found, keras.losses.Loss) else None
        if takes is None and getattr(found, "__module__", "").startswith("keras."):
            takes = inspect.signature(found).parameters.get("from_logits") is None or False
        if takes is False:
            raise InputError(
                f"loss: expected one that takes logits for {name}, got {loss!r}, which takes probabilities. Pass "
                "keras.losses.SparseCategoricalCrossentropy(from_logits=True) or the like, or no loss: then it is that "
                "of the configuration's problem_type."
            )


def classification_loss(logits: Tensor, labels: Tensor, config: CLIPConfig) -> Tensor:
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
    is_array = isinstance(labels, np.ndarray)  # as `fit` on JAX gives them outside of compiled code
    dtype = str(labels.dtype) if is_array else dtype_name(tensor_input("labels", labels))
    with plain_errors():
        check_labels(sizes(labels), dtype, host_values(labels), sizes(logits)[0], config)
    labels = ops.convert_to_tensor(labels)
    problem, logits = problem_of(config, dtype), wide(logits)
    if problem == "single_label_classification":
        return cross_entropy(logits, ops.reshape(labels, (-1,)))
    targets = ops.cast(ops.reshape(labels, ops.shape(logits)), logits.dtype)
    if problem == "regression":
        return ops.mean(ops.square(logits - targets))
    return ops.mean(ops.softplus(logits) - logits * targets)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over the images that have a label, scalar; NaN if one has a label that there is not."""
    labels = ops.cast(labels, "int64" if dtype_name(labels) == "int64" else "int32")
    there, counted = (labels >= 0) & (labels < logits.shape[1]), labels != IGNORED_LABEL
    chosen = ops.where(there, labels, ops.zeros_like(labels))[:, None]  # [image, 1]
    own = ops.take_along_axis(ops.log_softmax(logits), chosen, axis=1)[:, 0]  # [image]
    own = ops.where(counted, ops.where(there, own, float("nan")), 0.0)
    return -ops.sum(own) / ops.cast(ops.sum(ops.cast(counted, "int32")), own.dtype)
