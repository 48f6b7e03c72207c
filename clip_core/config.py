"""Configurations of the text tower, the vision tower and the whole model.

Names, defaults and the ``config.json`` layout are those of transformers 4.57, so either library reads what the other
writes. Unlike there, a configuration is frozen and checked when it is made; `dataclasses.replace` makes a changed copy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

from clip_core.checkpoint.files import CODE_KEYS, read_json, write_text_atomically
from clip_core.checkpoint.switch import finish_switch, placed
from clip_core.errors import CheckpointFormatError, ConfigError
from clip_core.labels import LABEL_FIELDS, PROBLEM_TYPES, UNSAID, named_labels
from clip_core.loading_options import sort_keywords
from clip_core.saving_options import Publishable, sort_saving_keywords

_MOST_LAYERS = 1000  # the largest CLIP has 56; a corrupt file shall not fill the memory with names of weights
_NO_PROBLEM = ("problem_type", None)
ACTIVATIONS = ("quick_gelu", "gelu", "gelu_pytorch_tanh")


@dataclass(frozen=True, kw_only=True)
class _Config(Publishable):
    """What the three configurations share: JSON in and out, and the output switches that a call can override."""

    model_type: ClassVar[str]

    output_attentions: bool = False
    output_hidden_states: bool = False
    return_dict: bool = True
    other_keys: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """Keys of a ``config.json`` that mean nothing here; kept, and written back."""

    def __post_init__(self) -> None:
        for name in ("output_attentions", "output_hidden_states", "return_dict"):
            self._require(isinstance(getattr(self, name), bool), name, "True or False")

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any]) -> Self:
        """The configuration that a ``config.json`` describes; unknown keys are kept in `other_keys`, but for code."""
        known = {f.name for f in fields(cls)} - {"other_keys"}
        mine = {key: value for key, value in config_dict.items() if key in known and value is not None}
        rest = {key: value for key, value in config_dict.items() if key not in {*known, "model_type", *CODE_KEYS}}
        return cls(**mine, other_keys=rest)

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | PathLike[str] | None = None, *, return_unused_kwargs: bool = False, **keywords: Any
    ) -> Any:
        """Reads ``config.json`` of a checkpoint directory or name.

        A tower configuration is also found inside the configuration of a full model.

        Args:
            return_unused_kwargs: return the configuration and a dict of the keywords that nobody knows, which are an
                error otherwise.
            keywords: where to look for the checkpoint, as of `clip_core.loading_options.Location`, and fields that
                shall have other values, as of `changed`.

        Raises:
            CheckpointNotFoundError: no such directory or name, or no ``config.json`` in it.
            CheckpointFormatError: ``config.json`` is not a JSON object or is of another kind of model.
            ConfigError: its values describe no model.
            InputTypeError, InputError: a keyword that is unknown, or that has no meaning here.
        """
        call = f"{cls.__name__}.from_pretrained"
        given = sort_keywords(
            call, name_or_path, keywords, cls.field_names(), cls.keyword_hints(), keep_unknown=return_unused_kwargs
        )
        config = cls.from_directory(given.location.directory(given.name)).changed(given.own)
        return (config, dict(given.unknown)) if return_unused_kwargs else config

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """The names of what can be set, in order."""
        return tuple(f.name for f in fields(cls) if f.name != "other_keys")

    @classmethod
    def keyword_hints(cls) -> dict[str, str]:
        """Of keywords that are likely and wrong in ``from_pretrained``, what to do instead."""
        return {}

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """A copy in which these fields have these values; a dict for a tower changes some of the tower's fields.

        ``None`` changes nothing, as in a ``config.json``.

        Raises:
            ConfigError: an unknown field, or values that describe no model.
        """
        changes = {name: value for name, value in changes.items() if value is not None}
        unknown = sorted(set(changes) - set(self.field_names()))
        if unknown:
            raise ConfigError(f"{type(self).__name__} has no field {unknown[0]!r}.")
        towers = {name: getattr(self, name) for name, value in changes.items() if isinstance(value, Mapping)}
        merged = {
            name: tower.changed(changes[name]) for name, tower in towers.items() if isinstance(tower, _TowerConfig)
        }
        return replace(self, **{**changes, **merged}) if changes else self

    @classmethod
    def from_directory(cls, directory: Path) -> Self:
        """Like `from_pretrained`, for a checkpoint directory that has been found already."""
        path = directory / "config.json"
        return cls.from_dict(cls._own_part(read_json(placed(path)), path))

    @classmethod
    def _own_part(cls, config_dict: dict[str, Any], path: Path) -> dict[str, Any]:
        found = config_dict.get("model_type", cls.model_type)
        if found != cls.model_type:
            raise CheckpointFormatError(
                f"{path}: expected a configuration of model_type {cls.model_type!r}, got {found!r}. "
                "Load it with the class made for that model."
            )
        return config_dict

    def to_dict(self) -> dict[str, Any]:
        """All fields, the kept unknown keys and ``model_type``, ready for JSON."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "other_keys"}
        return {**self.other_keys, **own, "model_type": self.model_type}

    def to_diff_dict(self) -> dict[str, Any]:
        """Like `to_dict`, without the values that are defaults."""
        defaults = type(self)().to_dict()
        full = self.to_dict()
        return {k: v for k, v in full.items() if k == "model_type" or k not in defaults or v != defaults[k]}

    def to_json_string(self, use_diff: bool = True) -> str:
        """JSON text, keys sorted, as written to ``config.json``."""
        return json.dumps(self.to_diff_dict() if use_diff else self.to_dict(), indent=2, sort_keys=True) + "\n"

    def to_json_file(self, json_file_path: str | PathLike[str], use_diff: bool = True) -> None:
        """Writes `to_json_string` to a file, beside and then renamed."""
        finish_switch(Path(json_file_path).parent)
        write_text_atomically(Path(json_file_path), self.to_json_string(use_diff))

    def save_pretrained(self, save_directory: str | PathLike[str], **keywords: Any) -> None:
        """Writes ``config.json`` into a directory, which is made if it is not there.

        Args:
            keywords: ``push_to_hub`` and the like; see `clip_core.saving_options`.
        """
        directory = Path(save_directory)
        upload = sort_saving_keywords(f"{type(self).__name__}.save_pretrained", directory, keywords)
        self.to_json_file(directory / "config.json", use_diff=False)
        if upload is not None:
            upload.send(directory, ["config.json"])

    def _require(self, holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise ConfigError(
                f"{type(self).__name__}.{name}: expected {expected}, got {getattr(self, name)!r}. "
                "Correct it in the constructor call or in config.json."
            )

    def _require_integers(self, *names: str, minimum: int) -> None:
        for name in names:
            value = getattr(self, name)
            holds = isinstance(value, int) and not isinstance(value, bool) and value >= minimum
            self._require(holds, name, f"an integer >= {minimum}")

    def _require_numbers(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            self._require(isinstance(value, int | float) and not isinstance(value, bool), name, "a number")


@dataclass(frozen=True, kw_only=True)
class _TowerConfig(_Config):
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
    """The text tower. ``eos_token_id == 2`` selects the legacy pooling rule (the largest id of a row is its end)."""

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
    """The vision tower; ``image_size`` and ``patch_size`` are pixels of a square."""

    model_type = "clip_vision_model"
    _key_in_full_config = "vision_config"

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_integers("num_channels", "image_size", "patch_size", minimum=1)
        self._require(self.image_size >= self.patch_size, "image_size", f"at least patch_size {self.patch_size}")

    @property
    def patches_per_side(self) -> int:
        """Patches along a side of the image; remaining pixels at the right and bottom are not seen."""
        return self.image_size // self.patch_size


@dataclass(frozen=True, kw_only=True)
class CLIPConfig(_Config):
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
    num_labels: int = None  # type: ignore[assignment]  # as many as have names; two if that is not said either
    id2label: Mapping[int, str] = field(default=None, hash=False)  # type: ignore[arg-type]
    label2id: Mapping[str, int] = field(default=None, hash=False)  # type: ignore[arg-type]
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
