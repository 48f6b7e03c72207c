"""The CLIP model: both towers, their projections, logits and loss, for PyTorch.

Source of the architecture: Radford et al. 2021, section 2.4; of names and semantics: transformers 4.57.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree

from clip_core.checks import check_pair_counts
from clip_core.config import CLIPConfig
from clip_core.outputs import CLIPOutput, all_output_types
from clip_torch.layers import default, linear
from clip_torch.text import TextTransformer
from clip_torch.vision import VisionTransformer
from clip_torch.weights import CLIPPreTrainedModel

for _output in all_output_types():  # so that torch.export.save can write programs that return them
    _pytree._register_namedtuple(_output, serialized_type_name=f"clip_core.outputs.{_output.__name__}")


class CLIPModel(CLIPPreTrainedModel):
    """Both towers, their projections and the logit scale."""

    config_class = CLIPConfig
    architecture = "CLIPModel"
    has_projection = True

    def make_layers(self, config: CLIPConfig) -> None:
        self.text_model = TextTransformer(config.text_config)
        self.vision_model = VisionTransformer(config.vision_config)
        self.visual_projection = linear(config.vision_config.hidden_size, config.projection_dim, bias=False)
        self.text_projection = linear(config.text_config.hidden_size, config.projection_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.empty(()))

    def get_text_features(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None
    ) -> Tensor:
        """Projected text embeddings ``[batch, embed]``, not normalised; arguments as of `CLIPTextModel.forward`."""
        output = self.text_model(input_ids, attention_mask, position_ids, False, False)
        return self.text_projection(output.pooler_output)  # [batch, embed]

    def get_image_features(self, pixel_values: Tensor, interpolate_pos_encoding: bool = False) -> Tensor:
        """Projected image embeddings ``[batch, embed]``, not normalised; arguments as of `CLIPVisionModel.forward`."""
        output = self.vision_model(pixel_values, False, False, interpolate_pos_encoding)
        return self.visual_projection(output.pooler_output)  # [batch, embed]

    def forward(
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        return_loss: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = False,
        return_dict: bool | None = None,
    ) -> CLIPOutput | tuple[Any, ...]:
        """Compares every image with every text; arguments as of the towers.

        Args:
            return_loss: also the symmetric contrastive loss; the i-th image belongs to the i-th text.

        Returns:
            `CLIPOutput`, or a tuple of its fields with ``return_dict=False``. Logits and loss are float32 whatever
            the dtype of the weights.

        Raises:
            InputError, InputTypeError: as the towers; or ``return_loss`` with unequal numbers of images and texts.
        """
        output_attentions = default(output_attentions, self.config.output_attentions)
        output_hidden_states = default(output_hidden_states, self.config.output_hidden_states)
        text_output = self.text_model(input_ids, attention_mask, position_ids, output_attentions, output_hidden_states)
        vision_output = self.vision_model(
            pixel_values, output_attentions, output_hidden_states, interpolate_pos_encoding
        )
        text_embeds = unit_length(self.text_projection(text_output.pooler_output))  # [text, embed]
        image_embeds = unit_length(self.visual_projection(vision_output.pooler_output))  # [image, embed]
        logits_per_text = self.logits(text_embeds, image_embeds)  # [text, image]
        output = CLIPOutput.of(
            {
                "loss": contrastive_loss(logits_per_text) if return_loss else None,
                "logits_per_image": logits_per_text.T,  # [image, text]
                "logits_per_text": logits_per_text,
                "text_embeds": text_embeds,
                "image_embeds": image_embeds,
                "text_model_output": text_output,
                "vision_model_output": vision_output,
            }
        )
        return output if default(return_dict, self.config.return_dict) else output.to_tuple()

    def logits(self, text_embeds: Tensor, image_embeds: Tensor) -> Tensor:
        """Cosine similarities of unit vectors times the scale, in float32: ``[text, image]``."""
        device = text_embeds.device.type
        exact = torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
        with exact:  # autocast would round logits to its dtype
            scale = self.logit_scale.float().exp()
            return text_embeds.float() @ image_embeds.float().T * scale  # [text, image]


def unit_length(embeds: Tensor) -> Tensor:
    """Embeddings ``[batch, embed]`` divided by their length."""
    return embeds / embeds.square().sum(dim=-1, keepdim=True).sqrt()


def contrastive_loss(logits_per_text: Tensor) -> Tensor:
    """The mean of both cross entropies, scalar: each text finds its image and each image its text (CLIP, figure 3)."""
    texts, images = logits_per_text.shape
    check_pair_counts(images, texts)
    pairs = torch.arange(texts, device=logits_per_text.device)
    text_loss = F.cross_entropy(logits_per_text, pairs)
    image_loss = F.cross_entropy(logits_per_text.T, pairs)
    return (text_loss + image_loss) / 2
