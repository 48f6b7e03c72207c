"""Every example of the README is executed as it stands there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^## ([^\n]+)\n\n```python\n(.*?)```", README, flags=re.DOTALL | re.MULTILINE))
COMMANDS = re.findall(r"^\$ (triclip [^\n]+)$", README, flags=re.MULTILINE)


def run(arguments):
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)


def test_there_is_one_example_per_framework():
    assert list(EXAMPLES) == ["PyTorch", "Keras / TensorFlow", "JAX / Flax"]
    assert COMMANDS


@pytest.mark.parametrize("title", EXAMPLES)
def test_the_example_finds_the_umbrella(title):
    result = run([sys.executable, "-c", EXAMPLES[title]])
    assert result.returncode == 0, result.stderr
    cat, umbrella = map(float, re.findall(r"\d\.\d+(?:e-?\d+)?", result.stdout)[:2])
    assert umbrella > 0.5 > cat


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_classifies_the_samples(command):
    result = run([sys.executable, "-m", "triclip", *shlex.split(command)[1:]])
    assert result.returncode == 0, result.stderr
    assert "umbrella.png" in result.stdout
