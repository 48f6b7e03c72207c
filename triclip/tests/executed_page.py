"""A page of documentation with its blocks run again, so that what it shows is what is printed.

    python -m triclip.tests.executed_page docs/converting.md

writes the page anew. Blocks of ``python`` are run; in blocks of ``console``, each line that begins with ``$`` is run by
a shell and what follows is what it printed. All run in one empty directory, in order.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

_BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r"^\$ (.*)$", re.MULTILINE)
_MEASURED = re.compile(r"\b\d\.\de-\d\d\b")


def executed(text: str) -> str:
    """The page with what its commands print now."""
    with tempfile.TemporaryDirectory() as directory:
        shell = _Shell(Path(directory))

        def run(block: re.Match[str]) -> str:
            kind, content = block.groups()
            if kind == "python":
                shell.run_python(content)
                return block[0]
            shown = "".join(f"$ {command}\n{shell.run(command)}" for command in _COMMAND.findall(content))
            return f"```{kind}\n{shown}```"

        return _BLOCK.sub(run, text)


def without_measurements(text: str) -> str:
    """The page without the differences between frameworks, which vary with the computer."""
    return _MEASURED.sub("<measured>", text)


class _Shell:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.exit_code = 0
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": path, "COLUMNS": "80", "HF_HUB_OFFLINE": "1"}

    def run_python(self, code: str) -> None:
        subprocess.run([sys.executable, "-c", code], cwd=self.directory, env=self.environment, check=True)

    def run(self, command: str) -> str:
        """What a command prints, on both of its outputs; ``$?`` is the exit code of the one before."""
        ended = subprocess.run(
            ["bash", "-c", f"(exit {self.exit_code}); {command}"],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.exit_code = ended.returncode
        return ended.stdout


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(executed(page.read_text(encoding="utf-8")), encoding="utf-8")
