"""Configurations of the text tower, the vision tower and the whole model.

Names, defaults and the ``config.json`` layout are those of transformers 4.57, so either library reads what the other
writes. Unlike there, a configuration is frozen and checked when it is made; `dataclasses.replace` makes a changed copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from clip_core.base_config import BaseConfig
from clip_core.labels import LABEL_FIELDS, PROBLEM_TYPES, UNSAID, named_labels
from clip_core.resnet import STAGES, TOTAL_STRIDE

_MOST_LAYERS = 1000  # the largest CLIP has 56; a corrupt file shall not fill the memory with names of weights
_NO_PROBLEM = ("problem_type", None)
_FOLLOWS: Any = None  # from what else is said of labels, when the configuration is made; if nothing is, there are two
ACTIVATIONS = ("quick_gelu", "gelu", "gelu_pytorch_tanh")
OF_TRANSFORMERS_ONLY = (
    *("intermediate_size", "num_hidden_layers", "hidden_act", "layer_norm_eps"),
    *("attention_dropout", "initializer_range"),
)
"""Fields that mean nothing for a ResNet tower: another value than the default is an error, and ``null`` is written."""


@dataclass(frozen=True, kw_only=True)
class _TowerConfig(BaseConfig):
    """What the two towers have in common."""

    _key_in_full_config: ClassVar[str]

    hidden_size: int
    intermediate_size: int
    projection_dim: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    attention_dropout: float = 0.0
    initializer_range: float = 0.02
    initializer_factor: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_integers("hidden_size", "intermediate_size", "projection_dim", "num_attention_heads", minimum=1)
        self._require_integers("num_hidden_layers", minimum=0)
        self._require(self.num_hidden_layers <= _MOST_LAYERS, "num_hidden_layers", f"at most {_MOST_LAYERS}")
        self._require_numbers("layer_norm_eps", "attention_dropout", "initializer_range", "initializer_factor")
        divides = self.hidden_size % self.num_attention_heads == 0
        self._require(divides, "num_attention_heads", f"a divisor of hidden_size {self.hidden_size}")
        self._require(self.hidden_act in ACTIVATIONS, "hidden_act", f"one of {ACTIVATIONS}")
        self._require(self.layer_norm_eps > 0, "layer_norm_eps", "a number above 0")
        self._require(0 <= self.attention_dropout < 1, "attention_dropout", "a number in [0, 1)")

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @classmethod
    def _own_part(cls, config_dict: dict[str, Any], path: Path) -> dict[str, Any]:
        if config_dict.get("model_type") == CLIPConfig.model_type:
            full = CLIPConfig.from_dict(config_dict)  # its projections have the width that it says, not the tower
            return {**full._tower_dict(cls._key_in_full_config), "projection_dim": full.projection_dim}
        return super()._own_part(config_dict, path)


@dataclass(frozen=True, kw_only=True)
class CLIPTextConfig(_TowerConfig):
    """The text tower.

    ``eos_token_id == 2`` selects the legacy pooling rule (the largest id of a row is its end), and models refuse it
    where the vocabulary is not CLIP's (`clip_core.checks.check_end_of_text`).
    """

    model_type = "clip_text_model"
    _key_in_full_config = "text_config"

    vocab_size: int = 49408
    hidden_size: int = 512
    intermediate_size: int = 2048
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    pad_token_id: int = 1
    bos_token_id: int = 49406
    eos_token_id: int = 49407

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_integers("vocab_size", "max_position_embeddings", minimum=1)
        self._require_integers("pad_token_id", "bos_token_id", "eos_token_id", minimum=0)


@dataclass(frozen=True, kw_only=True)
class CLIPVisionConfig(_TowerConfig):
    """The vision tower; ``image_size`` and ``patch_size`` are pixels of a square.

    ``stage_depths`` says that the tower is CLIP's modified ResNet instead of a transformer, and how many bottlenecks
    each of its four stages has: ``(3, 4, 6, 3)`` for RN50. Then ``hidden_size`` is the width of the last stage, 32
    times that of the stem, ``num_attention_heads`` are those of the attention pooling, and ``patch_size`` is the total
    stride, 32. The activation is ReLU, the eps of batch normalisation 1e-5. What is of transformers only
    (`OF_TRANSFORMERS_ONLY`) has to be left out. No release of transformers has these towers; it refuses such a
    ``config.json``, which has ``null`` for what a transformer needs.
    """

    model_type = "clip_vision_model"
    _key_in_full_config = "vision_config"

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 32
    stage_depths: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_integers("num_channels", "image_size", "patch_size", minimum=1)
        self._require(self.image_size >= self.patch_size, "image_size", f"at least patch_size {self.patch_size}")
        if self.stage_depths is not None:
            self._check_resnet(self.stage_depths)
            object.__setattr__(self, "stage_depths", tuple(self.stage_depths))  # a list in JSON

    def _check_resnet(self, depths: Any) -> None:
        are_depths = isinstance(depths, list | tuple) and all(type(depth) is int and depth >= 1 for depth in depths)
        expected = f"{STAGES} integers >= 1 whose sum is at most {_MOST_LAYERS}"
        self._require(are_depths and len(depths) == STAGES and sum(depths) <= _MOST_LAYERS, "stage_depths", expected)
        of_resnet = "for a ResNet tower (stage_depths)"
        self._require(self.patch_size == TOTAL_STRIDE, "patch_size", f"{TOTAL_STRIDE}, the total stride, {of_resnet}")
        whole = self.image_size % TOTAL_STRIDE == 0
        self._require(whole, "image_size", f"a multiple of {TOTAL_STRIDE}, the total stride, {of_resnet}")
        even = self.hidden_size % (2 * TOTAL_STRIDE) == 0
        self._require(even, "hidden_size", f"a multiple of {2 * TOTAL_STRIDE} {of_resnet}, whose stem is 1/32 as wide")
        defaults = {f.name: f.default for f in fields(self)}
        for name in OF_TRANSFORMERS_ONLY:
            unchanged = getattr(self, name) == defaults[name]
            self._require(unchanged, name, f"nothing {of_resnet}, which has no such thing")

    @property
    def is_resnet(self) -> bool:
        """Whether the tower is a ResNet."""
        return self.stage_depths is not None

    @property
    def patches_per_side(self) -> int:
        """Patches along a side of the image; remaining pixels at the right and bottom are not seen."""
        return self.image_size // self.patch_size

    def to_dict(self) -> dict[str, Any]:
        """As of every configuration; of a transformer without ``stage_depths``."""
        described = super().to_dict()
        if self.is_resnet:
            return {**described, **dict.fromkeys(OF_TRANSFORMERS_ONLY)}
        return {name: value for name, value in described.items() if name != "stage_depths"}


@dataclass(frozen=True, kw_only=True)
class CLIPConfig(BaseConfig):
    """The whole model. ``text_config`` and ``vision_config`` may be configurations, dicts or ``None`` (defaults).

    ``logit_scale_init_value`` is a logarithm: 2.6592 is ln(1 / 0.07), the paper's starting temperature.

    An image classifier reads the names of its labels, ``id2label``, or ``num_labels`` if they have none, and
    ``problem_type``, which chooses its loss: one of `clip_core.labels.PROBLEM_TYPES`, or as the labels of a call are.
    """

    model_type = "clip"

    text_config: CLIPTextConfig = field(default_factory=CLIPTextConfig)
    vision_config: CLIPVisionConfig = field(default_factory=CLIPVisionConfig)
    projection_dim: int = 512
    logit_scale_init_value: float = 2.6592
    initializer_factor: float = 1.0
    num_labels: int = _FOLLOWS
    id2label: Mapping[int, str] = field(default=_FOLLOWS, hash=False)
    label2id: Mapping[str, int] = field(default=_FOLLOWS, hash=False)
    problem_type: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        id2label, label2id = named_labels(self.num_labels, self.id2label, self.label2id)
        for name, value in (("num_labels", len(id2label)), ("id2label", id2label), ("label2id", label2id)):
            object.__setattr__(self, name, value)
        self._require(self.problem_type in (None, *PROBLEM_TYPES), "problem_type", f"None or one of {PROBLEM_TYPES}")
        object.__setattr__(self, "text_config", self._as_tower("text_config", CLIPTextConfig))
        object.__setattr__(self, "vision_config", self._as_tower("vision_config", CLIPVisionConfig))
        self._require_integers("projection_dim", minimum=1)
        self._require_numbers("logit_scale_init_value", "initializer_factor")

    def _as_tower(self, name: str, kind: type[CLIPTextConfig] | type[CLIPVisionConfig]) -> Any:
        value = getattr(self, name)
        if value is None:
            return kind()
        if isinstance(value, Mapping):
            return kind.from_dict(value)
        self._require(isinstance(value, kind), name, f"a {kind.__name__}, a dict or None")
        return value

    @classmethod
    def from_text_vision_configs(
        cls,
        text_config: CLIPTextConfig,
        vision_config: CLIPVisionConfig,
        *,
        projection_dim: int = 512,
        logit_scale_init_value: float = 2.6592,
    ) -> Self:
        """The configuration of the model that joins two towers."""
        return cls(
            text_config=text_config,
            vision_config=vision_config,
            projection_dim=projection_dim,
            logit_scale_init_value=logit_scale_init_value,
        )

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any]) -> Self:
        """As for a tower; the legacy ``text_config_dict`` / ``vision_config_dict``, where present, win."""
        merged = dict(config_dict)
        for kind in (CLIPTextConfig, CLIPVisionConfig):
            key = kind._key_in_full_config
            legacy = merged.pop(f"{key}_dict", None)
            if legacy is not None:
                merged[key] = {**(merged.get(key) or {}), **kind.from_dict(legacy).to_dict()}
        return super().from_dict(merged)

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """As for a tower; other labels leave nothing of the old ones, nor does another number of them."""
        given = {name: changes[name] for name in LABEL_FIELDS[:3] if changes.get(name) is not None}
        if not given or given == {"num_labels": self.num_labels}:
            return super().changed(changes)
        return super(CLIPConfig, replace(self, **{**dict.fromkeys(LABEL_FIELDS[:3]), **given})).changed(changes)

    @property
    def labels_are_said(self) -> bool:
        """Whether the labels are others than the two without names that every configuration has."""
        return self.id2label != UNSAID

    @classmethod
    def keyword_hints(cls) -> dict[str, str]:
        names = {*CLIPTextConfig.field_names(), *CLIPVisionConfig.field_names()} - {*cls.field_names()}
        return {name: f"Say for which tower: text_config={{{name!r}: ...}}, vision_config={{...}}." for name in names}

    def _tower_dict(self, key: str) -> dict[str, Any]:
        tower: _TowerConfig = getattr(self, key)
        return tower.to_dict()

    def to_dict(self) -> dict[str, Any]:
        """As for a tower, with the towers' configurations as dicts."""
        towers = {"text_config": self.text_config.to_dict(), "vision_config": self.vision_config.to_dict()}
        whole = {**super().to_dict(), **towers}
        unsaid = {"num_labels", *(() if self.labels_are_said else LABEL_FIELDS[1:3])}  # as transformers writes them
        return {name: value for name, value in whole.items() if name not in unsaid and (name, value) != _NO_PROBLEM}
