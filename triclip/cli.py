"""The `triclip` command. A subcommand's module is imported when it is called, a framework when a model is loaded."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from clip_core.errors import CLIPError

_COMMANDS = {
    "classify": "Say which of your labels each picture shows.",
    "convert": "Rewrite a checkpoint in another format, bit for bit.",
    "inspect": "Say what a checkpoint is.",
    "diff": "Compare two checkpoints, weight by weight.",
    "verify": "Check that a checkpoint is whole and computes the same everywhere.",
}
"""Name of each subcommand, which is also its function, and the line that --help shows."""

_MODULES = dict.fromkeys(("convert", "inspect", "diff", "verify"), "weights_convert.cli")
"""Where a subcommand's function is, if not in the module of its name beside this one."""


class CannotRun(click.ClickException):
    """What keeps a command from running at all: exit code 2, as for wrong options."""

    exit_code = 2


class LazyGroup(click.Group):
    """A group that lists its subcommands without importing them, and shows errors of Triclip as one message."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(_MODULES.get(cmd_name, f"triclip.{cmd_name}")), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CLIPError as error:
            raise CannotRun(str(error)) from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="triclip", prog_name="triclip")
def main() -> None:
    """CLIP for PyTorch, Keras/TensorFlow and JAX/Flax: one checkpoint, the same answers.

    `triclip COMMAND --help` explains a command.
    """
