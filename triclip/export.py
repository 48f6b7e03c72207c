"""`triclip export`: a checkpoint as a program that other runtimes run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from clip_core.backends import choose_backend
from clip_core.checkpoint.files import read_json
from clip_core.checkpoint.locating import resolve_checkpoint
from clip_core.commands import echo
from clip_core.errors import CheckpointError, InputError
from triclip.checkpoints import check_native

_KEPT_FILES = ("config.json", "preprocessor_config.json", "processor_config.json")
"""Of a checkpoint, what goes into the file: sizes, and how pictures are prepared."""


@click.command(
    short_help="Write a checkpoint as an ONNX file.",
    epilog="Exit code: 0 it was written, 2 it could not be done.",
)
@click.argument("source", metavar="DIR|NAME")
@click.argument("destination", metavar="DST", type=click.Path(path_type=Path))
@click.option("--to", type=click.Choice(["onnx"]), default="onnx", show_default=True, help="The kind of file.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16", "int8"]),
    default="float32",
    show_default=True,
    help="Of the weights. float16 is computed in float32; int8 rounds the inputs of linear layers, too.",
)
@click.option(
    "--tower",
    type=click.Choice(["image", "text"]),
    help="Only this one, with its projection.  [default: both, to logits, or the one that is there]",
)
@click.option("--overwrite", is_flag=True, help="Replace DST if it is there and an ONNX file.")
def export(source: str, destination: Path, to: str, dtype: str, tower: Any, overwrite: bool) -> None:
    """Write a checkpoint as an ONNX file, of standard operators, for ONNX Runtime, OpenVINO and others.

    DST is the name of the file. Weights of more than 1.9 GB go into another beside it.
    """
    check_destination(destination, overwrite)
    choose_backend("onnx")
    import clip_onnx

    directory = resolve_checkpoint(source, part="weights and processor")
    check_native(directory)
    metadata = {name: _compact(directory / name) for name in _KEPT_FILES if (directory / name).exists()}
    architecture, only = _held(directory)
    if only and tower not in (None, only):
        raise InputError(f"{source} holds the {only} tower alone, got --tower {tower}. Leave it out.")
    model = getattr(clip_onnx, architecture).from_directory(directory)
    options = {} if only else {"tower": tower}
    try:
        written = model.export(destination, dtype=dtype, metadata=metadata, **options)
    except OSError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{destination}: cannot be written: {error}") from error
    for path in written:
        echo(f"{path}: {path.stat().st_size:,} bytes")
    one = only or tower
    echo(f"  {f'the {one} tower' if one else 'both towers'} of {source}, weights in {dtype}")


def _held(directory: Path) -> tuple[str, str | None]:
    """The class of the model of a checkpoint, by its config.json, and which tower it has if that is all."""
    path = directory / "config.json"
    stored = read_json(path) if path.exists() else {}
    named = stored.get("architectures")
    projected = isinstance(named, list) and any(str(name).endswith("WithProjection") for name in named)
    for kind, tower in (("Text", "text"), ("Vision", "image")):
        if stored.get("model_type") == f"clip_{kind.lower()}_model":
            return f"CLIP{kind}Model{'WithProjection' if projected else ''}", tower
    return "CLIPModel", None


def _compact(path: Path) -> str:
    return json.dumps(json.loads(path.read_text(encoding="utf-8")))


def check_destination(path: Path, overwrite: bool) -> None:
    """Raises `InputError` unless a file may be written there."""
    if path.is_dir():
        raise InputError(f"{path} is a directory; expected the name of a file to write, such as {path / 'clip.onnx'}.")
    if not path.exists():
        return
    if not overwrite:
        raise InputError(f"{path} is there already. Say --overwrite to replace it, or choose another.")
    with open(path, "rb") as file:
        if not looks_like_onnx(file.read(32)):
            raise InputError(f"{path} is no ONNX file, and nothing else is replaced. Choose another.")


def looks_like_onnx(start: bytes) -> bool:
    """Whether a file begins as those of the known writers do: the version of the format, then who wrote it."""
    return len(start) > 3 and start[0] == 0x08 and start[1] < 0x40 and start[2] == 0x12
