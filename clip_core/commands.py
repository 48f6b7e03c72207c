"""What all commands share: errors as one message, exit codes, and texts that a terminal can be given.

Exit codes beside those of a command: 2 it could not be done, 130 interrupted, 141 nobody reads the output any more.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from contextlib import suppress
from io import StringIO, TextIOWrapper
from typing import Any, TextIO

import click

from clip_core.errors import CLIPError

INTERRUPTED, NOT_READ = 130, 141  # as shells have it: 128 and the number of the signal
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls but for the tabulator and the end of a line
    "\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"  # what turns the direction of writing or breaks lines
    "\ud800-\udfff]"  # bytes of file names that are no text
)


def printable(text: str) -> str:
    """The text with escapes for what would steer a terminal, such as are valid in JSON too.

    Names of files and tensors come from strangers: colours, cursor movements and reversed texts could hide or forge
    what a command says.
    """
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def echo(text: str = "", *, err: bool = False) -> None:
    """Prints a text, made `printable`; all that commands print goes through here.

    Raises:
        CannotRun: the text cannot be written.
    """
    stream = sys.stderr if err else sys.stdout
    try:
        click.echo(printable(text), err=err)
    except OSError as error:
        _silence(stream)
        if error.errno == errno.EPIPE:
            sys.exit(NOT_READ)
        raise CannotRun(f"the output cannot be written: {error.strerror}.") from error


def _silence(stream: TextIO) -> None:
    """Keeps Python from trying once more, at its end, to write what is left in a stream."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


class CannotRun(click.ClickException):
    """What keeps a command from running at all: exit code 2, as for wrong options."""

    exit_code = 2

    def format_message(self) -> str:
        return printable(self.message)


class CommandGroup(click.Group):
    """Subcommands; a `CLIPError` of one, or what the system refuses, ends it with a message of one line or list."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CLIPError as error:
            raise CannotRun(str(error)) from error
        except OSError as error:
            place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
            raise CannotRun(f"{place}{error.strerror or error}.") from error

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        run: Any = super().main  # whose overloads have no place for what is only handed on
        if not standalone_mode:
            return run(*args, standalone_mode=False, **extra)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # an encoding that lacks a letter is no reason to stop
        try:
            code = run(*args, standalone_mode=False, **extra)
        except click.Abort:
            code = _said("Interrupted.", INTERRUPTED)
        except click.ClickException as error:
            message = StringIO()
            error.show(message)
            code = _said(message.getvalue().rstrip(), error.exit_code)
        except OSError as error:  # of click's own texts, such as --help
            _silence(sys.stdout)
            code = _said(f"Error: the output cannot be written: {error.strerror}.", CannotRun.exit_code)
        sys.exit(code if isinstance(code, int) else 0)


def _said(message: str, exit_code: int) -> int:
    """The exit code, when the message is on stderr, if anything can be written there."""
    with suppress(CannotRun):
        echo(message, err=True)
    return exit_code
