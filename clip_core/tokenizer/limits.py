"""Texts whose cleaning would take time that grows with the square of their length: minutes for 200 kB.

ftfy unescapes "&amp;amp;amp;..." one level a pass over the whole text, and Python sorts the combining marks on one
character by insertion. OpenAI's tokenizer has both; no text that is meant to be read comes near the limits.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from clip_core.errors import InputError

SHORT = 1000
"""Up to so many characters nothing is slow."""
MOST_LEVELS = 50
MOST_MARKS = 1000  # Unicode's own stream-safe format has 30 (UAX #15, section 13)


def check_cleanable(text: str) -> None:
    """Refuse what ftfy would take too long for; in a time that grows with the length only.

    Raises:
        InputError: character references inside one another, or combining marks in a row, beyond the limits.
    """
    if len(text) <= SHORT:
        return
    unescaped = _unescaped(text)
    marks = "".join(char for char in set(unescaped) if unicodedata.combining(unicodedata.normalize("NFD", char)[0]))
    longest = max(map(len, re.findall(f"[{re.escape(marks)}]+", unescaped)), default=0) if marks else 0
    if longest > MOST_MARKS:
        raise InputError(
            f"expected a text with at most {MOST_MARKS} combining marks in a row, got {longest} in {text[:40]!r}... "
            "Remove them"
        )


def _unescaped(text: str) -> str:
    import ftfy
    from ftfy.fixes import unescape_html

    def unescape_and_fix(text: str) -> str:
        return str(ftfy.fix_text(unescape_html(text), unescape_html=False, normalization=None))

    # The other fixes can complete a character reference too, such as one of full-width characters, but take long.
    return _repeated(unescape_and_fix, _repeated(unescape_html, text))


def _repeated(change: Callable[[str], str], text: str) -> str:
    """The text when it does not change any more, which must be after few times."""
    changed = text
    for _ in range(MOST_LEVELS):
        before, changed = changed, change(changed)
        if changed == before:
            return changed
    raise InputError(
        f"expected a text with character references at most {MOST_LEVELS} deep inside one another ('&amp;amp;' is 2 "
        f"deep), got more in {text[:40]!r}... Unescape it, or cut it"
    )
