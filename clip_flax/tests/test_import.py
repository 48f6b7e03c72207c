"""What ``import clip_flax`` does where it cannot work."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["jax", "flax"])
def test_a_missing_package_is_named_with_the_extra(package):
    code = f"import sys; sys.modules[{package!r}] = None; import clip_flax"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last_line = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert f"MissingExtraError: clip_flax needs {package!r}" in last_line
    assert "pip install 'triclip[flax]'" in last_line
