import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from triclip import cli

FRAMEWORKS = ("torch", "tensorflow", "keras", "jax", "flax", "transformers")


@pytest.mark.parametrize(
    "statement",
    [
        "import triclip",
        "import triclip; triclip.__version__",
        "import triclip; triclip.load, triclip.Encoder",
        "import clip_core",
        "from clip_core import *",
        "from triclip.cli import main; main(['--help'], standalone_mode=False)",
        "from triclip.cli import main; main(['classify', '--help'], standalone_mode=False)",
    ],
)
def test_no_framework_is_imported(statement: str) -> None:
    look = f"import sys; print('imported:', [name for name in {FRAMEWORKS} if name in sys.modules])"
    code = f"{statement}\n{look}"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.endswith("imported: []\n")


def test_help_lists_each_command_with_its_own_short_help() -> None:
    result = CliRunner().invoke(cli.main, ["--help"])
    assert result.exit_code == 0
    for name, (_, summary) in cli._SUBCOMMANDS.items():
        command = cli.main.get_command(None, name)
        assert command is not None
        assert command.get_short_help_str(200) == summary
        assert summary in result.output


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert CliRunner().invoke(cli.main, ["--version"]).output == f"triclip, version {version('triclip')}\n"


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"], ["classify"], ["classify", "--nonsense"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


def test_the_installed_command_is_this_one() -> None:
    from importlib.metadata import entry_points

    (command,) = entry_points(group="console_scripts", name="triclip")
    assert command.value == "triclip.cli:main"


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, triclip; assert not {'numpy', 'PIL', 'click'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_checkout_that_is_not_installed_has_its_own_version(monkeypatch: pytest.MonkeyPatch) -> None:
    import tomllib
    from importlib.metadata import PackageNotFoundError

    from triclip import version

    def not_installed(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(version, "installed_version", not_installed)
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert version.version() == declared["project"]["version"]


def test_a_name_that_is_not_exported_is_an_attribute_error() -> None:
    import triclip

    assert sorted(dir(triclip)) == sorted(triclip.__all__)
    with pytest.raises(AttributeError, match="'triclip' has no attribute 'nonsense'"):
        triclip.nonsense  # noqa: B018
