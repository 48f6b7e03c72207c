"""`triclip convert`, `inspect`, `diff` and `verify`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal

import click

from clip_core.backends import BACKENDS
from clip_core.checkpoint.tensors import WEIGHT_DTYPES
from clip_core.commands import echo
from clip_core.config import ACTIVATIONS
from weights_convert import comparison, conversion, inspection, verification
from weights_convert.formats import FORMATS
from weights_convert.known_models import GivenConfig, Unpublished
from weights_convert.progress import show_progress

if TYPE_CHECKING:
    from weights_convert.comparison import Difference

_EXIT_CODES = """\b
Exit code: 0 {good}, 1 {bad}, 2 it could not be done
(wrong options, nothing there, a refused or broken file)."""
_MOST_LINES = 20

_CONFIG_OPTIONS = (
    click.option(
        "--config",
        metavar="FILE|NAME",
        help="For weights without a configuration: a config.json or open_clip_config.json, a model such as ViT-B/32, "
        "or openai, for what its clip.load infers.",
    ),
    click.option(
        "--activation",
        type=click.Choice(ACTIVATIONS),
        help="Of weights of sizes that nobody published.  [default: quick_gelu, as in OpenAI's format]",
    ),
    click.option(
        "--head-width",
        type=click.IntRange(min=1),
        metavar="WIDTH",
        help="Of such a model's vision heads.  [default: 64]",
    ),
    click.option(
        "--text-head-width", type=click.IntRange(min=1), metavar="WIDTH", help="Of its text heads.  [default: 64]"
    ),
)


def _config(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say what model weights without a configuration are; the command gets them as one ``config``."""

    @wraps(command)
    def call(
        config: GivenConfig | None,
        activation: str | None,
        head_width: int | None,
        text_head_width: int | None,
        **others: Any,
    ) -> None:
        said: dict[str, Any] = {"activation": activation, "head_width": head_width, "text_head_width": text_head_width}
        given = {name: value for name, value in said.items() if value is not None}
        if config is not None and given:
            raise click.UsageError(f"--config says all; leave out --{next(iter(given)).replace('_', '-')}.")
        command(config=Unpublished(**given) if given else config, **others)

    described: Callable[..., None] = call
    for option in reversed(_CONFIG_OPTIONS):
        described = option(described)
    return described


