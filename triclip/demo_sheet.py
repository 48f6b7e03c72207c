"""Draws the answers of `triclip.demo` as one picture: each sample, its best labels, and a bar per backend."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from clip_core.checkpoint.files import written_beside

Scores = Mapping[str, Mapping[str, float]]
"""Picture, label, and a number."""

COLOURS = {"torch": "#d55e00", "tf": "#f0b000", "flax": "#0072b2"}
"""Of each backend's bars; people who are colour-blind tell them apart."""
INK, GREY, TRACK, TICK = "#1f2328", "#6e7781", "#eceff2", "#1a7f37"

# Pixels, twice those that a README shows, so that the sheet is sharp on dense screens.
COLUMNS = 2
PICTURE = 256
BAR_LENGTH, BAR_HEIGHT, BAR_STEP = 556, 10, 13
TEXT_HEIGHT, LABEL_STEP = 38, 91
MARGIN, GAP, HEADER = 40, 48, 80
CELL_WIDTH = PICTURE + GAP // 2 + BAR_LENGTH
FONT_SIZE = 30


def draw_sheet(
    samples: Path, expected: Mapping[str, str], probabilities: Mapping[str, Scores], top: int
) -> Image.Image:
    """The sheet, 1800 pixels wide, in RGB; a tick marks the expected label where it is among the ``top`` ones.

    Args:
        samples: The directory of the pictures.
        expected: The label of each picture, by file name.
        probabilities: By backend; the first orders the labels and gives the percentages.
        top: How many labels to show of each picture.

    Raises:
        OSError: a picture cannot be read.
    """
    cell_height = max(PICTURE, top * LABEL_STEP)
    rows = -(-len(expected) // COLUMNS)
    width = 2 * MARGIN + COLUMNS * CELL_WIDTH + (COLUMNS - 1) * GAP
    sheet = Image.new("RGB", (width, 2 * MARGIN + HEADER + rows * (cell_height + GAP) - GAP), "white")
    draw = ImageDraw.Draw(sheet)
    draw.font = ImageFont.load_default(size=FONT_SIZE)
    _draw_legend(draw, list(probabilities))
    for number, (picture, label) in enumerate(expected.items()):
        row, column = divmod(number, COLUMNS)
        left = MARGIN + column * (CELL_WIDTH + GAP)
        upper = MARGIN + HEADER + row * (cell_height + GAP)
        with Image.open(samples / picture) as image:
            thumbnail = ImageOps.pad(image.convert("RGBA"), (PICTURE, PICTURE))
        sheet.paste(thumbnail, (left, upper), thumbnail)
        by_backend = {backend: scores[picture] for backend, scores in probabilities.items()}
        _draw_labels(draw, left + PICTURE + GAP // 2, upper, label, by_backend, top)
    return sheet


def write_sheet(sheet: Image.Image, path: Path) -> None:
    """Writes the sheet as a PNG with a palette, a third as large as in RGB; to be seen whole or not at all."""
    with written_beside(path) as temporary:
        sheet.quantize(dither=Image.Dither.NONE).save(temporary, format="PNG", optimize=True)


def _draw_legend(draw: ImageDraw.ImageDraw, backends: list[str]) -> None:
    left = MARGIN
    for backend in backends:
        draw.rectangle((left, MARGIN + 3, left + 27, MARGIN + 30), COLOURS[backend])
        draw.text((left + 40, MARGIN + 17), backend, INK, anchor="lm")
        left += 80 + round(draw.textlength(backend))
    _draw_tick(draw, left, MARGIN)
    draw.text((left + 40, MARGIN + 17), "expected", INK, anchor="lm")


def _draw_tick(draw: ImageDraw.ImageDraw, left: int, upper: int) -> None:
    draw.line([(left + 2, upper + 18), (left + 10, upper + 26), (left + 26, upper + 7)], TICK, width=5, joint="curve")


def _draw_labels(
    draw: ImageDraw.ImageDraw,
    left: int,
    upper: int,
    expected: str,
    by_backend: Mapping[str, Mapping[str, float]],
    top: int,
) -> None:
    """The best labels below one another: a line of text, then a bar per backend on a track that is 100 % long."""
    first = next(iter(by_backend.values()))
    for label in sorted(first, key=first.__getitem__, reverse=True)[:top]:
        colour = INK if label == expected else GREY
        draw.text((left, upper + 17), label, colour, anchor="lm")
        draw.text((left + BAR_LENGTH, upper + 17), f"{first[label]:.2%}", colour, anchor="rm")
        if label == expected:
            _draw_tick(draw, left + 12 + round(draw.textlength(label)), upper)
        for number, (backend, scores) in enumerate(by_backend.items()):
            y = upper + TEXT_HEIGHT + number * BAR_STEP
            draw.rectangle((left, y, left + BAR_LENGTH - 1, y + BAR_HEIGHT - 1), TRACK)
            if length := round(scores[label] * BAR_LENGTH):
                draw.rectangle((left, y, left + length - 1, y + BAR_HEIGHT - 1), COLOURS[backend])
        upper += LABEL_STEP
