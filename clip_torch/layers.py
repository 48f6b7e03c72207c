"""The transformer encoder that both towers share, for PyTorch.

Shapes: batch, token, hidden; head and head_dim inside attention; query and key are tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import _has_any_global_hook
from torch.utils.checkpoint import checkpoint

from clip_core.config import CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import InputError, InputTypeError
from clip_torch.mapped import MappedWeights

TowerConfig = CLIPTextConfig | CLIPVisionConfig


def quick_gelu(x: Tensor) -> Tensor:
    """The sigmoid approximation of GELU that OpenAI's weights were trained with."""
    if torch.is_grad_enabled() or torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]  # torch's
        return x * torch.sigmoid(1.702 * x)  # a trace is compared with one without gradients
    return (1.702 * x).sigmoid_().mul_(x)  # the same products in one piece of memory


def gelu(x: Tensor) -> Tensor:
    """The exact GELU."""
    return F.gelu(x, approximate="none")


def gelu_pytorch_tanh(x: Tensor) -> Tensor:
    """The tanh approximation of GELU."""
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "quick_gelu": quick_gelu,
    "gelu": gelu,
    "gelu_pytorch_tanh": gelu_pytorch_tanh,
}


def linear(in_size: int, out_size: int, bias: bool = True) -> nn.Linear:
    """A dense layer."""
    return nn.Linear(in_size, out_size, bias=bias)


def layer_norm(config: TowerConfig) -> nn.LayerNorm:
    """LayerNorm over hidden, with the configuration's epsilon."""
    return nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)


def host_values(tensor: Tensor | None) -> NDArray[np.generic] | None:
    """The values of a tensor that lies in host memory, outside of any graph; otherwise ``None``."""
    if tensor is None or torch.compiler.is_compiling():
        return None
    if torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]  # torch leaves it untyped
        return None
    if type(tensor) is not Tensor or tensor.device.type != "cpu":
        return None
    try:
        return tensor.detach().numpy()
    except (RuntimeError, TypeError):  # inside vmap or grad; bfloat16, which NumPy has not
        return None


def wide(x: Tensor) -> Tensor:
    """In float32, or wider if it is: the dtype of softmax, logits and loss."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def default(value: bool | None, configured: bool) -> bool:
    """An argument, or what the configuration says if it was not given."""
    return configured if value is None else value


def tensor_input(name: str, value: Any) -> Tensor:
    """An input that must be a tensor.

    Raises:
        InputTypeError: it is missing or of another type.
    """
    if not isinstance(value, Tensor):
        raise InputTypeError(
            f"{name}: expected a torch.Tensor, got {type(value).__name__}. "
            "Call the processor with return_tensors='pt' and pass what it returns."
        )
    return value


def optional_input(name: str, value: Any) -> Tensor | None:
    """An input that must be a tensor or ``None``."""
    return None if value is None else tensor_input(name, value)


def refuse_meta(name: str, value: Tensor | None, weight: Tensor) -> None:
    """Raises `InputError` for an input without values where the weight that it meets has some.

    torch computes with both, and the result has no values, without a word.
    """
    if value is not None and value.is_meta and not weight.is_meta:
        raise InputError(
            f"{name}: lies on the meta device, which holds no values, the model on {weight.device}. Make it there: "
            f"torch.tensor(..., device={str(weight.device)!r})."
        )


def is_ours(method: Any, function: Any) -> bool:
    """Whether a bound method is the function of our class, not one that a subclass or somebody else put there."""
    return getattr(method, "__func__", None) is function


def is_watched(layers: Iterable[nn.Module]) -> bool:
    """Whether hooks or methods of others see what goes through a module, or one is compiled by itself, for shapes."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    parts = list(layers)
    hooks = [hook for part in parts for kind in kinds for hook in getattr(part, kind).values()]
    of_others = any(not isinstance(getattr(hook, "__self__", None), MappedWeights) for hook in hooks)
    on_all = _has_any_global_hook()  # type: ignore[no-untyped-call]  # torch's own
    return on_all or of_others or any(part._compiled_call_impl or "forward" in vars(part) for part in parts)


