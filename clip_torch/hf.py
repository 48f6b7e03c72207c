"""The models as models of transformers: for code that asks ``isinstance``. Needs transformers, 4.57 or 5.

They compute with the layers of `clip_torch`, and load and save as its models do: by the same names, all weights or an
error. Beside that they are subclasses of transformers' classes of the same names, with its configurations and outputs,
so they take part in what transformers and the libraries around it do with a `transformers.PreTrainedModel`: pipelines,
auto classes, `Trainer`, adapters of peft, saving inside of a diffusers pipeline. Configurations, tokenizer, image
processor and processor are transformers' own. ``import clip_torch`` does not import this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import wraps
from inspect import signature
from os import PathLike
from typing import Any, ClassVar

from torch import Tensor, get_default_dtype

import clip_torch
from clip_core.errors import InputError, InputTypeError, MissingExtraError
from clip_core.outputs import ModelOutput
from clip_torch.weights import CLIPPreTrainedModel

try:
    import transformers
except ModuleNotFoundError as error:
    if error.name != "transformers":
        raise
    raise MissingExtraError(error.name, "hf", "clip_torch.hf") from None

from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTokenizer,
    CLIPVisionConfig,
    PreTrainedModel,  # diffusers loads classes of a module if they derive from a class of that name in it
)
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clip import modeling_clip

__all__ = [
    "CLIPConfig",
    "CLIPForImageClassification",
    "CLIPImageProcessor",
    "CLIPModel",
    "CLIPProcessor",
    "CLIPTextConfig",
    "CLIPTextModel",
    "CLIPTextModelWithProjection",
    "CLIPTokenizer",
    "CLIPVisionConfig",
    "CLIPVisionModel",
    "CLIPVisionModelWithProjection",
]

_FEATURES_ARE_OUTPUTS = int(transformers.__version__.partition(".")[0]) >= 5
"""Whether ``get_text_features`` returns an output with the embeddings as ``pooler_output``, as transformers 5 does."""


def _their_output(output: Any) -> Any:
    """An output of ours as transformers' class of that name; anything else as it is."""
    if not isinstance(output, ModelOutput):
        return output
    kind = getattr(modeling_clip, output._kind, BaseModelOutputWithPooling)
    return kind(**{name: _their_output(value) for name, value in output.items()})


