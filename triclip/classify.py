"""`triclip classify`: which of some labels does each picture show (zero-shot; CLIP paper, section 3.1)."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

import click

from clip_core.backends import BACKENDS, choose_backend
from clip_core.checkpoint.locating import EMBEDDED_NAME
from clip_core.commands import echo
from clip_core.image.loading import load_image
from triclip.garbage import without_collection
from triclip.images import NEED_CONVERSION, Picture, batches, find_images, read_ahead
from triclip.label_options import SetOrFile, choose, label_sets, label_vectors, template_sets
from triclip.labels import DEFAULT_TEMPLATE, parse_labels, parse_templates
from triclip.progress import progress
from triclip.quiet import quiet_framework

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from triclip.encoder import Encoder
    from triclip.engines import Vectors
    from triclip.images import Pixels

    Logits = NDArray[np.float32]
    Result = tuple[Picture, Logits | None]

_EPILOG = """\b
Exit code: 0 all pictures were classified, 1 some could not be read,
2 nothing was done (wrong options, no such checkpoint, missing backend)."""


@click.command(short_help="Say which of your labels each picture shows.", epilog=_EPILOG)
@click.argument("images", metavar="IMAGE...", nargs=-1)
@click.option("--label", "labels", metavar="TEXT", multiple=True, help="A label; repeat it for each.")
@click.option(
    "--labels",
    "more_labels",
    metavar="FILE|imagenet",
    type=SetOrFile(label_sets, parse_labels),
    help="More labels, one per line (UTF-8; blank lines and # comments are left out), or in a .json file a list; - is "
    "standard input; imagenet is the classes of ImageNet.",
)
@click.option(
    "--template",
    "templates",
    metavar="TEXT",
    multiple=True,
    help="The text that stands for a label, {} in its place; the average of several, if repeated.  "
    f"[default: {DEFAULT_TEMPLATE}]",
)
@click.option(
    "--templates",
    "more_templates",
    metavar="FILE|imagenet|simple",
    type=SetOrFile(template_sets, parse_templates),
    help="More templates, one per line as of --labels; or in a .json file a list, or an object with a list of texts "
    "for each label. imagenet is the 80 that CLIP was published with, simple 7 of them.",
)
@click.option(
    "--save-head",
    metavar="FILE",
    type=click.Path(),
    help="Also writes what the labels became to a .safetensors file; without IMAGE nothing else is done.",
)
@click.option(
    "--head",
    metavar="FILE",
    type=click.Path(),
    help="Labels and templates as --save-head wrote them with the same model: nothing is computed anew.",
)
@click.option("--model", metavar="DIR|NAME", default=EMBEDDED_NAME, show_default=True, help="The checkpoint.")
@click.option("--backend", type=click.Choice(list(BACKENDS)), help="Computes with it.  [default: the first installed]")
@click.option("--device", metavar="NAME", help="Such as cpu, gpu or cuda:1.  [default: a GPU if there is one]")
@click.option(
    "--dtype",
    metavar="TYPE",
    help="float32, bfloat16, float16, int8 (torch, onnx), or auto: as stored.  [default: float32]",
)
@click.option(
    "--exif-rotation/--no-exif-rotation",
    default=True,
    help="Turn pictures as the camera says that they stand, or take them as they lie.  [default: turn]",
)
@click.option("--top", metavar="K", type=click.IntRange(min=1), default=5, show_default=True, help="How many labels.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per picture and line, in UTF-8.")
@click.option("--batch-size", metavar="N", type=click.IntRange(min=1), default=32, show_default=True)
def classify(
    images: Sequence[str],
    labels: Sequence[str],
    more_labels: Sequence[str] | None,
    templates: Sequence[str],
    more_templates: Any,
    save_head: str | None,
    head: str | None,
    model: str,
    backend: str | None,
    device: str | None,
    dtype: str | None,
    exif_rotation: bool,
    top: int,
    as_json: bool,
    batch_size: int,
) -> None:
    """Say which of your labels each picture shows.

    IMAGE is a file, a folder (with all pictures below it) or a pattern such as 'photos/**/*.jpg'. The probabilities of
    a picture are over all labels and add up to one.
    """
    _make_streams_tolerant(as_json)
    warnings.filterwarnings("ignore", module="PIL")  # what is wrong with a picture is an error that names it
    if not images and save_head is None:
        raise click.UsageError("Missing argument 'IMAGE...'.")
    wanted = choose(labels, more_labels, templates, more_templates, head, save_head)
    files, skipped = find_images(images) if images else ([], {})
    _note_skipped(skipped)
    encoder = _load(model, choose_backend(backend), device, dtype)

    def read(path: str) -> Pixels:
        return encoder.prepare_image(load_image(path, apply_exif_rotation=exif_rotation))

    unread = 0
    with read_ahead(files, read, 2 * batch_size) as pictures:
        names, label_embeds = label_vectors(wanted, encoder, batch_size)
        with progress(len(files), "pictures", long=len(files) > batch_size) as shown:
            for batch in batches(pictures, batch_size):
                for picture, logits in _classify(encoder, label_embeds, batch):
                    best = None if logits is None else best_labels(names, logits, top)
                    if best is None:
                        unread += 1
                        shown.echo(f"Error: {picture.problem}", err=True)
                    if as_json:
                        shown.echo(_as_json(picture, best, model, encoder.backend))
                    elif best is not None:
                        shown.echo(_as_table(picture, best))
                shown.advance(len(batch))
    if unread:
        echo(f"{unread} of {len(files)} pictures could not be read.", err=True)
        sys.exit(1)


def _note_skipped(skipped: Mapping[str, int]) -> None:
    if skipped:
        most_first = sorted(skipped.items(), key=lambda item: (-item[1], item[0]))
        listed = ", ".join(f"{count} {kind}" for kind, count in most_first)
        unreadable = " or ".join(sorted(NEED_CONVERSION.intersection(skipped)))
        hint = f" Pillow cannot read {unreadable}: convert them to JPEG." if unreadable else ""
        total = sum(skipped.values())
        echo(f"Note: files in folders left out, having no picture's name: {total} ({listed}).{hint}", err=True)


def _load(model: str, backend: str, device: str | None, dtype: str | None) -> Encoder:
    from triclip.encoder import load

    os.environ["KERAS_BACKEND"] = "tensorflow"  # the command decides, whatever the user's own programs use
    with quiet_framework(), without_collection():
        return load(model, backend, device, dtype)


def _classify(encoder: Encoder, label_embeds: Vectors, pictures: Sequence[Picture]) -> list[Result]:
    """Logits of one batch, in its order."""
    import numpy as np

    pixels = [picture.pixels for picture in pictures if picture.pixels is not None]
    logits = iter(encoder.logits(encoder.encode_pixels(np.stack(pixels)), label_embeds) if pixels else ())
    return [(picture, None if picture.pixels is None else next(logits)) for picture in pictures]


def best_labels(labels: Sequence[str], logits: Logits, top: int) -> list[dict[str, Any]]:
    """The ``top`` labels with the largest logits, best first, with their probabilities among all labels."""
    import numpy as np

    from triclip.encoder import softmax

    probabilities = softmax(logits)
    order = np.argsort(-logits, kind="stable")[:top]
    return [
        {"label": labels[i], "probability": float(probabilities[i]), "logit": float(logits[i])} for i in order.tolist()
    ]


def _as_json(picture: Picture, best: list[dict[str, Any]] | None, model: str, backend: str) -> str:
    outcome = {"error": picture.problem} if best is None else {"labels": best}
    return json.dumps(
        {"path": picture.path, **outcome, "model": model, "backend": backend}, ensure_ascii=False, allow_nan=False
    )


def _as_table(picture: Picture, best: list[dict[str, Any]]) -> str:
    rows = [f"  {row['probability']:7.2%}  {row['label']}" for row in best]
    return "\n".join([picture.path, *rows])


def _make_streams_tolerant(as_json: bool) -> None:
    """Lets every path and label be printed: what an encoding lacks becomes an escape. JSON is UTF-8 always."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            encoding = "utf-8" if as_json and stream is sys.stdout else None
            stream.reconfigure(encoding=encoding, errors="backslashreplace")
