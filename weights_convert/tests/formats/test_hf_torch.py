import shutil

import numpy as np
import pytest

from weights_convert import inspect, open_source
from weights_convert.tests import checkpoints


def test_old_position_ids_are_left_out(in_format, tmp_path):
    shutil.copytree(in_format["hf"], tmp_path / "hf")
    ids = {
        "text_model.embeddings.position_ids": np.arange(11)[None],
        "vision_model.embeddings.position_ids": np.arange(17),
    }
    checkpoints.rewrite(tmp_path / "hf/model.safetensors", lambda found: {**found, **ids})
    assert inspect(tmp_path / "hf").sha256 == inspect(in_format["hf"]).sha256


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_towers_of_transformers_5_have_no_prefix(in_format, tmp_path, tower):
    shutil.copytree(in_format["hf"], tmp_path / "hf")
    prefix = f"{tower}_model."
    checkpoints.rewrite(
        tmp_path / "hf/model.safetensors",
        lambda found: {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)},
    )
    found = open_source(tmp_path / "hf").model
    assert found.config.model_type == f"clip_{tower}_model"
    assert not found.projection
    expected = checkpoints.weights()
    assert all(np.array_equal(value.read(), expected[name]) for name, value in found.weights.items())
