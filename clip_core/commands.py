"""Commands that show an error of Triclip as one message."""

from __future__ import annotations

from typing import Any

import click

from clip_core.errors import CLIPError


class CannotRun(click.ClickException):
    """What keeps a command from running at all: exit code 2, as for wrong options."""

    exit_code = 2


class CommandGroup(click.Group):
    """Subcommands; a `CLIPError` of one ends it with the message."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CLIPError as error:
            raise CannotRun(str(error)) from error
