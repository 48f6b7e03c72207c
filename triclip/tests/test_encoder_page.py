"""The examples of pages about the encoder give what the pages show."""

import doctest
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["encoder.md", "zero_shot.md"])
def test_the_page_shows_what_its_examples_give(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "triclip").symlink_to(ROOT / "triclip")  # where samples are
    monkeypatch.chdir(tmp_path)  # where an example saves what it makes
    page = ROOT / "docs" / name
    result = doctest.testfile(str(page), module_relative=False, encoding="utf-8", optionflags=doctest.ELLIPSIS)
    assert (result.failed, result.attempted > 10) == (0, True)
