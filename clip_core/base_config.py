"""What the three configurations share: JSON in and out, loading, saving, changing, and how a value is refused."""

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
from clip_core.loading_options import sort_keywords
from clip_core.saving_options import Publishable, sort_saving_keywords


@dataclass(frozen=True, kw_only=True)
class BaseConfig(Publishable):
    """Base of the three configurations, with the output switches that a call can override."""

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
        merged = {name: tower.changed(changes[name]) for name, tower in towers.items() if isinstance(tower, BaseConfig)}
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
