"""What ``import clip_tf`` says where it cannot work; each case in a process of its own."""

import os
import subprocess
import sys

import pytest

WITHOUT = "import sys; sys.modules[{name!r}] = None; import clip_tf"
KERAS_2 = """
import sys, types
sys.modules["keras"] = types.ModuleType("keras")
sys.modules["keras"].__version__ = "2.15.0"
sys.modules["tensorflow"] = types.ModuleType("tensorflow")
"""


@pytest.mark.parametrize(
    ("code", "backend", "message"),
    [
        (
            "import clip_tf",
            "numpy",
            "BackendError: clip_tf: expected Keras to run on TensorFlow, JAX or PyTorch.*'numpy'",
        ),
        (WITHOUT.format(name="keras"), "tensorflow", "MissingExtraError: .*pip install 'triclip[tf]'"),
        (
            WITHOUT.format(name="tensorflow"),
            "tensorflow",
            "MissingExtraError: .*needs 'tensorflow'.*pip install 'triclip[tf]'",
        ),
        (WITHOUT.format(name="jax"), "jax", "MissingExtraError: .*needs 'jax'.*pip install 'triclip[flax]'"),
        (WITHOUT.format(name="torch"), "torch", "MissingExtraError: .*needs 'torch'.*pip install 'triclip[torch]'"),
        (f"{KERAS_2}import clip_tf", "tensorflow", "BackendError: clip_tf: expected Keras 3, got 2.15.0"),
    ],
)
def test_an_import_that_cannot_work_says_why(code, backend, message):
    environment = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    before, _, after = message.partition(".*")
    last_line = done.stderr.strip().splitlines()[-1]
    assert before in last_line, done.stderr
    assert all(part in last_line for part in after.split(".*")), done.stderr
