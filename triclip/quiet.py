"""Keeps what frameworks say when they start from a command's terminal."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from clip_core.errors import CLIPError


@contextmanager
def quiet_framework() -> Iterator[None]:
    """Keeps the greetings of frameworks from the terminal; if something unforeseen happens they are printed after all.

    TensorFlow writes some of them to the file descriptor before any of its switches is read.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryFile() as kept, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stderr = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except CLIPError:
            raise
        except BaseException:
            os.dup2(stderr, 2)
            kept.seek(0)
            os.write(2, kept.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
