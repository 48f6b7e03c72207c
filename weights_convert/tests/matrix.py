"""Every format into every other at real size, by digest:

    python -m weights_convert.tests.matrix [--dtype float32|float16|bfloat16|mixed ...]

The checkpoint has the sizes of ViT-B/32 and random weights: 605 MB in float32. A cell converts, reads the result back
and compares its digest with that of the first file; a configuration that has changed counts as lost too. The directory
for temporary files needs 6 GB.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click

from clip_core.checkpoint.saving import save_checkpoint
from clip_core.config import CLIPConfig
from weights_convert import convert, inspect, open_source
from weights_convert.tests import checkpoints

VIT_B_32 = CLIPConfig(text_config={"bos_token_id": 49406, "eos_token_id": 49407})
DTYPES = (*checkpoints.DTYPES, "mixed")


def cell(given: Path, to: str, directory: Path, sha256: str) -> str:
    """What became of the weights and the configuration on the way into a format."""
    path = checkpoints.destination(directory, to, "cell_")
    done = convert(given, path, to=to, overwrite=True)
    config = open_source(path).model.config
    if done.sha256 != sha256 or done.source_sha256 != sha256:
        return "LOST"
    expected = open_source(given).model.config
    return "same" if config == expected else "CONFIG"


def matrix(dtype: str, directory: Path) -> dict[str, dict[str, str]]:
    """The outcome of every cell, by source and by target."""
    start = directory / "start"
    save_checkpoint(start, VIT_B_32, checkpoints.weights(dtype, VIT_B_32), architecture="CLIPModel")
    sha256 = inspect(start).sha256
    outcomes = {}
    for given in checkpoints.FORMATS:
        source = checkpoints.destination(directory, given)
        convert(start, source, to=given, overwrite=True)
        outcomes[given] = {to: cell(source, to, directory, sha256) for to in checkpoints.FORMATS}
        row = "".join(f"{outcomes[given][to]:>11}" for to in checkpoints.FORMATS)
        click.echo(f"{given:<11}{row}")
    return outcomes


@click.command()
@click.option("--dtype", "dtypes", multiple=True, type=click.Choice(DTYPES), help="Again for more.  [default: all]")
def main(dtypes: tuple[str, ...]) -> None:
    """Prints a matrix for each dtype; exit code 1 if a cell has lost anything."""
    wrong = 0
    for dtype in dtypes or DTYPES:
        started = time.monotonic()
        click.echo(f"{dtype:<11}" + "".join(f"{to:>11}" for to in checkpoints.FORMATS))
        with tempfile.TemporaryDirectory() as directory:
            rows = matrix(dtype, Path(directory))
        wrong += sum(found != "same" for row in rows.values() for found in row.values())
        click.echo(f"{time.monotonic() - started:.0f} s")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
