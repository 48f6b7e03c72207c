"""The CLIP model: both towers, their projections, logits and loss, for Keras.

Source of the architecture: Radford et al. 2021, section 2.4; of names and semantics: transformers 4.57.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
from keras import ops

from clip_core.checks import check_pair_counts
from clip_core.config import CLIPConfig
from clip_core.errors import InputError
from clip_core.outputs import CLIPOutput
from clip_tf.arguments import unpacked
from clip_tf.compilation import pooled_image, pooled_text
from clip_tf.frameworks import framework
from clip_tf.layers import Tensor, default, linear, plain_errors, sizes, wide
from clip_tf.objectives import LOGITS
from clip_tf.text import TextTransformer, without_padding
from clip_tf.vision import is_untouched, vision_tower
from clip_tf.weights import TFCLIPPreTrainedModel

OTHER_LOSS = (
    "for another loss name an output, loss={'logits_per_image': ...}, override compute_loss in a subclass, or train "
    "keras.Model(inputs, model(inputs).logits_per_text)."
)


@keras.saving.register_keras_serializable(package="triclip")
class TFCLIPModel(TFCLIPPreTrainedModel):
    """Both towers, their projections and the logit scale."""

    config_class = CLIPConfig
    architecture = "CLIPModel"
    has_projection = True

    def make_layers(self, config: CLIPConfig) -> None:
        embed, vision = config.projection_dim, config.vision_config
        self.text_model = TextTransformer(config.text_config, name="text_model")
        self.vision_model = vision_tower(vision, name="vision_model")
        self.visual_projection = linear(vision.hidden_size, embed, bias=vision.is_resnet, name="visual_projection")
        self.text_projection = linear(config.text_config.hidden_size, embed, bias=False, name="text_projection")
        self.logit_scale = self.add_weight((), initializer="zeros", autocast=False, name="logit_scale")

    @unpacked
    def get_text_features(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        training: bool = False,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Tensor:
        """Projected text embeddings ``[batch, embed]``, not normalised; arguments as of `TFCLIPTextModel.call`.

        The last three change nothing, as in transformers' class, which takes them too.
        """
        inputs = without_padding(self.text_model, input_ids, attention_mask, position_ids, training)
        pooled = pooled_text(self.text_model, *inputs, training)  # [batch, hidden]
        return self.text_projection(pooled)  # [batch, embed]

    @unpacked
    def get_image_features(
        self,
        pixel_values: Tensor,
        interpolate_pos_encoding: bool = False,
        training: bool = False,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Tensor:
        """Projected image embeddings ``[batch, embed]``, not normalised; arguments as of `TFCLIPVisionModel.call`.

        The last three change nothing, as in transformers' class, which takes them too.
        """
        ours = is_untouched(self.vision_model, training)
        pooled = pooled_image(self.vision_model, pixel_values, interpolate_pos_encoding, training, ours)
        return self.visual_projection(pooled)  # [batch, embed]

    @unpacked
    def call(
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        return_loss: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        training: bool = False,
        interpolate_pos_encoding: bool = False,
    ) -> CLIPOutput | tuple[Any, ...]:
        """Compares every image with every text; arguments as of the towers.

        Args:
            return_loss: also the symmetric contrastive loss; the i-th image belongs to the i-th text. In
                ``strategy.run`` with several replicas it is this replica's share of the global batch's loss: the sum
                of all shares is the loss and the sum of their gradients its gradient, which Keras' optimizers apply.

        Returns:
            `CLIPOutput`, or a tuple of its fields with ``return_dict=False``. Logits and loss are float32, or float64
            with weights of float64.

        Raises:
            InputError, InputTypeError: as the towers; or ``return_loss`` with unequal numbers of images and texts.
        """
        text_output = self.text_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            output_attentions=default(output_attentions, self.config.output_attentions),
            output_hidden_states=default(output_hidden_states, self.config.output_hidden_states),
            training=training,
        )
        vision_output = self.vision_model(
            pixel_values=pixel_values,
            output_attentions=default(output_attentions, self.config.output_attentions),
            output_hidden_states=default(output_hidden_states, self.config.output_hidden_states),
            interpolate_pos_encoding=interpolate_pos_encoding,
            training=training,
        )
        text_embeds = unit_length(self.text_projection(text_output.pooler_output))  # [text, embed]
        image_embeds = unit_length(self.visual_projection(vision_output.pooler_output))  # [image, embed]
        logits_per_text = self.logits(text_embeds, image_embeds)  # [text, image]
        output = CLIPOutput.of(
            {
                "loss": self.batch_loss(logits_per_text, text_embeds, image_embeds) if return_loss else None,
                "logits_per_image": ops.transpose(logits_per_text),  # [image, text]
                "logits_per_text": logits_per_text,
                "text_embeds": text_embeds,
                "image_embeds": image_embeds,
                "text_model_output": text_output,
                "vision_model_output": vision_output,
            }
        )
        return output if default(return_dict, self.config.return_dict) else output.to_tuple()

    def logits(self, text_embeds: Tensor, image_embeds: Tensor) -> Tensor:
        """Cosine similarities of unit vectors times the scale, in float32 or wider: ``[text, image]``."""
        cosines = framework.products(wide(text_embeds), wide(image_embeds))  # [text, image]
        return cosines * ops.exp(wide(ops.convert_to_tensor(self.logit_scale)))

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> CLIPOutput | tuple[Any, ...]:
        """As of every Keras model; the logits compare all images with all texts that are given, across batches."""
        output = super().predict(x, batch_size, verbose, steps, callbacks)
        if not isinstance(output, CLIPOutput) and self.config.return_dict:
            return output  # of a subclass
        logits_per_image, _, text_embeds, image_embeds, *towers = output
        if tuple(logits_per_image.shape) == (len(image_embeds), len(text_embeds)):
            return output
        logits_per_text = ops.convert_to_numpy(self.logits(text_embeds, image_embeds))  # [text, image]
        fields = (logits_per_text.T, logits_per_text, text_embeds, image_embeds, *towers)
        return output._make(fields) if isinstance(output, CLIPOutput) else fields

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """As of every Keras model, which trains with the contrastive loss unless others are given.

        Args:
            loss: losses by output, in the place of the contrastive one. The targets of logits are the pairs, unless
                `fit` is given others: ``{"logits_per_image": SparseCategoricalCrossentropy(from_logits=True)}``.
            metrics, weighted_metrics: by output, too: ``{"logits_per_image": InBatchRecall(1)}``.

        Raises:
            InputError: a ``loss``, ``metrics`` or ``weighted_metrics`` that name no output, or ``loss_weights`` alone.
        """
        is_clip = type(self).call is TFCLIPModel.call  # a subclass may return something else
        by_name = {"loss": loss, "metrics": metrics, "weighted_metrics": weighted_metrics}
        for name, value in {**by_name, "loss_weights": loss_weights if loss is None else None}.items():
            if is_clip and value is not None and not (name in by_name and isinstance(value, dict)):
                raise InputError(
                    f"{type(self).__name__}.compile: expected no {name}, or one by output, got {value!r}. The model "
                    f"trains with its own contrastive loss. Leave out {name}; {OTHER_LOSS}"
                )
        super().compile(
            optimizer=optimizer,
            loss=loss,
            loss_weights=loss_weights,
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
        )

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as `get_compile_config` says, but for a loss of no output, which had no effect before."""
        if not isinstance(config.get("loss"), dict) or "class_name" in config["loss"]:
            config = {**config, "loss": None, "loss_weights": None}
        super().compile_from_config(config)

    def check_data(self, arguments: dict[str, Any]) -> None:
        super().check_data(arguments)
        if arguments.get("y") is None:  # Keras drops weights that come without targets
            refuse_targets({name: arguments.get(name) for name in ("sample_weight", "class_weight")})

    def batch_loss(self, logits_per_text: Tensor, text_embeds: Tensor, image_embeds: Tensor) -> Tensor:
        """The contrastive loss of the batch, scalar; on each replica of a strategy its share of the global batch's.

        Every replica compares the texts and images of all replicas. As with the losses of Keras, the share is the loss
        divided by the number of replicas, for a strategy adds up losses and gradients.
        """
        replicas = framework.replicas()
        if replicas == 1:
            return contrastive_loss(logits_per_text)
        with plain_errors():
            check_pair_counts(image_embeds.shape[0], text_embeds.shape[0])
        text_embeds, image_embeds = framework.gathered([text_embeds, image_embeds])
        return contrastive_loss(self.logits(text_embeds, image_embeds)) / replicas

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Tensor:
        """The loss that `fit` minimises: the contrastive one of the global batch, or those compiled; what layers add.

        Raises:
            InputError: targets or sample weights, for which the contrastive loss has no place; or compiled losses of
                logits on several replicas, where each would compare its own part of the pairs only.
        """
        if self.loss is not None:
            if framework.replicas() > 1 and isinstance(self.loss, dict) and set(self.loss) & set(LOGITS):
                raise InputError(
                    f"loss: expected none of logits on {framework.replicas()} replicas, got {', '.join(self.loss)}. A "
                    "replica has the logits of its own pairs only; leave out loss, and all pairs are compared."
                )
            return super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        refuse_targets({"y": y, "sample_weight": sample_weight})
        if not isinstance(y_pred, tuple):
            raise InputError(
                f"{type(self).__name__}.call: expected the outputs of CLIP for its contrastive loss, got "
                f"{type(y_pred).__name__}. Compile the model with a loss for what it returns."
            )
        _, logits_per_text, text_embeds, image_embeds, *_ = y_pred  # by position: it may be a plain tuple
        return self.batch_loss(logits_per_text, text_embeds, image_embeds) + sum(self.losses) / framework.replicas()


