from __future__ import annotations

import numpy as np
import pytest

from pretraining.icons import Icon
from pretraining.render import SIDE, paper, render, restyle

WIDE = Icon(
    style="test",
    name="bar",
    body='<path fill="#fa0" d="M4 2h40v16H4z"/>',
    view_box=(0, 0, 48, 20),
    concept=0,
)


def test_a_wide_drawing_is_padded_to_a_square() -> None:
    pixels = render(WIDE, "plain")
    assert pixels.shape == (SIDE, SIDE, 4)
    rows, columns = np.nonzero(pixels[..., 3] > 127)
    assert (rows.min() + rows.max(), columns.min() + columns.max()) == (SIDE - 1, SIDE - 1)
    assert np.ptp(columns) > 2 * np.ptp(rows)
    assert pixels[SIDE // 2, SIDE // 2].tolist() == [255, 170, 0, 255]


def test_inked_has_a_black_edge_and_line_a_white_inside() -> None:
    inked, line = render(WIDE, "inked"), render(WIDE, "line")
    for pixels in (inked, line):
        rows, _ = np.nonzero(pixels[..., 3] == 255)
        assert pixels[rows.min(), SIDE // 2, :3].max() < 30
    assert inked[SIDE // 2, SIDE // 2, :3].tolist() == [255, 170, 0]
    assert line[SIDE // 2, SIDE // 2, :3].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("colour", "expected"),
    [("#fc0", "#fff"), ("#45413c", "#000"), ("none", "none"), ("url(#gradient)", "#fff"), ("#000080", "#000")],
)
def test_paper(colour: str, expected: str) -> None:
    assert paper(colour) == expected


def test_plain_is_left_alone() -> None:
    assert restyle(WIDE.body, "plain", 48) == WIDE.body
