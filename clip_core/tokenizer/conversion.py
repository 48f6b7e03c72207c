"""Special tokens, added tokens, and the conversions between text, tokens and ids that the call is not needed for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, Self, overload

from clip_core.errors import InputError, InputTypeError
from clip_core.tokenizer.openai import OpenAIEncoder
from clip_core.tokenizer.options import check_side
from clip_core.tokenizer.rows import ids_of, special_mask, surround
from clip_core.tokenizer.rust import RustPipeline
from clip_core.tokenizer.settings import SPECIAL_TOKEN_NAMES, PadToken, Setting, TokenizerSettings
from clip_core.tokenizer.table import AddedToken, TokenTable, known_id
from clip_core.tokenizer.text import close_spaces


class TokenConversion:
    """A token table, an encoder and special tokens behind the names that transformers 4.57 gives to conversions.

    Args:
        settings: the special tokens and the defaults of the call; each is an attribute that can be set.
        table: ids and tokens. Special tokens that it lacks are added to it.
        encoder: text to ids of that table, and back.

    Raises:
        InputError: a side that is neither "left" nor "right", or a `pad_id` that the table does not have.
    """

    bos_token = Setting[str]()
    eos_token = Setting[str]()
    unk_token = Setting[str]()
    pad_token = PadToken()
    additional_special_tokens = Setting[list[str]]()
    model_max_length = Setting[int]()
    padding_side = Setting[str]()
    truncation_side = Setting[str]()
    clean_up_tokenization_spaces = Setting[bool]()
    errors = Setting[str]()

    def __init__(
        self, settings: TokenizerSettings, table: TokenTable | RustPipeline, encoder: OpenAIEncoder | RustPipeline
    ) -> None:
        check_side("padding_side", settings.padding_side)
        check_side("truncation_side", settings.truncation_side)
        self._settings = settings
        self._table = table
        self._encoder = encoder
        known = self.added_tokens_encoder
        missing = [token for token in settings.all_special_tokens() if token not in known]
        table.add([AddedToken(content=token, special=True) for token in missing])
        pad = settings.pad_id
        if pad is not None and (type(pad) is not int or pad < 0 or self._table.token_of(pad) is None):
            raise InputError(f"pad_id: expected an id of the vocabulary, 0 to {len(self) - 1}, got {pad!r}.")

    def __copy__(self) -> Self:
        """An independent copy: the parts refer to one another."""
        return deepcopy(self)

    @property
    def allow_special_in_text(self) -> bool:
        """Whether special tokens written in a text become the special ids; fixed at construction."""
        return not self._settings.split_special_tokens

    @property
    def clean(self) -> str:
        """How texts are cleaned, as of `clip_core.tokenizer.text.clean_text`; fixed at construction."""
        return self._settings.clean

    @property
    def pad_id(self) -> int | None:
        """The id that fills short rows instead of that of `pad_token`, until another `pad_token` is set."""
        return self._settings.pad_id

    @property
    def vocab_size(self) -> int:
        """Number of tokens in the table, without added tokens."""
        return self._table.vocab_size

    def get_vocab(self) -> dict[str, int]:
        """Every token with its id, added ones included."""
        return dict(self._table.ids)

    def __len__(self) -> int:
        """Number of tokens, added ones included."""
        return len(self._table)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(vocab_size={self.vocab_size}, model_max_length={self.model_max_length}, "
            f"special_tokens={self.special_tokens_map})"
        )

    # ---- special and added tokens

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
        """The id that fills short rows: `pad_id`, or that of `pad_token` where it is None."""
        return self.pad_id if self.pad_id is not None else self.convert_tokens_to_ids(self.pad_token)

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        """The special tokens by the name of what they do."""
        tokens: dict[str, Any] = self._settings.named_special_tokens()
        if self.additional_special_tokens:
            tokens["additional_special_tokens"] = list(self.additional_special_tokens)
        return tokens

    @property
    def all_special_tokens(self) -> list[str]:
        """Each special token once."""
        return self._settings.all_special_tokens()

    @property
    def all_special_ids(self) -> list[int]:
        """Their ids."""
        return self.convert_tokens_to_ids(self.all_special_tokens)

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The tokens taken out of the text before it is split into words, special ones included, by id."""
        return dict(self._table.added)

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
        return self._table.add([token for token in added if token.content])

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
        return surround(token_ids_0, token_ids_1, self.bos_token_id, self.eos_token_id)

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
        return special_mask(token_ids_0, token_ids_1)

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Zeros, as long as the row: CLIP has no token types."""
        return [0] * len(special_mask(token_ids_0, token_ids_1))

    # ---- conversion

    def tokenize(self, text: str, pair: str | None = None, add_special_tokens: bool = False) -> list[str]:
        """The tokens of a text (and its pair); a token that ends a word ends in `</w>`.

        Raises:
            InputTypeError: not a string.
        """
        for part in (text, pair or ""):
            if not isinstance(part, str):
                raise InputTypeError(f"expected a string to tokenize, got {type(part).__name__}")
        first = self._encoder.tokenize(text)
        second = None if pair is None else self._encoder.tokenize(pair)
        if add_special_tokens:
            return surround(first, second, self.bos_token, self.eos_token)
        return first + (second or [])

    @overload
    def convert_tokens_to_ids(self, tokens: str) -> int: ...

    @overload
    def convert_tokens_to_ids(self, tokens: list[str] | tuple[str, ...]) -> list[int]: ...

    def convert_tokens_to_ids(self, tokens: str | list[str] | tuple[str, ...]) -> int | list[int]:
        """The id of a token, or of each; `unk_token_id` for what is not in the vocabulary.

        Raises:
            InputError: the unknown token is not in the vocabulary either.
        """
        if not isinstance(tokens, str):
            return [self.convert_tokens_to_ids(token) for token in tokens]
        return known_id(self._table.id_of, tokens, self.unk_token)

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
        token = self._table.token_of(index) if index >= 0 else None
        if token is None:
            raise InputError(f"expected ids of the vocabulary, 0 to {len(self) - 1}, got {index}")
        return token

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text behind tokens; the fast tokenizer leaves `</w>` in it, as that of transformers."""
        return self._encoder.join(tokens)

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> str:
        """The text of ids, given as a list, an array, a tensor or a single id.

        Text is lower-case and has a space after every word: `"a photo, ok"` becomes `"a photo , ok"`, unless
        `clean_up_tokenization_spaces` closes up punctuation and contractions.

        Raises:
            InputError: an id that is not in the vocabulary, or a batch (see `batch_decode`).
        """
        ids = ids_of(token_ids)
        for index in set(ids):
            self._known_token(index)
        text = self._encoder.decode(ids, skip_special_tokens)
        closes = (
            self.clean_up_tokenization_spaces if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        )
        return close_spaces(text) if closes else text

    def batch_decode(
        self, sequences: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> list[str]:
        """`decode` for each sequence of a batch."""
        return [self.decode(ids, skip_special_tokens, clean_up_tokenization_spaces) for ids in sequences]
