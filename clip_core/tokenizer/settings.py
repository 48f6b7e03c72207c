"""The settings of a tokenizer: its special tokens and the defaults of its calls."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

from clip_core.tokenizer.text import END_OF_TEXT, START_OF_TEXT

SPECIAL_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")

NO_MAX_LENGTH = int(1e30)
"""The `model_max_length` of a tokenizer that does not know its model's; also what transformers writes for it."""

BUILTIN_MAX_LENGTH = 77
"""The context length of every CLIP that OpenAI released."""


@dataclass(kw_only=True)
class TokenizerSettings:
    """What a `tokenizer_config.json` says, under the names that it has there."""

    bos_token: str = START_OF_TEXT
    eos_token: str = END_OF_TEXT
    unk_token: str = END_OF_TEXT
    pad_token: str = END_OF_TEXT
    additional_special_tokens: list[str] = field(default_factory=list)
    model_max_length: int = NO_MAX_LENGTH
    padding_side: str = "right"
    truncation_side: str = "right"
    clean_up_tokenization_spaces: bool = False
    errors: str = "replace"
    split_special_tokens: bool = False
    clean: str = "lower"
    pad_id: int | None = None

    def named_special_tokens(self) -> dict[str, str]:
        """The four special tokens by the name of what they do."""
        return {name: getattr(self, name) for name in SPECIAL_TOKEN_NAMES}

    def all_special_tokens(self) -> list[str]:
        """Each special token once."""
        return list(dict.fromkeys([*self.named_special_tokens().values(), *self.additional_special_tokens]))

    def arguments(self) -> dict[str, Any]:
        """The settings as arguments of the tokenizers' constructors."""
        arguments = asdict(self)
        return arguments | {"allow_special_in_text": not arguments.pop("split_special_tokens")}

    def to_file(self) -> dict[str, Any]:
        """The settings as a file has them: without those that upstream does not know, where they are the default."""
        described = {name: value for name, value in asdict(self).items() if value is not None}
        if self.clean == TokenizerSettings.clean:
            del described["clean"]
        return described


_Value = TypeVar("_Value")


class Setting(Generic[_Value]):
    """An attribute that is read and set in the `TokenizerSettings` of a tokenizer, where the encoder sees it too."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, tokenizer: Any, owner: type | None = None) -> _Value:
        value: _Value = getattr(tokenizer._settings, self._name)
        return value

    def __set__(self, tokenizer: Any, value: _Value) -> None:
        setattr(tokenizer._settings, self._name, value)


class PadToken(Setting[str]):
    """The token that fills short rows; who sets another does not mean the id that was given instead of a token."""

    def __set__(self, tokenizer: Any, value: str) -> None:
        super().__set__(tokenizer, value)
        tokenizer._settings.pad_id = None
