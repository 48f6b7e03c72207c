"""Cleaning takes its shortcut only where it changes nothing; bytes and symbols are one to one."""

import html
import string

import ftfy
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from clip_core.tokenizer.text import BYTE_SYMBOLS, clean_text, close_spaces, from_symbols, to_symbols


def openai_rule(text):
    """The published order of steps, without a shortcut."""
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return regex.sub(r"\s+", " ", text).strip().lower()


@given(st.text(string.printable + "&\x00\x07\x1b\x1c\x7f", max_size=30))
@example("a\x0bb")
@example("a\r\rb\x0cc")
@example("&amp;#39;")
@example("\x1b[31m red")
def test_the_ascii_shortcut_changes_nothing(text):
    assert clean_text(text) == openai_rule(text)


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=30))
@example("<b>&amp;amp;")  # ftfy leaves entities alone beside a "<"
def test_any_text_is_cleaned_by_the_rule(text):
    assert clean_text(text) == openai_rule(text)


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=30))
def test_symbols_are_reversible_and_print(text):
    symbols = to_symbols(text)
    assert from_symbols(symbols, "strict") == text
    assert not any(symbol.isspace() for symbol in symbols)


def test_every_byte_has_a_symbol_of_its_own():
    assert len(set(BYTE_SYMBOLS)) == 256
    assert (BYTE_SYMBOLS[ord("!")], BYTE_SYMBOLS[ord(" ")], BYTE_SYMBOLS[0]) == ("!", "Ġ", "Ā")


def test_broken_utf8_follows_the_errors_argument():
    half = to_symbols("é")[0]
    assert from_symbols(half, "replace") == "\ufffd"
    assert from_symbols(half, "ignore") == ""


def test_spaces_close_before_punctuation_and_contractions():
    assert close_spaces("it 's fine , is n't it ? we 're ' here .") == "it's fine, isn't it? we're'here."
