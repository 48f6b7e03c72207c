from pathlib import Path

from triclip.tests.executed_page import executed, without_measurements

PAGE = Path(__file__).parents[2] / "docs" / "converting.md"


def test_the_page_shows_what_the_commands_print():
    text = PAGE.read_text(encoding="utf-8")
    assert without_measurements(executed(text)) == without_measurements(text)
