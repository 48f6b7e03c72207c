"""The examples of docs/sizes.md give what the page shows."""

import doctest
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_shows_what_its_examples_give(tmp_path, monkeypatch):
    (tmp_path / "triclip").symlink_to(ROOT / "triclip")  # where samples are
    monkeypatch.chdir(tmp_path)  # where an example saves what it makes
    page = ROOT / "docs" / "sizes.md"
    result = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert (result.failed, result.attempted > 10) == (0, True)
