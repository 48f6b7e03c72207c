"""The CLIP model: both towers, their projections, logits and loss, for PyTorch.

Source of the architecture: Radford et al. 2021, section 2.4; of names and semantics: transformers 4.57.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree

from clip_core.checks import check_pair_counts
from clip_core.config import CLIPConfig
from clip_core.outputs import CLIPOutput, all_output_types
from clip_torch.layers import default, linear, wide
from clip_torch.text import TextTransformer, without_padding
from clip_torch.vision import is_untouched, vision_tower
from clip_torch.weights import CLIPPreTrainedModel

for _output in all_output_types():  # so that torch.export.save can write programs that return them
    _pytree._register_namedtuple(_output, serialized_type_name=f"clip_core.outputs.{_output.__name__}")


class CLIPModel(CLIPPreTrainedModel):
    """Both towers, their projections and the logit scale.

    FSDP2 shards no scalar, and averages no gradients of what it ignores, which would leave each process with a scale of
    its own::

        fully_shard(model, ignored_params={model.logit_scale})
        model.logit_scale.register_hook(lambda gradient: dist.all_reduce(gradient) or gradient / dist.get_world_size())
    """

    config_class = CLIPConfig
    architecture = "CLIPModel"
    has_projection = True

    def make_layers(self, config: CLIPConfig) -> None:
        self.text_model = TextTransformer(config.text_config)
        vision = config.vision_config
        self.vision_model = vision_tower(vision)
        self.visual_projection = linear(vision.hidden_size, config.projection_dim, bias=vision.is_resnet)
        self.text_projection = linear(config.text_config.hidden_size, config.projection_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.empty(()))

    def get_text_features(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None
    ) -> Tensor:
        """Projected text embeddings ``[batch, embed]``, not normalised; arguments as of `CLIPTextModel.forward`."""
        inputs = without_padding(self.text_model, input_ids, attention_mask, position_ids)
        output = self.text_model(*inputs, False, False)
        return self.text_projection(output.pooler_output)  # [batch, embed]

    def get_image_features(self, pixel_values: Tensor, interpolate_pos_encoding: bool = False) -> Tensor:
        """Projected image embeddings ``[batch, embed]``, not normalised; arguments as of `CLIPVisionModel.forward`."""
        unread = (
            {"pooled_only": True} if is_untouched(self.vision_model) else {}
        )  # a tower of others knows no such word
        output = self.vision_model(pixel_values, False, False, interpolate_pos_encoding, **unread)
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
        group: dist.ProcessGroup | None = None,
    ) -> CLIPOutput | tuple[Any, ...]:
        """Compares every image with every text; arguments as of the towers.

        Args:
            return_loss: also the symmetric contrastive loss; the i-th image belongs to the i-th text.
            group: the processes over which the pairs are split. The loss is then that of all pairs; logits remain those
                of the process's own. See `contrastive_loss`. Without it the loss is that of the own pairs.

        Returns:
            `CLIPOutput`, or a tuple of its fields with ``return_dict=False``. Logits and loss are float32, or float64
            with weights of float64.

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
        logits_per_text = loss_logits = self.logits(text_embeds, image_embeds)  # [text, image]
        if return_loss and group is not None:
            loss_logits = self.logits(text_embeds, gathered(image_embeds, group))  # [text, image of all processes]
        output = CLIPOutput.of(
            {
                "loss": contrastive_loss(loss_logits, group) if return_loss else None,
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
        """Cosine similarities of unit vectors times the scale, in float32 or wider: ``[text, image]``."""
        device = text_embeds.device.type
        exact = nullcontext() if device == "meta" else torch.autocast(device, enabled=False)
        with exact:  # autocast would round logits to its dtype
            cosines = wide(text_embeds) @ wide(image_embeds).T  # [text, image]
            return cosines * wide(self.logit_scale).exp()


def unit_length(embeds: Tensor) -> Tensor:
    """Embeddings ``[batch, embed]`` divided by their length."""
    return embeds / embeds.square().sum(dim=-1, keepdim=True).sqrt()


def contrastive_loss(logits_per_text: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """The mean of both cross entropies, scalar: each text finds its image and each image its text (CLIP, figure 3).

    Over pairs that are split over processes, as many in each, it is exact, the same in every process, and needs only
    the image embeddings to be gathered::

        images = gathered(output.image_embeds, group)
        loss = contrastive_loss(model.logits(output.text_embeds, images), group)

    The mean over the processes of its gradients, which `DistributedDataParallel` takes, is that of one process with all
    pairs.

    Args:
        logits_per_text: ``[text, image]``; the i-th image belongs to the i-th text. With a group, those of this
            process's texts and of all processes' images, in the order of the processes.
        group: the processes over which the pairs are split.

    Raises:
        InputError: other numbers of images than of texts.
    """
    texts, images = logits_per_text.shape
    processes, rank = (1, 0) if group is None else (dist.get_world_size(group), dist.get_rank(group))
    check_pair_counts(images, texts * processes)
    pairs = torch.arange(texts, device=logits_per_text.device) + rank * texts
    text_loss = F.cross_entropy(logits_per_text, pairs)
    if group is None:
        return (text_loss + F.cross_entropy(logits_per_text.T, pairs)) / 2
    normaliser = gathered(logits_per_text.logsumexp(dim=0)[None], group).logsumexp(dim=0)  # [image of all processes]
    own = logits_per_text.gather(1, pairs[:, None])[:, 0]  # [text], each with its image
    image_loss = (normaliser[pairs] - own).mean()
    return gathered(((text_loss + image_loss) / 2)[None], group).mean()


def gathered(tensor: Tensor, group: dist.ProcessGroup) -> Tensor:
    """The tensors ``[batch, ...]`` of all processes, one after the other, as ``[batch of all, ...]``.

    Gradients reach every process's own tensor, summed over what the losses of all processes say.
    """
    result: Tensor = _Gathered.apply(tensor, group)  # type: ignore[no-untyped-call]  # torch's
    return result


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group, ctx.own = group, dist.get_rank(group)
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size(group))]
        dist.all_gather(parts, tensor.contiguous(), group=group)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        summed = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed, group=ctx.group)
        return summed.chunk(dist.get_world_size(ctx.group))[ctx.own], None