_key = click.option(
    "--key", metavar="KEY", help="Of several models in a file, the one under this key, such as model_ema."
)
_prefix = click.option(
    "--prefix",
    metavar="PREFIX",
    help="Of several models in a file, the one with this in front of its names; the error lists them.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def _print_json(content: Mapping[str, Any]) -> None:
    echo(json.dumps(content, indent=2, ensure_ascii=False))


@click.command(short_help="Rewrite a checkpoint in another format, bit for bit.")
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST")
@click.option("--to", required=True, type=click.Choice(list(FORMATS)), help="The format of DST.")
@click.option(
    "--dtype",
    default="keep",
    show_default=True,
    type=click.Choice(["keep", *WEIGHT_DTYPES]),
    help="Of every weight of DST.",
)
@click.option("--max-shard-size", metavar="SIZE", help="Split hf, hf-tf and hf-flax, e.g. 2GB.  [default: 5GB]")
@_config
@_key
@_prefix
@click.option(
    "--verify",
    "check",
    default="tensors",
    show_default=True,
    type=click.Choice(["none", "tensors", "outputs"]),
    help="Read DST back and compare; with outputs also run SRC and DST, each in another framework.",
)
@click.option("--overwrite", is_flag=True, help="Replace DST if it is there.")
@click.option("--dry-run", is_flag=True, help="Check everything, write nothing.")
@_json
def convert(
    source: str,
    destination: str,
    to: str,
    dtype: str,
    max_shard_size: str | None,
    config: GivenConfig | None,
    key: str | None,
    prefix: str | None,
    check: Literal["none", "tensors", "outputs"],
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Rewrite a checkpoint in another format, bit for bit.

    SRC is a file or a directory of any of these formats; which one is detected. DST is a directory, or for openai a
    file. Configuration, tokenizer and preprocessor travel along. Nothing of SRC is executed.
    """
    done = conversion.convert(
        source,
        destination,
        to=to,
        dtype=dtype,
        max_shard_size=max_shard_size,
        config=config,
        key=key,
        prefix=prefix,
        verify=check,
        overwrite=overwrite,
        dry_run=dry_run,
        progress=show_progress,
    )
    if as_json:
        _print_json(done.to_dict())
        return
    echo(f"{done.source} ({done.source_format}) -> {done.destination} ({done.destination_format})")
    echo(f"  configuration: {done.config_origin}")
    echo(f"  {done.weights} weights, {done.parameters:,} parameters, {done.bytes:,} bytes, {_list(done.dtypes)}")
    for note in done.notes:
        echo(f"  {note}")
    if dry_run:
        echo("  nothing was written (--dry-run)")
        return
    echo(f"  sha256 {done.sha256}{', read back and the same' if done.verified else ''}")
    if done.source_sha256 != done.sha256:
        echo(f"  sha256 of the source, before the change of dtype: {done.source_sha256}")
    _print_differences(done.output_differences or {})


@click.command(short_help="Say what a checkpoint is.")
@click.argument("path", metavar="FILE|DIR")
@_config
@_key
@_prefix
@click.option("--tensors", is_flag=True, help="List every weight with dtype, shape and digest.")
@_json
def inspect(
    path: str, config: GivenConfig | None, key: str | None, prefix: str | None, tensors: bool, as_json: bool
) -> None:
    """Say what a checkpoint is: format, configuration, weights and their digest, which is the same in every format."""
    found = inspection.inspect(path, config=config, key=key, prefix=prefix, progress=show_progress)
    if as_json:
        _print_json(found.to_dict())
        return
    echo(f"{found.path}: {found.title} ({found.format}, {found.container}), {found.architecture}")
    echo(f"  {found.weights} weights, {found.parameters:,} parameters, {found.bytes:,} bytes")
    echo(f"  dtypes: {_list([f'{count} {name}' for name, count in found.dtypes.items()])}")
    echo(f"  configuration: {found.config_origin}")
    for name, tower in _towers(found.config).items():
        echo(f"    {name}: {_tower_line(tower)}")
    echo(f"  travelling along: {_list(found.files) or 'nothing'}")
    for note in found.notes:
        echo(f"  {note}")
    echo(f"  sha256 {found.sha256}")
    for line in found.tensors if tensors else ():
        echo(f"  {line}")


def _towers(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    towers = {name[:-7]: config[name] for name in ("text_config", "vision_config") if name in config}
    return towers or {config["model_type"]: config}


def _tower_line(tower: Mapping[str, Any]) -> str:
    line = "{num_hidden_layers} layers, width {hidden_size}, {num_attention_heads} heads, {hidden_act}".format(**tower)
    if "image_size" in tower:
        return f"{line}, {tower['image_size']} pixels in patches of {tower['patch_size']}"
    return f"{line}, {tower['max_position_embeddings']} tokens of {tower['vocab_size']}"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


@click.command(
    short_help="Compare two checkpoints, weight by weight.",
    epilog=_EXIT_CODES.format(good="the same", bad="different"),
)
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@_config
@_json
def diff(first: str, second: str, config: GivenConfig | None, as_json: bool) -> None:
    """Compare two checkpoints, weight by weight and setting by setting, whatever their formats."""
    found = comparison.diff(first, second, config=config, progress=show_progress)
    if as_json:
        _print_json(found.to_dict())
    else:
        echo(f"{first} ({found.formats[0]}) and {second} ({found.formats[1]})")
        echo(f"  {found.identical} weights are the same, bit for bit")
        _echo_some(_difference_lines(found))
    sys.exit(0 if found.same else 1)


def _difference_lines(found: Difference) -> list[str]:
    return [
        *(f"- {name}: only in the first" for name in found.only_first),
        *(f"+ {name}: only in the second" for name in found.only_second),
        *(f"! {name}: {a} and {b}" for name, (a, b) in {**found.shapes, **found.dtypes}.items()),
        *(f"! {name}: differs by up to {value:.3g}" for name, value in found.values.items()),
        *(f"! {name}: {a!r} and {b!r}" for name, (a, b) in found.config.items()),
    ]


def _print_differences(differences: Mapping[str, Mapping[str, float]]) -> None:
    for pair, outputs in differences.items():
        for name, value in outputs.items():
            echo(f"  {pair} {name}: largest difference {value:.1e}")


def _echo_some(lines: Sequence[str]) -> None:
    for line in lines[:_MOST_LINES]:
        echo(f"  {line}")
    if len(lines) > _MOST_LINES:
        echo(f"  ... and {len(lines) - _MOST_LINES} more (--json shows all)")


@click.command(
    short_help="Check that a checkpoint is whole and computes the same everywhere.",
    epilog=_EXIT_CODES.format(good="all is well", bad="something is wrong with it"),
)
@click.argument("path", metavar="FILE|DIR")
@click.option(
    "--backend",
    "backends",
    multiple=True,
    type=click.Choice(list(BACKENDS)),
    help="Run it there; repeat it to compare several.  [default: two that are installed]",
)
@_config
@_key
@_prefix
@_json
def verify(
    path: str, backends: Sequence[str], config: GivenConfig | None, key: str | None, prefix: str | None, as_json: bool
) -> None:
    """Check that a checkpoint is whole, that its weights are those of its configuration, and what it computes."""
    found = verification.verify(path, backends=backends, config=config, key=key, prefix=prefix, progress=show_progress)
    if as_json:
        _print_json(found.to_dict())
        sys.exit(0 if found.passed else 1)
    echo(f"{found.path}{f' ({found.format})' if found.format else ''}")
    for note in found.notes:
        echo(f"  {note}")
    if found.sha256:
        echo(f"  sha256 {found.sha256}")
    _print_differences(found.differences)
    if found.passed and len(found.backends) < 2:
        echo(f"  {_list(found.backends) or 'no framework'} was run: nothing to compare")
    _echo_some(found.problems)
    echo("  all is well" if found.passed else "  something is wrong with it")
    sys.exit(0 if found.passed else 1)
