"""Linen modules over the NNX models, for code that nests, initialises and applies the modules of transformers 4.

Their tree of parameters is `FlaxCLIPModel.params`::

    FlaxCLIPModule(config).apply({"params": model.params}, input_ids, pixel_values)

Running statistics of a ResNet tower are the collection ``batch_stats``, `FlaxCLIPModel.batch_stats`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen, nnx

from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_flax.model import FlaxCLIPModel
from clip_flax.text import FlaxCLIPTextModel, FlaxCLIPTextModelWithProjection
from clip_flax.vision import FlaxCLIPVisionModel, FlaxCLIPVisionModelWithProjection


class _Module(linen.Module):
    """What the modules share."""

    model_class: ClassVar[Any]

    def run(self, deterministic: bool, **inputs: Any) -> Any:
        """What the model returns with this module's parameters."""
        model = self.model_class(self.config, dtype=self.dtype, _do_init=False)

        def drawn(key: Any, part: str) -> Any:
            return self.model_class(self.config, dtype=self.dtype, rngs=nnx.Rngs(params=key)).params[part]

        params = {part: self.param(part, drawn, part) for part in model.parts()}
        dropout_rng = None if deterministic else self.make_rng("dropout")
        if all(spec.is_parameter for spec in model.weight_specs()):
            return model(**inputs, params=params, train=not deterministic, dropout_rng=dropout_rng)

        def initial() -> Any:
            return self.model_class(self.config, dtype=self.dtype).batch_stats["vision_model"]

        kept = self.variable("batch_stats", "vision_model", initial)  # of a ResNet tower
        if deterministic:
            model.batch_stats = {"vision_model": kept.value}
            return model(**inputs, params=params)
        statistics = {"vision_model": kept.value}
        output, statistics = model.call_and_update(params, statistics, **inputs, dropout_rng=dropout_rng)
        kept.value = statistics["vision_model"]
        return output


class FlaxCLIPModule(_Module):
    """`FlaxCLIPModel` as a Linen module."""

    config: CLIPConfig
    dtype: Any = jnp.float32
    model_class = FlaxCLIPModel

    @linen.compact
    def __call__(
        self,
        input_ids: Any = None,
        pixel_values: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        deterministic: bool = True,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Arguments and result as of `FlaxCLIPModel.__call__`; nothing is dropped while ``deterministic``."""
        return self.run(
            deterministic,
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=return_dict,
        )


class FlaxCLIPTextModule(_Module):
    """`FlaxCLIPTextModel` as a Linen module."""

    config: CLIPTextConfig
    dtype: Any = jnp.float32
    model_class = FlaxCLIPTextModel

    @linen.compact
    def __call__(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        position_ids: Any = None,
        deterministic: bool = True,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Arguments and result as of the model; nothing is dropped while ``deterministic``."""
        return self.run(
            deterministic,
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=return_dict,
        )


class FlaxCLIPTextModelWithProjectionModule(FlaxCLIPTextModule):
    """`FlaxCLIPTextModelWithProjection` as a Linen module."""

    model_class = FlaxCLIPTextModelWithProjection


class FlaxCLIPVisionModule(_Module):
    """`FlaxCLIPVisionModel` as a Linen module."""

    config: CLIPVisionConfig
    dtype: Any = jnp.float32
    model_class = FlaxCLIPVisionModel

    @linen.compact
    def __call__(
        self,
        pixel_values: Any,
        deterministic: bool = True,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Arguments and result as of the model; nothing is dropped while ``deterministic``.

        Pixels are ``[batch, channel, height, width]``, as of all models here; those of transformers' modules have the
        channels last.
        """
        return self.run(
            deterministic,
            pixel_values=pixel_values,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=return_dict,
        )


class FlaxCLIPVisionModelWithProjectionModule(FlaxCLIPVisionModule):
    """`FlaxCLIPVisionModelWithProjection` as a Linen module."""

    model_class = FlaxCLIPVisionModelWithProjection
