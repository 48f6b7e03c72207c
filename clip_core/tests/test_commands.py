import errno
import json
import os
import signal
import subprocess
import sys
from typing import Any

import click
import pytest
from click.testing import CliRunner

from clip_core.commands import CommandGroup, echo, printable
from clip_core.errors import InputError

EVIL = "a\x1b[31mb\x9bc\u202ed\u2066e\rf\udcffg\x7f"
ESCAPED = "a\\u001b[31mb\\u009bc\\u202ed\\u2066e\\u000df\\udcffg\\u007f"
PROGRAM = "import clip_core.tests.test_commands as tests; tests.main()"


@click.command()
@click.argument("kind")
def fail(kind: str) -> None:
    if kind == "interrupted":
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what a script starts in the background
        os.kill(os.getpid(), signal.SIGINT)
    if kind == "refused":
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), EVIL)
    raise InputError(f"expected this, got {EVIL}") if kind == "foreseen" else RuntimeError(kind)


@click.command()
def say() -> None:
    for _ in range(20_000):
        echo("the same line again and again")


main = CommandGroup(commands=[fail, say])


def _run(*words: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", PROGRAM, *words], stderr=subprocess.PIPE, text=True, **options)


def test_an_error_of_triclip_is_one_message_and_exit_code_2() -> None:
    result = CliRunner().invoke(main, ["fail", "foreseen"])
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"Error: expected this, got {ESCAPED}\n")


def test_what_the_system_refuses_is_one_message_and_exit_code_2() -> None:
    result = CliRunner().invoke(main, ["fail", "refused"])
    assert (result.exit_code, result.stderr) == (2, f"Error: {ESCAPED}: File name too long.\n")


def test_any_other_error_is_not_caught() -> None:
    with pytest.raises(RuntimeError, match="odd"):
        CliRunner().invoke(main, ["fail", "odd"], catch_exceptions=False)


def test_what_steers_a_terminal_is_escaped_as_in_json() -> None:
    assert printable(EVIL) == ESCAPED
    assert json.loads(f'"{ESCAPED}"') == EVIL
    assert printable("ünïcode 日本語 😀\n\ttext") == "ünïcode 日本語 😀\n\ttext"


def test_wrong_words_on_the_command_line_are_escaped_too() -> None:
    result = CliRunner().invoke(main, [f"--{EVIL}"])
    assert result.exit_code == 2
    assert printable(result.stderr) == result.stderr
    assert "Usage: " in result.stderr


@pytest.mark.parametrize("words", [["say"], ["--help"]])
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a file that is always full")
def test_a_full_disk_behind_the_output_is_one_message_and_exit_code_2(words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        result = _run(*words, stdout=full)
    expected = "Error: the output cannot be written: No space left on device.\n"
    assert (result.returncode, result.stderr) == (2, expected)


def test_output_that_nobody_reads_ends_the_command_without_a_word() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        result = _run("say", stdout=pipe)
    assert (result.returncode, result.stderr) == (141, "")


def test_an_interruption_has_its_own_exit_code() -> None:
    result = _run("fail", "interrupted", stdout=subprocess.DEVNULL)
    assert (result.returncode, result.stderr.strip()) == (130, "Interrupted.")
