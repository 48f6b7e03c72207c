"""Which version of Triclip this is."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path

_PROJECT_FILE = Path(__file__).parents[1] / "pyproject.toml"


def version() -> str:
    """The version of the installed distribution, or that of the checkout that this is run from."""
    try:
        return installed_version("triclip")
    except PackageNotFoundError:
        declared: str = tomllib.loads(_PROJECT_FILE.read_text(encoding="utf-8"))["project"]["version"]
        return declared
