import click
import pytest
from click.testing import CliRunner

from clip_core.commands import CommandGroup
from clip_core.errors import InputError


@click.command()
@click.argument("kind")
def fail(kind: str) -> None:
    raise InputError("expected this, got that") if kind == "foreseen" else RuntimeError(kind)


def test_an_error_of_triclip_is_one_message_and_exit_code_2() -> None:
    result = CliRunner().invoke(CommandGroup(commands=[fail]), ["fail", "foreseen"])
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", "Error: expected this, got that\n")


def test_any_other_error_is_not_caught() -> None:
    with pytest.raises(RuntimeError, match="odd"):
        CliRunner().invoke(CommandGroup(commands=[fail]), ["fail", "odd"], catch_exceptions=False)