class _OverOurs:
    """What they have in common. It comes before transformers' class, whose layers are not made."""

    own: ClassVar[type[CLIPPreTrainedModel]]
    """The model of `clip_torch` that computes."""

    config: Any
    config_class: ClassVar[Any]
    name_or_path: str
    _modules: dict[str, Any]
    _parameters: dict[str, Any]
    _no_split_modules: ClassVar[Any] = ["TextEmbeddings", "VisionEmbeddings", "EncoderLayer"]

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        own_forward = cls.own.forward
        positions = {name: position - 1 for position, name in enumerate(signature(own_forward).parameters)}

        @wraps(own_forward)
        def forward(self: Any, *inputs: Any, **named: Any) -> Any:
            for switch in ("output_attentions", "output_hidden_states"):  # the towers would ask their own configuration
                if positions[switch] >= len(inputs) and named.get(switch) is None:
                    named[switch] = getattr(self.config, switch)
            return _their_output(own_forward(self, *inputs, **named))

        cls.forward = forward  # type: ignore[attr-defined]  # of nn.Module

    def __init__(self, config: Any, *, own: CLIPPreTrainedModel | None = None) -> None:
        """A model with drawn weights of seed 0, or one with the layers of another.

        Args:
            config: of transformers.
            own: a model of `clip_torch`, whose layers this one shares.
        """
        PreTrainedModel.__init__(self, config)
        if own is None:
            own = self.own(self.own_config(config), dtype=get_default_dtype())
            own.set_attn_implementation(config._attn_implementation)
        self._modules.update(own._modules)
        self._parameters.update(own._parameters)
        self.post_init()  # type: ignore[attr-defined]  # of transformers

    def init_weights(self) -> None:
        """Nothing: the weights are there, and none are tied."""

    @classmethod
    def own_config(cls, config: Any) -> Any:
        """A configuration of transformers, or of ours, as ours.

        Raises:
            InputTypeError: it is for another class.
            InputError: it has a ResNet tower, which no class of transformers has.
            ConfigError: its values describe no model of ours.
        """
        if not isinstance(config, cls.config_class | cls.own.config_class):
            expected, got = cls.config_class.__name__, type(config).__name__
            raise InputTypeError(f"{cls.__name__}: expected a {expected}, got {got}.")
        found = cls.own.config_class.from_dict(config.to_dict())
        cls._refuse_resnet(found)
        return found

    @classmethod
    def _refuse_resnet(cls, config: Any) -> None:
        if getattr(getattr(config, "vision_config", config), "is_resnet", False):
            raise InputError(
                f"clip_torch.hf.{cls.__name__}: transformers has no ResNet towers (stage_depths), so that nothing made "
                f"for its models fits this one. Load it with clip_torch.{cls.__name__}."
            )

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | PathLike[str] | None = None,
        *,
        config: Any = None,
        output_loading_info: bool = False,
        **keywords: Any,
    ) -> Any:
        """The model of a checkpoint, in evaluation mode; keywords and errors as of `CLIPPreTrainedModel`'s.

        So the weights are those of the configuration, all of them, or it is an error; and ``dtype`` is float32 unless
        given, as in transformers 4.
        """
        if config is not None and not isinstance(config, str | PathLike):
            config = cls.own_config(config)
        own, info = cls.own.from_pretrained(
            pretrained_model_name_or_path, config=config, output_loading_info=True, **keywords
        )
        cls._refuse_resnet(own.config)
        theirs = cls.config_class.from_dict(own.config.to_dict())
        theirs._attn_implementation = keywords.get("attn_implementation") or "sdpa"
        theirs.dtype = own.dtype
        model = cls(theirs, own=own)
        model.name_or_path = theirs._name_or_path = str(pretrained_model_name_or_path or "")
        model.eval()  # type: ignore[attr-defined]  # of nn.Module
        return (model, info) if output_loading_info else model

    def save_pretrained(self, save_directory: str | PathLike[str], **keywords: Any) -> None:
        """Writes ``config.json`` and the weights as `CLIPPreTrainedModel.save_pretrained` does, with its keywords.

        With an adapter (`add_adapter`, `load_adapter`) the adapter is written, and nothing else, as transformers does.
        """
        if getattr(self, "_hf_peft_config_loaded", False):
            super().save_pretrained(save_directory, **keywords)  # type: ignore[misc]  # of transformers
        else:
            self.as_own().save_pretrained(save_directory, **keywords)

    def as_own(self) -> Any:
        """A model of `clip_torch` that shares layers and weights with this one."""
        view = self.own.__new__(self.own)
        view.__dict__.update(self.__dict__, config=self.own_config(self.config))
        return view

    def set_attn_implementation(self, attn_implementation: str | Mapping[str, str]) -> None:
        """As `CLIPPreTrainedModel.set_attn_implementation`; both towers have the same."""
        if not isinstance(attn_implementation, str):
            raise InputTypeError(f"attn_implementation: expected 'sdpa' or 'eager', got {attn_implementation!r:.60}.")
        self.as_own().set_attn_implementation(attn_implementation)
        self.config._attn_implementation = attn_implementation

    def get_input_embeddings(self) -> Any:
        """The token embedding; of a vision tower, the patch embedding."""
        if "text_model" in self._modules:
            return self._modules["text_model"].embeddings.token_embedding
        return self._modules["vision_model"].embeddings.patch_embedding

    def set_input_embeddings(self, value: Any) -> None:
        """Puts another embedding in its place; the configurations' ``vocab_size`` follows."""
        if "text_model" not in self._modules:
            self._modules["vision_model"].embeddings.patch_embedding = value
            return
        tower = self._modules["text_model"]
        tower.embeddings.token_embedding = value
        tower.config = replace(tower.config, vocab_size=value.weight.shape[0])
        getattr(self.config, "text_config", self.config).vocab_size = value.weight.shape[0]


