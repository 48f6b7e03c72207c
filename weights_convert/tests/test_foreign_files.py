"""Files of the libraries themselves, each in a process of its own: they load ours, and we read theirs."""

import subprocess
import sys

import pytest

from weights_convert import convert, inspect
from weights_convert.tests import checkpoints

SAVED = {
    "torch": {
        "saved_archive.pt": "openai",
        "saved_stream.pt": "openai",
        "saved_views.pt": "openai",
        "saved_script.pt": "openai",
        "saved_hf_bin": "hf",
    },
    "tf": {"saved_tf": "hf-tf", "saved_tf_shards": "hf-tf", "saved_tf_safetensors": "hf-tf"},
    "flax": {"saved_flax": "hf-flax", "saved_after_nnx": "hf"},
    "keras": {
        "saved_after_keras": "hf",
        "saved_keras.weights.h5": "keras",
        "saved_keras_shards.weights.json": "keras",
    },
}


@pytest.mark.parametrize("library", SAVED)
def test_what_a_library_loads_and_saves_again_is_the_same(source, tmp_path, library):
    for name in checkpoints.FORMATS:
        convert(source, checkpoints.destination(tmp_path, name), to=name, verify="none")
    convert(source, tmp_path / "hf-tf-shards", to="hf-tf", max_shard_size="300KB")
    command = [sys.executable, "-m", "weights_convert.tests.foreign_files", library, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    expected = inspect(source).sha256
    for name, format_ in SAVED[library].items():
        beside = None if (tmp_path / name).is_dir() else checkpoints.CONFIG
        found = inspect(tmp_path / name, config=beside)
        assert (found.format, found.sha256) == (format_, expected), name
