from pathlib import Path

from triclip.tests.executed_page import executed

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def test_the_page_shows_what_the_commands_print():
    text = PAGE.read_text(encoding="utf-8")
    assert executed(text) == text
