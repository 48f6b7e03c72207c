"""The `triclip` command. A subcommand's module is imported when it is called, a framework when a model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import click

import triclip
from clip_core.commands import CommandGroup, echo


def _classify() -> click.Command:
    from triclip.classify import classify

    return classify


def _models() -> click.Command:
    from triclip.models import models

    return models


def _export() -> click.Command:
    from triclip.export import export

    return export


def _convert() -> click.Command:
    from weights_convert.cli import convert

    return convert


def _inspect() -> click.Command:
    from weights_convert.cli import inspect

    return inspect


def _diff() -> click.Command:
    from weights_convert.cli import diff

    return diff


def _verify() -> click.Command:
    from weights_convert.cli import verify

    return verify


class Subcommand(NamedTuple):
    """What imports a subcommand, and the line that --help shows of it."""

    load: Callable[[], click.Command]
    summary: str


_SUBCOMMANDS = {
    "classify": Subcommand(_classify, "Say which of your labels each picture shows."),
    "models": Subcommand(_models, "List the published models that have a name, or describe one."),
    "export": Subcommand(_export, "Write a checkpoint as an ONNX file."),
    "convert": Subcommand(_convert, "Rewrite a checkpoint in another format, bit for bit."),
    "inspect": Subcommand(_inspect, "Say what a checkpoint is."),
    "diff": Subcommand(_diff, "Compare two checkpoints, weight by weight."),
    "verify": Subcommand(_verify, "Check that a checkpoint is whole and computes the same everywhere."),
}


class LazyGroup(CommandGroup):
    """A group that lists its subcommands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _SUBCOMMANDS[cmd_name].load() if cmd_name in _SUBCOMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in _SUBCOMMANDS.items()])


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        echo(f"triclip, version {triclip.__version__}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def main() -> None:
    """CLIP for PyTorch, Keras/TensorFlow and JAX/Flax: one checkpoint, the same answers.

    `triclip COMMAND --help` explains a command.
    """
