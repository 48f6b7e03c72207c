"""What the packaging claims is what the checks check."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]


def test_types_are_checked_in_every_package_that_ships_them():
    assert {path.parent.name for path in ROOT.glob("*/py.typed")} == set(SETTINGS["mypy"]["packages"])


def test_frameworks_with_types_are_not_skipped():
    skipped = [name for rule in SETTINGS["mypy"]["overrides"] if "follow_imports" in rule for name in rule["module"]]
    assert not {"torch.*", "numpy.*"} & set(skipped)


def test_contracts_cover_every_package():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert set(SETTINGS["importlinter"]["root_packages"]) == packages


def test_the_lock_names_versions_and_nothing_of_one_machine():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.lstrip().startswith("#")]
    assert [line for line in lines if "==" not in line or "/" in line or line.startswith(("nvidia-", "-"))] == []


def test_the_page_of_exports_is_what_the_code_says():
    command = [sys.executable, str(ROOT / "docs" / "make_api.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_example_is_described_and_executed():
    examples = {path.name for path in (ROOT / "examples").glob("*.py")}
    assert set(re.findall(r"examples/(\w+\.py)", (ROOT / "examples" / "README.md").read_text())) == examples
    executed = "".join(path.read_text() for path in ROOT.glob("clip_*/tests/test_examples.py"))
    assert [name for name in examples if name not in executed] == []
