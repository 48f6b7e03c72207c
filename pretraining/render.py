"""Renders the drawings to 64 x 64 RGBA, as they are and in restyled versions, into one file per style.

A model that sees each permissive style in one rendering learns the rendering. So each drawing is also shown with ink
around its shapes (`inked`) and as ink on paper (`line`).
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from pretraining.fetch import CACHE
from pretraining.icons import Icon, load_icons

SIDE = 64
VARIANTS = ("plain", "inked", "line")
INK_WIDTH = 0.026
"""Width of the ink as a fraction of the view box."""
DARK = 0.3
"""Fills with less than this luminance stay ink in the `line` variant."""


@dataclass(frozen=True, kw_only=True)
class Drawings:
    """All renderings of one style: ``pixels`` [drawing, height, width, RGBA] uint8 and the concept of each."""

    pixels: np.ndarray
    concepts: np.ndarray
    variants: np.ndarray


def load_drawings(style: str, variants: tuple[str, ...] = VARIANTS) -> Drawings:
    """The renderings of a style, made when they are not in the cache."""
    path = CACHE / "drawings" / f"{style}.npz"
    if not path.exists():
        render_style(style, path)
    with np.load(path) as file:
        keep = np.isin(file["variants"], [VARIANTS.index(variant) for variant in variants])
        return Drawings(pixels=file["pixels"][keep], concepts=file["concepts"][keep], variants=file["variants"][keep])


def render_style(style: str, path: Path) -> None:
    rows = [
        (render(icon, variant), icon.concept, VARIANTS.index(variant))
        for icon in tqdm(list(load_icons(style)), desc=f"render {style}")
        for variant in VARIANTS
    ]
    pixels, concepts, variants = (np.stack(column) for column in zip(*rows, strict=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp.npz")
    np.savez_compressed(beside, pixels=pixels, concepts=concepts, variants=variants.astype(np.uint8))
    beside.rename(path)


def render(icon: Icon, variant: str) -> np.ndarray:
    """One drawing, padded to a square: [height, width, RGBA] uint8, alpha not premultiplied."""
    import resvg_py  # here, since all else works from the cache without a rasteriser

    left, top, width, height = icon.view_box
    side = max(width, height)
    view_box = f"{left - (side - width) / 2} {top - (side - height) / 2} {side} {side}"
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{view_box}" '
        f'width="{SIDE}" height="{SIDE}">{restyle(icon.body, variant, side)}</svg>'
    )
    png = resvg_py.svg_to_bytes(svg_string=svg, width=SIDE, height=SIDE, skip_system_fonts=True)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def restyle(body: str, variant: str, side: float) -> str:
    """The inside of an ``<svg>``, redrawn in a variant."""
    if variant == "plain":
        return body
    if variant == "line":
        body = re.sub(r'(fill|stop-color)="([^"]*)"', lambda match: f'{match[1]}="{paper(match[2])}"', body)
    return f'<g stroke="#000" stroke-width="{side * INK_WIDTH:.3f}" stroke-linejoin="round">{body}</g>'


def paper(colour: str) -> str:
    """White for a light colour or gradient, black for a dark colour; what is not painted stays so."""
    if colour in ("none", "currentColor"):
        return colour
    digits = re.fullmatch(r"#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})", colour)
    if digits is None:
        return "#fff"
    step = len(digits[1]) // 3
    red, green, blue = (int(digits[1][i * step : (i + 1) * step] * (2 // step), 16) / 255 for i in range(3))
    return "#000" if 0.299 * red + 0.587 * green + 0.114 * blue < DARK else "#fff"
