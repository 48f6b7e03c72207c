from pathlib import Path

import pytest
from PIL import Image, ImageColor

from clip_core.backends import FRAMEWORKS
from triclip.demo_sheet import BAR_HEIGHT, BAR_LENGTH, COLOURS, TICK, Scores, draw_sheet, write_sheet
from triclip.tests.conftest import draw_picture

EXPECTED = {"a.png": "ape", "b.png": "bee", "c.png": "cow"}
SURE = {"ape": 0.75, "bee": 0.25, "cow": 0.0}


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    for seed, name in enumerate(EXPECTED, start=1):
        draw_picture(tmp_path / name, seed)
    return tmp_path


def _probabilities(**of_ape: float) -> dict[str, Scores]:
    """What each backend says of three pictures; they differ in the first picture's first label."""
    return {backend: {"a.png": SURE | {"ape": ape}, "b.png": SURE, "c.png": SURE} for backend, ape in of_ape.items()}


def _pixels(sheet: Image.Image, colour: str) -> int:
    """How many pixels of that very colour the upper left cell has, the legend left out."""
    cell = sheet.crop((0, 100, sheet.width // 2, 400))
    counts = {pixel: count for count, pixel in cell.getcolors(cell.width * cell.height)}
    return counts.get(ImageColor.getrgb(colour), 0)


def test_every_backend_has_a_colour_of_its_own() -> None:
    assert list(COLOURS) == list(FRAMEWORKS)
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_the_sheet_is_1800_pixels_wide_and_grows_by_rows_of_two_pictures(samples: Path) -> None:
    said = _probabilities(torch=0.75)
    sizes = [draw_sheet(samples, dict(list(EXPECTED.items())[:count]), said, 3).size for count in (1, 2, 3)]
    assert [width for width, _ in sizes] == [1800] * 3
    assert sizes[0] == sizes[1]
    assert sizes[2][1] > sizes[1][1]


def test_a_bar_is_as_long_as_its_backend_s_probability(samples: Path) -> None:
    sheet = draw_sheet(samples, EXPECTED, _probabilities(torch=0.5, tf=1.0, flax=0.0), 1)
    lengths = {backend: _pixels(sheet, colour) / BAR_HEIGHT for backend, colour in COLOURS.items()}
    assert lengths == {"torch": BAR_LENGTH / 2, "tf": BAR_LENGTH, "flax": 0}


def test_as_many_labels_as_asked_for_have_bars(samples: Path) -> None:
    sheets = [draw_sheet(samples, EXPECTED, _probabilities(flax=0.5), top) for top in (1, 2, 3)]
    assert [_pixels(sheet, COLOURS["flax"]) / BAR_HEIGHT / BAR_LENGTH for sheet in sheets] == [0.5, 0.75, 0.75]


@pytest.mark.parametrize(("expected", "ticked"), [("ape", True), ("bee", True), ("cow", False)])
def test_the_expected_label_is_ticked_where_it_is_shown(samples: Path, expected: str, ticked: bool) -> None:
    sheet = draw_sheet(samples, {"a.png": expected}, _probabilities(torch=0.75), 2)
    assert (_pixels(sheet, TICK) > 50) == ticked


def test_transparent_pixels_are_white(tmp_path: Path) -> None:
    Image.new("RGBA", (30, 40), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert _pixels(draw_sheet(tmp_path, {"a.png": "ape"}, _probabilities(torch=0.75), 3), "black") == 0


def test_the_file_is_the_same_each_time_and_nothing_is_left_beside_it(samples: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "sheets" / name for name in ("1.png", "2.png")]
    for path in paths:
        write_sheet(draw_sheet(samples, EXPECTED, _probabilities(torch=0.5, tf=0.5, flax=0.5), 3), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted((tmp_path / "sheets").iterdir()) == paths
