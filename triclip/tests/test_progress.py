import io
import sys

import pytest

from triclip import progress


def test_short_work_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress(3, "pictures", long=False) as shown:
        shown.advance(3)
        shown.echo("result")
    assert capsys.readouterr() == ("result\n", "")


def test_elsewhere_than_on_a_terminal_there_are_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([0.0, 4.0, 11.0, 11.0, 12.0, 30.0, 30.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(moments))
    with progress.progress(4000, "pictures", long=True) as shown:
        for _ in range(4):
            shown.advance(1000)
    assert capsys.readouterr().err == "2,000 of 4,000 pictures\n4,000 of 4,000 pictures\n"


def test_a_terminal_gets_a_bar_on_stderr_that_results_do_not_tear(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.progress(50, "pictures", long=True) as shown:
        shown.advance(25)
        shown.echo("result")
    assert "/50" in terminal.getvalue()
    assert "result" not in terminal.getvalue()
    assert capsys.readouterr().out == "result\n"
