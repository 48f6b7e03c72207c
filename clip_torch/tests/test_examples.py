"""The programs of examples/ for PyTorch are executed as they stand there."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SEARCH = ROOT / "examples" / "search_torch.py"


def test_what_is_searched_is_found_first(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [str(SEARCH)])
    runpy.run_path(str(SEARCH), run_name="__main__")
    found = [line.split(" (")[0] for line in capsys.readouterr().out.splitlines()]
    assert found == ["fruit: apple.png", "a guitar: guitar.png", "a vehicle: car.png"]


def test_a_directory_without_pictures_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", [str(SEARCH), "--pictures", str(tmp_path)])
    with pytest.raises(SystemExit, match="no .png or .jpg here"):
        runpy.run_path(str(SEARCH), run_name="__main__")
