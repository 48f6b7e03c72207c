"""What a call of a tokenizer asks for, checked and with every default filled in."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from clip_core.batch import check_tensor_type
from clip_core.errors import InputError, InputTypeError
from clip_core.tokenizer.settings import NO_MAX_LENGTH

logger = logging.getLogger(__name__)

Words = Sequence[str]
Segment = str | Words
Row = tuple[Segment, Segment | None]
TextInput = str | Sequence[str] | Sequence[Sequence[str]]


class Padding(StrEnum):
    """To which length short rows are filled."""

    NONE = "do_not_pad"
    LONGEST = "longest"
    MAX_LENGTH = "max_length"


class Truncation(StrEnum):
    """From which text tokens are cut when a row is too long."""

    NONE = "do_not_truncate"
    LONGEST_FIRST = "longest_first"
    ONLY_FIRST = "only_first"
    ONLY_SECOND = "only_second"


@dataclass(frozen=True, kw_only=True)
class EncodeOptions:
    """The arguments of one call with what it takes from the tokenizer, as the encoders use them."""

    pad_token_id: int
    truncation_side: str

    add_special_tokens: bool
    padding: Padding
    truncation: Truncation
    max_length: int | None
    stride: int
    is_split_into_words: bool
    pad_to_multiple_of: int | None
    padding_side: str
    return_token_type_ids: bool
    return_attention_mask: bool
    return_overflowing_tokens: bool
    return_special_tokens_mask: bool
    return_offsets_mapping: bool
    return_length: bool
    as_arrays: bool = False
    """Whether columns become tensors anyway, so that an encoder may give arrays at once."""

    @property
    def only_ids(self) -> bool:
        """Whether a row of one text is its ids, cut at an end if at all, and perhaps their mask."""
        more = self.return_token_type_ids or self.return_special_tokens_mask or self.return_overflowing_tokens
        return not more and not self.is_split_into_words and self.truncation is not Truncation.ONLY_SECOND

    def __post_init__(self) -> None:
        check_count("max_length", self.max_length, least=0)
        check_count("stride", self.stride, least=0)
        check_count("pad_to_multiple_of", self.pad_to_multiple_of, least=1)
        check_side("padding_side", self.padding_side)
        pads_and_cuts = self.padding is not Padding.NONE and self.truncation is not Truncation.NONE
        if pads_and_cuts and self.max_length and self.max_length % (self.pad_to_multiple_of or 1):
            raise InputError(
                f"expected max_length to be a multiple of pad_to_multiple_of={self.pad_to_multiple_of}, got "
                f"{self.max_length}: rows cannot be cut to the one and padded to the other"
            )


def check_count(name: str, value: int | None, least: int) -> None:
    """Raise InputError unless `value` is None or a whole number of at least `least`."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise InputError(f"expected {name} to be a whole number of {least} or more, got {value!r}")


def check_side(name: str, side: str) -> None:
    """Raise InputError unless `side` is "left" or "right"."""
    if side not in ("left", "right"):
        raise InputError(f"expected {name} to be 'left' or 'right', got {side!r}")


_Strategy = TypeVar("_Strategy", Padding, Truncation)


def _strategy(name: str, value: bool | str | None, off: _Strategy, on: _Strategy) -> _Strategy:
    if value is None or value is False:
        return off
    if value is True:
        return on
    kind = type(off)
    for member in kind:
        if value == member.value:
            return member
    raise InputError(f"expected {name} to be True, False or one of {', '.join(kind)}, got {value!r}")


def resolve_strategies(
    padding: bool | str, truncation: bool | str | None, max_length: int | None, model_max_length: int
) -> tuple[Padding, Truncation, int | None]:
    """Strategies and length of a call, by the rules of transformers 4.57.

    A `max_length` alone means truncation. Without one, the tokenizer's `model_max_length` counts.

    Raises:
        InputError: an unknown strategy, or padding to a maximum that nobody named.
    """
    pads = _strategy("padding", padding, Padding.NONE, Padding.LONGEST)
    cuts = _strategy("truncation", truncation, Truncation.NONE, Truncation.LONGEST_FIRST)
    if max_length is not None and padding is False and truncation is None:
        logger.warning("max_length=%d without truncation: texts are truncated; say truncation=True", max_length)
        return pads, Truncation.LONGEST_FIRST, max_length
    if max_length is not None or (pads is not Padding.MAX_LENGTH and cuts is Truncation.NONE):
        return pads, cuts, max_length
    if model_max_length < NO_MAX_LENGTH:
        return pads, cuts, model_max_length
    if pads is Padding.MAX_LENGTH:
        raise InputError(
            "expected a length to pad to: padding='max_length' needs max_length=..., "
            "because this tokenizer does not know its model_max_length"
        )
    logger.warning("truncation without max_length cuts nothing: this tokenizer does not know its model_max_length")
    return pads, Truncation.NONE, None


def gather_rows(
    text: TextInput, text_pair: TextInput | None, is_split_into_words: bool, return_tensors: str | None
) -> tuple[list[Row], bool]:
    """The texts of a call as rows of first and second text, and whether they came as a batch.

    Raises:
        InputTypeError: something is not text, or a pair is of another form than its text.
        InputError: an empty batch, as many texts as pairs do not come, or an unknown kind of tensor.
    """
    check_tensor_type(return_tensors)
    if _is_segment(text, is_split_into_words) and not (is_split_into_words and not text):
        if text_pair is not None and not _is_segment(text_pair, is_split_into_words):
            raise InputTypeError(f"expected one text_pair for one text, got {_describe(text_pair)}")
        return [(text, text_pair)], False  # type: ignore[list-item]
    if isinstance(text, str) or not isinstance(text, (list, tuple)):
        raise InputTypeError(f"expected {_expected(is_split_into_words)}, or a list of such, got {_describe(text)}")
    if not text:
        raise InputError("expected at least one text, got an empty list")
    if text_pair is None and not is_split_into_words and set(map(type, text)) == {str}:
        return [(entry, None) for entry in text], True
    if text_pair is None:
        return [_row(entry, is_split_into_words) for entry in text], True
    if not isinstance(text_pair, (list, tuple)):
        raise InputTypeError(
            f"expected a list of {len(text)} text pairs for a list of texts, got {_describe(text_pair)}"
        )
    if len(text_pair) != len(text):
        raise InputError(f"expected as many text pairs as texts ({len(text)}), got {len(text_pair)}")
    return [
        (_segment(first, is_split_into_words), _segment(second, is_split_into_words))
        for first, second in zip(text, text_pair, strict=True)
    ], True


def _row(entry: object, words: bool) -> Row:
    if isinstance(entry, (list, tuple)) and len(entry) == 2 and all(_is_segment(part, words) for part in entry):
        return entry[0], entry[1]
    return _segment(entry, words), None


def _segment(entry: object, words: bool) -> Segment:
    if not _is_segment(entry, words):
        raise InputTypeError(f"expected {_expected(words)} in the list, got {_describe(entry)}")
    return entry  # type: ignore[return-value]


def _is_segment(value: object, words: bool) -> bool:
    if not words:
        return isinstance(value, str)
    return isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value)


def _expected(words: bool) -> str:
    return "a list of words (is_split_into_words=True)" if words else "a string"


def _describe(value: object) -> str:
    return f"{type(value).__name__} {value!r:.60}"
