"""Renders the demo's sample pictures from Debian's package ``openclipart-svg``, which the model was not trained on.

apt-get download openclipart-svg && dpkg -x openclipart-svg_*.deb openclipart
python -m pretraining.samples openclipart/usr/share/openclipart/svg
"""

from __future__ import annotations

import argparse
import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import resvg_py
from PIL import Image

from clip_core.checkpoint.files import write_text_atomically

SAMPLES = {
    "apple": "food/fruit/apple.svg",
    "banana": "food/fruit/banana.svg",
    "car": "transportation/car_jamin_ellis_.svg",
    "cat": "animals/mammals/cartoon_cat_gerald_g._01.svg",
    "guitar": "recreation/music/guitar_jarno_vasamaa1.svg",
    "mushroom": "plants/mushroom.svg",
    "snowman": "recreation/holiday/snowman_01.svg",
    "umbrella": "tools/umbrella.svg",
}
"""Label -> drawing. Chosen by eye, before any score was seen."""
SIDE = 256
FOLDER = Path(__file__).parents[1] / "triclip" / "samples"
RDF, DC, CC = (
    "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}",
    "{http://purl.org/dc/elements/1.1/}",
    "{http://web.resource.org/cc/}",
)
PUBLIC_DOMAIN = "http://web.resource.org/cc/PublicDomain"
NOTICE_HEAD = """Sample pictures
===============

Drawings of the Open Clip Art Library as packaged by Debian (openclipart-svg 1:0.18+dfsg-19), rendered as PNG.
Each file says of itself that it is in the public domain (Creative Commons public domain dedication).
The embedded checkpoint was not trained on this collection. The pictures were chosen by eye as clear drawings of
everyday things, before any score was seen, and none was exchanged afterwards: the shaded car in perspective stays,
though the checkpoint takes it for an umbrella. Titles are quoted as the files give them, some of them wrongly.

"""


def render_picture(svg: Path) -> Image.Image:
    """The drawing cut to its content, on a white square of `SIDE` pixels."""
    png = resvg_py.svg_to_bytes(svg_path=str(svg), width=4 * SIDE, dpi=96, skip_system_fonts=True)
    drawing = Image.open(io.BytesIO(png)).convert("RGBA")
    drawing = drawing.crop(drawing.getchannel("A").getbbox())
    drawing.thumbnail((SIDE - 16, SIDE - 16), Image.Resampling.LANCZOS)
    picture = Image.new("RGBA", (SIDE, SIDE), "white")
    picture.alpha_composite(drawing, ((SIDE - drawing.width) // 2, (SIDE - drawing.height) // 2))
    return picture.convert("RGB")


def credit(svg: Path) -> tuple[str, str]:
    """Title and author as the file says them.

    Raises:
        ValueError: the file does not say that it is in the public domain.
    """
    tree = ElementTree.parse(svg)
    licences = {
        element.get(f"{RDF}resource", element.get(f"{RDF}about")) for element in tree.iter() if CC in element.tag
    }
    if PUBLIC_DOMAIN not in licences:
        raise ValueError(f"{svg}: expected the mark {PUBLIC_DOMAIN}, found {sorted(filter(None, licences))}")
    title = next((e.text for e in tree.iter(f"{DC}title") if e.text), svg.stem)
    authors = [e.text for creator in tree.iter(f"{DC}creator") for e in creator.iter(f"{DC}title") if e.text]
    return title.strip(), (authors[0].strip() if authors else "unknown")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="the folder usr/share/openclipart/svg")
    source = parser.parse_args().source
    FOLDER.mkdir(parents=True, exist_ok=True)
    notice = NOTICE_HEAD
    for label, path in SAMPLES.items():
        title, author = credit(source / path)
        render_picture(source / path).quantize(128).save(FOLDER / f"{label}.png", optimize=True)
        notice += f'{label}.png: "{title}" by {author}, public domain ({path})\n'
    write_text_atomically(FOLDER / "NOTICE", notice)
    labels = {f"{label}.png": label for label in SAMPLES}
    write_text_atomically(FOLDER / "labels.json", json.dumps(labels, indent=2) + "\n")


if __name__ == "__main__":
    main()
