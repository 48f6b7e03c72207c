"""Tokens and ids: the special tokens, added tokens, conversion both ways and decoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, overload

from clip_core.errors import InputError, InputTypeError
from clip_core.tokenizer.files import SPECIAL_TOKEN_NAMES, AddedToken
from clip_core.tokenizer.options import NO_MAX_LENGTH, check_side
from clip_core.tokenizer.text import END_OF_TEXT, START_OF_TEXT, close_spaces


class TokenTable(ABC):
    """A vocabulary with its special tokens, without the way from text to ids."""

    model_input_names: ClassVar[list[str]] = ["input_ids", "attention_mask"]
    is_fast: ClassVar[bool]
    pad_token_type_id: ClassVar[int] = 0

    def __init__(
        self,
        *,
        unk_token: str = END_OF_TEXT,
        bos_token: str = START_OF_TEXT,
        eos_token: str = END_OF_TEXT,
        pad_token: str = END_OF_TEXT,
        errors: str = "replace",
        model_max_length: int | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
        additional_special_tokens: Sequence[str] = (),
        clean_up_tokenization_spaces: bool = False,
        allow_special_in_text: bool = True,
    ) -> None:
        check_side("padding_side", padding_side)
        check_side("truncation_side", truncation_side)
        self.unk_token = unk_token
        self.bos_token = bos_token
        self.eos_token = eos_token
        self.pad_token = pad_token
        self.errors = errors
        self.model_max_length = NO_MAX_LENGTH if model_max_length is None else int(model_max_length)
        self.padding_side = padding_side
        self.truncation_side = truncation_side
        self.additional_special_tokens = list(additional_special_tokens)
        self.clean_up_tokenization_spaces = clean_up_tokenization_spaces
        self._allow_special_in_text = allow_special_in_text

    @property
    def allow_special_in_text(self) -> bool:
        """Whether special tokens written in a text become the special ids; fixed at construction."""
        return self._allow_special_in_text

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Number of tokens in the table, without added tokens."""

    @abstractmethod
    def get_vocab(self) -> dict[str, int]:
        """Every token with its id, added ones included."""

    @property
    @abstractmethod
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The tokens taken out of the text before it is split into words, special ones included, by id."""

    @abstractmethod
    def _add(self, tokens: Sequence[AddedToken]) -> int:
        """Add tokens, those that are new at the end of the vocabulary; how many were new."""

    @abstractmethod
    def _tokens_of(self, text: str) -> list[str]:
        """The tokens of one text."""

    @abstractmethod
    def _token_to_id(self, token: str) -> int | None:
        """The id of a token, if there is such a token."""

    @abstractmethod
    def _id_to_token(self, index: int) -> str | None:
        """The token of an id, if there is such an id."""

    @abstractmethod
    def _join(self, ids: list[int], skip_special_tokens: bool) -> str:
        """The text of known ids."""

    def __len__(self) -> int:
        """Number of tokens, added ones included."""
        return len(self.get_vocab())

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(vocab_size={self.vocab_size}, model_max_length={self.model_max_length}, "
            f"special_tokens={self.special_tokens_map})"
        )

    # ---- special tokens

    @property
    def bos_token_id(self) -> int:
        """The id that begins every text."""
        return self.convert_tokens_to_ids(self.bos_token)

    @property
    def eos_token_id(self) -> int:
        """The id that ends every text, where CLIP pools."""
        return self.convert_tokens_to_ids(self.eos_token)

    @property
    def unk_token_id(self) -> int:
        """The id of what is not in the vocabulary."""
        return self.convert_tokens_to_ids(self.unk_token)

    @property
    def pad_token_id(self) -> int:
        """The id that fills short rows."""
        return self.convert_tokens_to_ids(self.pad_token)

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        """The special tokens by the name of what they do."""
        tokens: dict[str, Any] = {name: getattr(self, name) for name in SPECIAL_TOKEN_NAMES}
        if self.additional_special_tokens:
            tokens["additional_special_tokens"] = list(self.additional_special_tokens)
        return tokens

    @property
    def all_special_tokens(self) -> list[str]:
        """Each special token once."""
        named = (getattr(self, name) for name in SPECIAL_TOKEN_NAMES)
        return list(dict.fromkeys([*named, *self.additional_special_tokens]))

    @property
    def all_special_ids(self) -> list[int]:
        """Their ids."""
        return self.convert_tokens_to_ids(self.all_special_tokens)

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """Added and special tokens with their ids."""
        return {token.content: index for index, token in self.added_tokens_decoder.items()}

    def get_added_vocab(self) -> dict[str, int]:
        """As `added_tokens_encoder`."""
        return self.added_tokens_encoder

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Add one token or a list of them at the end of the vocabulary; the number that were new.

        They are found in the text as they stand, before it is cleaned. The model's token embedding must grow along,
        and with `eos_token_id == 2` in its config (older checkpoints) pooling breaks as soon as new ids are used.

        Raises:
            InputTypeError: something is neither a string nor an added token.
        """
        tokens = [new_tokens] if isinstance(new_tokens, str) or hasattr(new_tokens, "content") else list(new_tokens)
        for token in tokens:
            if not isinstance(token, str) and not hasattr(token, "content"):
                raise InputTypeError(f"expected a token to be a string, got {type(token).__name__}")
        added = [AddedToken.of(token, special=special_tokens) for token in tokens]
        special = [token.content for token in added if token.special and token.content not in self.all_special_tokens]
        self.additional_special_tokens += special
        return self._add([token for token in added if token.content])

    def add_special_tokens(
        self, special_tokens_dict: Mapping[str, Any], replace_additional_special_tokens: bool = True
    ) -> int:
        """Set special tokens by name (`{"pad_token": "<pad>"}`), adding those that are new; the number that were.

        Raises:
            InputError: an unknown name.
        """
        unknown = special_tokens_dict.keys() - {*SPECIAL_TOKEN_NAMES, "additional_special_tokens"}
        if unknown:
            raise InputError(
                f"expected the names {', '.join(SPECIAL_TOKEN_NAMES)} or additional_special_tokens, "
                f"got {', '.join(sorted(map(str, unknown)))}"
            )
        count = 0
        for name, value in special_tokens_dict.items():
            tokens = list(value) if name == "additional_special_tokens" else [value]
            contents = [AddedToken.of(token).content for token in tokens]
            if name != "additional_special_tokens":
                setattr(self, name, contents[0])
            elif replace_additional_special_tokens:
                self.additional_special_tokens = contents
            else:
                self.additional_special_tokens = list(dict.fromkeys([*self.additional_special_tokens, *contents]))
            count += self.add_tokens(tokens, special_tokens=True)
        return count

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens stand around one text or a pair."""
        return 4 if pair else 2

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """`bos A eos`, or `bos A eos eos B eos` for a pair."""
        bos, eos = self.bos_token_id, self.eos_token_id
        first = [bos, *token_ids_0, eos]
        return first if token_ids_1 is None else [*first, eos, *token_ids_1, eos]

    def get_special_tokens_mask(
        self,
        token_ids_0: list[int],
        token_ids_1: list[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """1 where `build_inputs_with_special_tokens` puts a special token, 0 elsewhere.

        With `already_has_special_tokens`, 1 for every special id in `token_ids_0`.

        Raises:
            InputError: two sequences that already have their special tokens.
        """
        if already_has_special_tokens:
            if token_ids_1 is not None:
                raise InputError("expected one sequence where special tokens are already in it, got two")
            special = set(self.all_special_ids)
            return [int(index in special) for index in token_ids_0]
        first = [1, *[0] * len(token_ids_0), 1]
        return first if token_ids_1 is None else [*first, 1, *[0] * len(token_ids_1), 1]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Zeros, as long as the row: CLIP has no token types."""
        return [0] * len(self.get_special_tokens_mask(token_ids_0, token_ids_1))

    # ---- conversion

    def tokenize(self, text: str, pair: str | None = None, add_special_tokens: bool = False) -> list[str]:
        """The tokens of a text (and its pair); a token that ends a word ends in `</w>`.

        Raises:
            InputTypeError: not a string.
        """
        for part in (text, pair or ""):
            if not isinstance(part, str):
                raise InputTypeError(f"expected a string to tokenize, got {type(part).__name__}")
        first, second = self._tokens_of(text), None if pair is None else self._tokens_of(pair)
        if not add_special_tokens:
            return first + (second or [])
        first = [self.bos_token, *first, self.eos_token]
        return first if second is None else [*first, self.eos_token, *second, self.eos_token]

    @overload
    def convert_tokens_to_ids(self, tokens: str) -> int: ...

    @overload
    def convert_tokens_to_ids(self, tokens: list[str] | tuple[str, ...]) -> list[int]: ...

    def convert_tokens_to_ids(self, tokens: str | list[str] | tuple[str, ...]) -> int | list[int]:
        """The id of a token, or of each; `unk_token_id` for what is not in the vocabulary."""
        if not isinstance(tokens, str):
            return [self.convert_tokens_to_ids(token) for token in tokens]
        index = self._token_to_id(tokens)
        if index is None:
            index = self._token_to_id(self.unk_token)
        if index is None:
            raise InputError(
                f"{tokens!r} is not in the vocabulary, and neither is the unknown token {self.unk_token!r}"
            )
        return index

    @overload
    def convert_ids_to_tokens(self, ids: int, skip_special_tokens: bool = False) -> str: ...

    @overload
    def convert_ids_to_tokens(self, ids: Iterable[int], skip_special_tokens: bool = False) -> list[str]: ...

    def convert_ids_to_tokens(self, ids: int | Iterable[int], skip_special_tokens: bool = False) -> str | list[str]:
        """The token of an id, or of each.

        Raises:
            InputError: an id that is not in the vocabulary.
        """
        if isinstance(ids, int):
            return self._known_token(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self._known_token(int(index)) for index in ids if int(index) not in skipped]

    def _known_token(self, index: int) -> str:
        token = self._id_to_token(index) if index >= 0 else None
        if token is None:
            raise InputError(f"expected ids of the vocabulary, 0 to {len(self) - 1}, got {index}")
        return token

    @abstractmethod
    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text behind tokens."""

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> str:
        """The text of ids, given as a list, an array, a tensor or a single id.

        Text is lower-case and has a space after every word: `"a photo, ok"` becomes `"a photo , ok"`, unless
        `clean_up_tokenization_spaces` closes up punctuation and contractions.

        Raises:
            InputError: an id that is not in the vocabulary, or a batch (see `batch_decode`).
        """
        ids = _ids_of(token_ids)
        for index in set(ids):
            self._known_token(index)
        text = self._join(ids, skip_special_tokens)
        closes = (
            self.clean_up_tokenization_spaces if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        )
        return close_spaces(text) if closes else text

    def batch_decode(
        self, sequences: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> list[str]:
        """`decode` for each sequence of a batch."""
        return [self.decode(ids, skip_special_tokens, clean_up_tokenization_spaces) for ids in sequences]


def _ids_of(token_ids: Any) -> list[int]:
    if hasattr(token_ids, "tolist"):
        token_ids = token_ids.tolist()
    elif hasattr(token_ids, "numpy"):
        token_ids = token_ids.numpy().tolist()
    ids = [token_ids] if isinstance(token_ids, int) else list(token_ids)
    for index in ids:
        if not hasattr(index, "__index__") and not getattr(index, "ndim", 1) == 0:
            raise InputError(f"expected one sequence of ids to decode, got {index!r:.60} inside; see batch_decode")
    return [int(index) for index in ids]