class _TextTower:
    """Where transformers 5.6 and newer have the parts of a text tower without projection; ``text_model`` works too."""

    embeddings = property(lambda self: self.text_model.embeddings)
    encoder = property(lambda self: self.text_model.encoder)
    final_layer_norm = property(lambda self: self.text_model.final_layer_norm)


class _VisionTower:
    """Where transformers 5.6 and newer have the parts of a vision tower without projection."""

    embeddings = property(lambda self: self.vision_model.embeddings)
    pre_layrnorm = property(lambda self: self.vision_model.pre_layrnorm)
    encoder = property(lambda self: self.vision_model.encoder)
    post_layernorm = property(lambda self: self.vision_model.post_layernorm)


class CLIPTextModel(_OverOurs, _TextTower, transformers.CLIPTextModel):
    """`clip_torch.CLIPTextModel` as a model of transformers."""

    own = clip_torch.CLIPTextModel


class CLIPTextModelWithProjection(_OverOurs, transformers.CLIPTextModelWithProjection):
    """`clip_torch.CLIPTextModelWithProjection` as a model of transformers."""

    own = clip_torch.CLIPTextModelWithProjection


class CLIPVisionModel(_OverOurs, _VisionTower, transformers.CLIPVisionModel):
    """`clip_torch.CLIPVisionModel` as a model of transformers."""

    own = clip_torch.CLIPVisionModel


class CLIPVisionModelWithProjection(_OverOurs, transformers.CLIPVisionModelWithProjection):
    """`clip_torch.CLIPVisionModelWithProjection` as a model of transformers."""

    own = clip_torch.CLIPVisionModelWithProjection


class CLIPForImageClassification(_OverOurs, transformers.CLIPForImageClassification):
    """`clip_torch.CLIPForImageClassification` as a model of transformers."""

    own = clip_torch.CLIPForImageClassification

    def patches(self, last_hidden_state: Tensor) -> Tensor:
        """The tokens of the patches, ``[image, patch, hidden]``, all but the first; there are no ResNets here."""
        return last_hidden_state[:, 1:]


class CLIPModel(_OverOurs, transformers.CLIPModel):
    """`clip_torch.CLIPModel` as a model of transformers."""

    own = clip_torch.CLIPModel
    logits = clip_torch.CLIPModel.logits

    def get_text_features(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None
    ) -> Any:
        """Projected text embeddings ``[batch, embed]``, not normalised.

        With transformers 5 they are the ``pooler_output`` of a `BaseModelOutputWithPooling`, as there.
        """
        if not _FEATURES_ARE_OUTPUTS:
            return clip_torch.CLIPModel.get_text_features(self, input_ids, attention_mask, position_ids)
        output = _their_output(self.text_model(input_ids, attention_mask, position_ids))
        output.pooler_output = self.text_projection(output.pooler_output)  # [batch, embed]
        return output

    def get_image_features(self, pixel_values: Tensor, interpolate_pos_encoding: bool = False) -> Any:
        """Projected image embeddings ``[batch, embed]``, not normalised; with transformers 5 as for texts."""
        if not _FEATURES_ARE_OUTPUTS:
            return clip_torch.CLIPModel.get_image_features(self, pixel_values, interpolate_pos_encoding)
        output = _their_output(self.vision_model(pixel_values, interpolate_pos_encoding=interpolate_pos_encoding))
        output.pooler_output = self.visual_projection(output.pooler_output)  # [batch, embed]
        return output
