"""Text before and after the merge table: cleaning, splitting into words, bytes as printable symbols.

The rules are those of OpenAI's tokenizer (openai/CLIP, clip/simple_tokenizer.py), and of open_clip's, which cleans in
two more ways.
`regex` and `ftfy` are imported on first use.
"""

from __future__ import annotations

import html
import re
import string
from functools import cache
from typing import TYPE_CHECKING

from clip_core.errors import InputError
from clip_core.tokenizer.limits import check_cleanable

if TYPE_CHECKING:
    import regex

END_OF_WORD = "</w>"
START_OF_TEXT = "<|startoftext|>"
END_OF_TEXT = "<|endoftext|>"
OPEN_CLIP_START, OPEN_CLIP_END = "<start_of_text>", "<end_of_text>"
"""open_clip's names of the same two tokens."""
SPECIAL_PAIRS = ((START_OF_TEXT, END_OF_TEXT), (OPEN_CLIP_START, OPEN_CLIP_END))

CLEANING = ("lower", "whitespace", "canonicalize")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)

# ftfy changes nothing that matters in such text: it holds no entity to unescape (&), no control character to drop and
# nothing beyond ASCII to repair. Carriage returns, which ftfy makes newlines, end up as spaces either way.
_PLAIN = re.compile(r"[\t\n\r -%'-~]*")

WORD_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""Contractions, letters, a digit, or the rest: in the syntax of `regex`, and of the Rust library `tokenizers` too."""

_SPACED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")


def check_clean(clean: str) -> None:
    """Raises `InputError` if `clean` is no way of `clean_text`."""
    if clean not in CLEANING:
        raise InputError(f"clean: expected one of {', '.join(map(repr, CLEANING))}, got {clean!r:.60}")


def clean_text(text: str, clean: str = "lower") -> str:
    """Repair and unescape the text, make every run of white space one space, and then as `clean` says.

    Args:
        clean: by open_clip's names, "lower" for lower case, as in OpenAI's tokenizer, "whitespace" for nothing more,
            "canonicalize" for lower case without the punctuation of ASCII, an underscore being a space.

    Raises:
        InputError: as `check_cleanable`; a character reference of more digits than Python makes a number of.
    """
    text = _repaired(text)
    if clean == "canonicalize":
        return " ".join(text.replace("_", " ").translate(_WITHOUT_PUNCTUATION).lower().split())
    return text.lower() if clean == "lower" else text


def clean_pieces(text: str, clean: str = "lower") -> list[str]:
    """What stands between the spaces of `clean_text`; no word reaches from one piece into the next.

    Raises:
        InputError: as `clean_text`.
    """
    if clean == "lower" and _is_plain(text):
        return text.lower().split()
    return clean_text(text, clean).split(" ")


def _is_plain(text: str) -> bool:
    return (text.isascii() and text.isprintable() and "&" not in text) or _PLAIN.fullmatch(text) is not None


def _repaired(text: str) -> str:
    if _is_plain(text):
        return " ".join(text.split())
    import ftfy
    import regex

    check_cleanable(text)
    try:
        text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    except ValueError as error:
        raise InputError(f"expected a text that can be unescaped, got {text[:40]!r}...: {error}") from error
    text = regex.sub(r"\s+", " ", text)
    return text.strip()


@cache
def word_pattern(special_words: tuple[str, ...]) -> regex.Pattern[str]:
    """What makes a word of clean text, the special words among them, in upper and lower case."""
    import regex

    special = "".join(f"{regex.escape(word)}|" for word in special_words)
    return regex.compile(special + WORD_PATTERN, regex.IGNORECASE)


def _byte_symbols() -> list[str]:
    # GPT-2's reversible table: a byte that prints stands for itself, the others for U+0100 onwards in order.
    printing = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printing]
    symbols = {byte: chr(byte) for byte in printing} | {byte: chr(256 + index) for index, byte in enumerate(others)}
    return [symbols[byte] for byte in range(256)]


BYTE_SYMBOLS = _byte_symbols()
"""The symbol of each byte, by byte value."""

# The order of the first ids of the vocabulary: printing bytes, then the others; id 0 is "!".
ORDERED_SYMBOLS = sorted(BYTE_SYMBOLS)

_SYMBOL_BYTES = {symbol: bytes([byte]) for byte, symbol in enumerate(BYTE_SYMBOLS)}


def to_symbols(word: str) -> str:
    """The UTF-8 bytes of a word, one printable symbol each."""
    if word.isascii() and word.isalnum():
        return word
    return "".join([BYTE_SYMBOLS[byte] for byte in word.encode("utf-8")])


def from_symbols(symbols: str, errors: str) -> str:
    """The text behind symbols; characters that are no symbol (of added tokens) stand for themselves."""
    data = b"".join([_SYMBOL_BYTES.get(symbol) or symbol.encode("utf-8") for symbol in symbols])
    return data.decode("utf-8", errors=errors)


def close_spaces(text: str) -> str:
    """Remove the space that decoding leaves before punctuation and English contractions."""
    for spaced in _SPACED:
        text = text.replace(spaced, spaced.strip())
    return text
