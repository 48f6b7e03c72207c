"""An image classifier: a linear layer on the patches of the vision tower, for PyTorch."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from clip_core.config import CLIPConfig
from clip_core.labels import IGNORED_LABEL, check_labels, problem_of
from clip_core.outputs import ImageClassifierOutput
from clip_torch.layers import default, host_values, linear, tensor_input, wide
from clip_torch.vision import vision_tower
from clip_torch.weights import CLIPPreTrainedModel


class CLIPForImageClassification(CLIPPreTrainedModel):
    """The vision tower and a linear layer on the mean of its patch tokens, which no LayerNorm comes after.

    `from_pretrained` reads a checkpoint of such a classifier. One of a CLIP has none: say ``num_labels=`` or
    ``id2label=``, and the classifier is new, with a warning, to be trained.
    """

    config_class = CLIPConfig
    architecture = "CLIPForImageClassification"
    has_classifier = True

    def make_layers(self, config: CLIPConfig) -> None:
        self.vision_model = vision_tower(config.vision_config)
        self.classifier = linear(config.vision_config.hidden_size, config.num_labels) if config.num_labels else None

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = False,
        return_dict: bool | None = None,
    ) -> ImageClassifierOutput | tuple[Any, ...]:
        """Classifies images; other arguments as of `CLIPVisionModel.forward`.

        Args:
            labels: for the loss, as of `classification_loss`.

        Returns:
            `ImageClassifierOutput`, or a tuple of its fields with ``return_dict=False``. Without labels in the
            configuration the logits are the mean of the patch tokens ``[image, hidden]``.

        Raises:
            InputError, InputTypeError: as the tower; or ``labels`` that are not those of the configuration.
        """
        output = self.vision_model(
            pixel_values,
            default(output_attentions, self.config.output_attentions),
            default(output_hidden_states, self.config.output_hidden_states),
            interpolate_pos_encoding,
        )
        pooled = self.patches(output.last_hidden_state).mean(dim=1)  # [image, hidden]
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


def classification_loss(logits: Tensor, labels: Tensor, config: CLIPConfig) -> Tensor:
    """The mean loss of a batch, scalar, float32 or wider.

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
    check_labels(tuple(labels.shape), dtype, host_values(labels), logits.shape[0], config)
    problem, logits = problem_of(config, dtype), wide(logits)
    if problem == "single_label_classification":
        return F.cross_entropy(logits, labels.reshape(-1).long(), ignore_index=IGNORED_LABEL)
    targets = labels.reshape(logits.shape).to(logits.dtype)
    if problem == "regression":
        return F.mse_loss(logits, targets)
    return F.binary_cross_entropy_with_logits(logits, targets)
