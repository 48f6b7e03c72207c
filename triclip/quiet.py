"""Keeps what frameworks say when they start from a command's terminal."""

from __future__ import annotations

import os
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

from clip_core.errors import CLIPError


@contextmanager
def _led_away() -> Iterator[tuple[IO[bytes], int]]:
    """Leads standard error to a temporary file; gives that and a descriptor of where it leads otherwise."""
    with tempfile.TemporaryFile() as kept, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        terminal = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield kept, terminal
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


class _StandardError:
    """The process's descriptor 2, which all that are quiet at the same time share.

    Were each to put back what it found, the first would put back the terminal, and the last the file that the first
    had put in its place: a file that is deleted by then.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.restore = ExitStack()

    def take(self) -> None:
        """Leads it away, if it is not yet."""
        with self.lock:
            if self.users == 0:
                self.kept, self.terminal = self.restore.enter_context(_led_away())
            self.users += 1

    def give_back(self) -> None:
        """Leads it back, if nobody else is quiet any more."""
        with self.lock:
            self.users -= 1
            if self.users == 0:
                self.restore.close()

    def show(self) -> None:
        """Writes what was kept to where it leads otherwise."""
        with self.lock:
            self.kept.seek(0)
            os.write(self.terminal, self.kept.read())


_STANDARD_ERROR = _StandardError()


@contextmanager
def quiet_framework() -> Iterator[None]:
    """Keeps the greetings of frameworks from the terminal; if something unforeseen happens they are printed after all.

    TensorFlow writes some of them to the file descriptor before any of its switches is read. Several threads may load
    at the same time.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _STANDARD_ERROR.take()
    try:
        yield
    except CLIPError:
        raise
    except BaseException:
        _STANDARD_ERROR.show()
        raise
    finally:
        _STANDARD_ERROR.give_back()