def refuse_targets(given: dict[str, Any]) -> None:
    """Raises `InputError` for an argument of `fit` that the contrastive loss has no place for."""
    for name, value in given.items():
        if value is not None:
            raise InputError(
                f"{name}: expected none, got one. The contrastive loss compares all pairs of a batch; it has no "
                f"targets and weighs no samples. Leave out {name}; {OTHER_LOSS}"
            )


def unit_length(embeds: Tensor) -> Tensor:
    """Embeddings ``[batch, embed]`` divided by their length."""
    return embeds / ops.sqrt(ops.sum(ops.square(embeds), axis=-1, keepdims=True))


def contrastive_loss(logits_per_text: Tensor) -> Tensor:
    """The mean of both cross entropies, scalar: each text finds its image and each image its text (CLIP, figure 3)."""
    texts, images = sizes(logits_per_text)
    with plain_errors():
        check_pair_counts(images, texts)
    pairs = ops.arange(ops.shape(logits_per_text)[0], dtype="int32")
    cross_entropy = partial(ops.sparse_categorical_crossentropy, pairs, from_logits=True)
    text_loss = ops.mean(cross_entropy(logits_per_text))
    image_loss = ops.mean(cross_entropy(ops.transpose(logits_per_text)))
    return (text_loss + image_loss) / 2
