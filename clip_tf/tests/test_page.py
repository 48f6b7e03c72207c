"""The examples of docs/keras.md are executed as they stand there, one after the other."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "keras.md"


@pytest.fixture
def eagerly():
    """A step of training takes longer to compile than to run."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.filterwarnings("ignore:Even though the .*run_functions_eagerly")  # but for tf.data, which is right here
@pytest.mark.usefixtures("eagerly")
def test_the_page_runs(tmp_path, monkeypatch):
    (tmp_path / "triclip").symlink_to(ROOT / "triclip")
    monkeypatch.chdir(tmp_path)
    names = {}
    for example in re.findall(r"^```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        exec(compile(example, str(PAGE), "exec"), names)  # the page is ours
    assert names["found"]["logits_per_image_recall_at_1"] == 1
    logits = [
        ops.convert_to_numpy(names[name](names["batch"]).logits_per_image) for name in ("model", "other", "merged")
    ]
    for got in logits[1:]:
        np.testing.assert_allclose(got, logits[0], atol=1e-4)
    assert names["features"].shape == (2, names["model"].config.projection_dim)
    assert ops.convert_to_numpy(names["probabilities"])[0, 0] > 0.9
    pixels, texts = (names["inputs"][name] for name in ("pixel_values", "input_ids"))
    mask = names["inputs"]["attention_mask"]
    model, served = names["model"], names["served"]
    np.testing.assert_allclose(served.image_features(pixels), model.get_image_features(pixels), atol=1e-5)
    got = served.text_features({"input_ids": texts.astype(np.int32), "attention_mask": mask.astype(np.int32)})
    np.testing.assert_allclose(got, model.get_text_features(texts, mask), atol=1e-5)
    got = served.serve(
        {name: value.astype(model.input_signature[name].dtype) for name, value in names["inputs"].items()}
    )
    np.testing.assert_allclose(got["logits_per_image"], names["outputs"].logits_per_image, atol=1e-4)
    np.testing.assert_allclose(names["in_graph"], names["probabilities"], atol=1e-6)