def joined_masks(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """One mask ``[batch or 1, head or 1, query, key]`` of two, in the forms that `Attention` takes.

    Raises:
        InputError: one of them has another form.
    """
    masks = [mask for mask in (first, second) if mask is not None]
    for mask in masks:
        if mask.ndim != 4 or not (mask.dtype == torch.bool or mask.is_floating_point()):
            raise InputError(
                "attention_mask, causal_attention_mask: expected [batch, 1, query, key], booleans that are true where "
                "a query sees a key, or numbers that are added to the scores; got "
                f"{list(mask.shape)}, {mask.dtype}. The whole model takes the tokenizer's [batch, token]."
            )
    if not masks:
        return None
    if all(mask.dtype == torch.bool for mask in masks):
        return masks[0] if len(masks) == 1 else masks[0] & masks[1]
    if len(masks) == 1:
        return masks[0]
    added = [
        torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, torch.finfo(torch.float32).min)
        if mask.dtype == torch.bool
        else mask
        for mask in masks
    ]
    return added[0] + added[1]


class Attention(nn.Module):
    """Multi-head self-attention; one projection each for query, key, value and output."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.num_heads, self.head_dim = config.num_attention_heads, config.head_dim
        self.embed_dim, self.scale = config.hidden_size, config.head_dim**-0.5
        self.dropout_rate = config.attention_dropout
        self.fused_attention = True
        self.q_proj = linear(config.hidden_size, config.hidden_size)
        self.k_proj = linear(config.hidden_size, config.hidden_size)
        self.v_proj = linear(config.hidden_size, config.hidden_size)
        self.out_proj = linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        output_attentions: bool = False,
        is_causal: bool = False,
        queries: int | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Attends within ``hidden_states`` ``[batch, token, hidden]`` where ``attention_mask`` is true.

        A mask of numbers is added to the scores instead, as in transformers.
        Without ``output_attentions`` torch's fused attention is used, unless `fused_attention` is switched off; both
        ways differ by rounding only. ``is_causal`` says that the mask is the causal one and nothing else: a kernel that
        knows it neither reads the mask nor computes what it hides. With ``queries``, only so many of the first tokens
        ask, and are returned.
        """
        query = self.split_heads(self.q_proj(hidden_states[:, :queries]))
        key = self.split_heads(self.k_proj(hidden_states))
        value = self.split_heads(self.v_proj(hidden_states))
        if attention_mask is not None and attention_mask.dtype != torch.bool:
            attention_mask = attention_mask.to(query.dtype)
        dropout_rate = self.dropout_rate if self.training else 0.0
        weights = None
        if output_attentions or not self.fused_attention:
            weights = self.attention_weights(query, key, attention_mask)
            context = F.dropout(weights, dropout_rate) @ value  # [batch, head, query, head_dim]
        else:
            context = F.scaled_dot_product_attention(  # [batch, head, query, head_dim]
                query,
                key,
                value,
                attn_mask=None if is_causal else attention_mask,
                dropout_p=dropout_rate,
                is_causal=is_causal,
                scale=self.scale,
            )
        context = context.transpose(1, 2).flatten(2)  # [batch, token, hidden]
        return self.out_proj(context), weights if output_attentions else None

    def split_heads(self, x: Tensor) -> Tensor:
        """From ``[batch, token, hidden]`` to ``[batch, head, token, head_dim]``."""
        heads: Tensor = x.unflatten(2, (self.num_heads, self.head_dim))  # type: ignore[no-untyped-call]  # torch's own
        return heads.transpose(1, 2)  # [batch, head, token, head_dim]

    def attention_weights(self, query: Tensor, key: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Attention after softmax, before dropout; the softmax is in float32 or wider."""
        scores = wide((query * self.scale) @ key.transpose(2, 3))  # [batch, head, query, key]
        if attention_mask is not None and attention_mask.dtype != torch.bool:
            scores = scores + attention_mask
        elif attention_mask is not None:
            scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
        return torch.softmax(scores, dim=-1).to(query.dtype)


ATTENTION = Attention.forward


class MLP(nn.Module):
    """Two dense layers with the configuration's activation between them."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.activation_fn = ACTIVATIONS[config.hidden_act]
        self.fc1 = linear(config.hidden_size, config.intermediate_size)
        self.fc2 = linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """``[batch, token, hidden]`` to ``[batch, token, hidden]``."""
        return self.fc2(self.activation_fn(self.fc1(hidden_states)))


class EncoderLayer(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.layer_norm1 = layer_norm(config)
        self.self_attn = Attention(config)
        self.layer_norm2 = layer_norm(config)
        self.mlp = MLP(config)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        output_attentions: bool = False,
        is_causal: bool = False,
        queries: int | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """``[batch, token or queries, hidden]`` of ``[batch, token, hidden]``, and the attention if asked for."""
        normal = self.layer_norm1(hidden_states)
        ours = (is_causal, queries) if is_ours(self.self_attn.forward, ATTENTION) else ()  # others take three
        attended, weights = self.self_attn(normal, attention_mask, output_attentions, *ours)
        hidden_states = hidden_states[:, :queries] + attended
        hidden_states = hidden_states + self.mlp(self.layer_norm2(hidden_states))
        return hidden_states, weights


BLOCK = EncoderLayer.forward


def are_ours(blocks: Iterable[nn.Module]) -> bool:
    """Whether blocks and their attention compute what ours do: only then is it known what a token depends on."""
    methods = EncoderLayer.forward is BLOCK and Attention.forward is ATTENTION
    return methods and all(type(block) is EncoderLayer and type(block.self_attn) is Attention for block in blocks)


class EncoderOutput(NamedTuple):
    """What an `Encoder` returns; shapes as of `clip_core.outputs.BaseModelOutputWithPooling`."""

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...] | None
    attentions: tuple[Tensor, ...] | None


class Encoder(nn.Module):
    """The stack of blocks."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_hidden_layers))
        self.gradient_checkpointing = False

    def forward(
        self,
        inputs_embeds: Tensor,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        causal_attention_mask: Tensor | None = None,
        return_dict: bool | None = None,
        is_causal: bool = False,
        queries: int | None = None,
    ) -> EncoderOutput:
        """The last hidden state, all of them (one more than layers) and all attentions, or ``None`` for each.

        Args:
            inputs_embeds: ``[batch, token, hidden]``.
            attention_mask, causal_attention_mask: as of `joined_masks`; both hold. Unlike the text tower, this makes
                no causal mask by itself.
            output_attentions, output_hidden_states: as the configuration says unless given.
            return_dict: changes nothing: what is returned is a tuple with names.
            is_causal: the masks together are the causal one and nothing else.
            queries: how many of the first tokens the last block computes; all unless given.
        """
        output_attentions = default(output_attentions, self.config.output_attentions)
        output_hidden_states = default(output_hidden_states, self.config.output_hidden_states)
        hidden_states, mask = inputs_embeds, joined_masks(attention_mask, causal_attention_mask)
        all_hidden_states, all_attentions = [hidden_states], []
        for layer in self.layers:
            shorter = queries if layer is self.layers[-1] else None
            ours = (is_causal, shorter) if is_ours(layer.forward, BLOCK) else ()  # a block of others takes three
            if self.gradient_checkpointing and self.training:
                hidden_states, weights = checkpoint(
                    layer, hidden_states, mask, output_attentions, *ours, use_reentrant=False
                )
            else:
                hidden_states, weights = layer(hidden_states, mask, output_attentions, *ours)
            all_hidden_states.append(hidden_states)
            all_attentions.append(weights)
        return EncoderOutput(
            hidden_states,
            tuple(all_hidden_states) if output_hidden_states else None,
            tuple(all_attentions) if output_attentions else None,
        )
