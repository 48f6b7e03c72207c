"""Long texts are cleaned by the rule or refused, in a time that grows with their length only."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_core.errors import InputError
from clip_core.tests.tokenizer.test_text import openai_rule
from clip_core.tokenizer.limits import MOST_LEVELS, MOST_MARKS, SHORT, check_cleanable
from clip_core.tokenizer.text import clean_text

PARTS = [
    "&",
    "amp;",
    "AMP;",
    "#38;",
    "lt;",
    "<",
    "\n",
    "é",
    "Ã©",
    "＆",
    "\u0301",
    "\u0323",
    "ﬁ",
    "“",
    "\x1b[",
    "m",
    "a ",
]
DEEP = ["&" + "amp;" * 50_000, "é&" + "#x26;" * 40_000, "＆" + "AMP;" * 50_000, "a\n&" + "amp;" * 50_000]
MARKED = ["e" + "\u0301\u0323" * 100_000, "e" + "\u0f73" * 60_000, "e" + "&#769;&#803;" * 20_000]


@given(st.lists(st.sampled_from(PARTS) | st.text(st.characters(exclude_categories=("Cs",)), max_size=5), max_size=30))
@settings(deadline=None)
def test_a_long_text_within_the_limits_is_cleaned_by_the_rule(parts: list[str]) -> None:
    text = "".join(parts) + " word" * (SHORT // 5)
    assert len(text) >= SHORT
    assert clean_text(text) == openai_rule(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, f"at most {MOST_LEVELS} deep inside one another") for text in DEEP),
        *((text, f"at most {MOST_MARKS} combining marks in a row") for text in MARKED),
        ("é&#" + "1" * 5000 + ";", "expected a text that can be unescaped.*4300 digits"),
    ],
)
def test_what_would_take_minutes_is_refused_at_once(text: str, message: str) -> None:
    start = time.process_time()
    with pytest.raises(InputError, match=message):
        clean_text(text)
    assert time.process_time() - start < 20  # each took from half a minute to ten


def test_the_limits_are_where_they_say() -> None:
    rest = "é" + " word" * SHORT
    check_cleanable("&" + "amp;" * (MOST_LEVELS - 1) + rest)
    check_cleanable("\u0323" * MOST_MARKS + " " + rest)
    for text in ("&" + "amp;" * MOST_LEVELS + rest, "\u0323" * (MOST_MARKS + 1) + rest):
        with pytest.raises(InputError, match="expected a text with"):
            check_cleanable(text)


def test_short_texts_have_no_limits() -> None:
    text = "&" + "amp;" * 200 + "\u0301\u0323" * 90
    assert clean_text(text) == openai_rule(text)
