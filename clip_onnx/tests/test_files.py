"""ONNX files: that they are standard, hold what they should, and take their places whole."""

import os

import numpy as np
import onnx
import onnxruntime
import pytest

from clip_core.errors import InputError, InputTypeError
from clip_onnx import CLIPTextModel, CLIPVisionModelWithProjection, files
from clip_onnx.graph import Graph
from clip_onnx.tests import small


def ran(path, **inputs):
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_a_file_has_standard_operators_only_and_passes_the_checker(tmp_path, dtype):
    (path,) = small.model().export(tmp_path / "clip.onnx", dtype=dtype, metadata={"made": "here"})
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path)
    assert {node.domain for node in model.graph.node} == {""}
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 20)]
    assert [(one.key, one.value) for one in model.metadata_props] == [("made", "here")]
    assert os.listdir(tmp_path) == ["clip.onnx"]


def test_the_whole_model_in_a_file_gives_what_it_gives_here(tmp_path):
    model, inputs = small.model(), {**small.texts(), "pixel_values": small.pixels()}
    model.export(tmp_path / "clip.onnx")
    found, expected = ran(tmp_path / "clip.onnx", **inputs), model(**inputs)
    assert set(found) == {"logits_per_image", "logits_per_text", "text_embeds", "image_embeds"}
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], atol=2e-5, err_msg=name)


def test_a_tower_in_a_file_has_its_features_not_normalised(tmp_path):
    model = small.model()
    model.export(tmp_path / "text.onnx", tower="text")
    model.export(tmp_path / "image.onnx", tower="image")
    text, image = (
        ran(tmp_path / "text.onnx", **small.texts()),
        ran(tmp_path / "image.onnx", pixel_values=small.pixels()),
    )
    assert set(text) == {"text_embeds", "last_hidden_state", "pooler_output"}
    np.testing.assert_allclose(text["text_embeds"], model.get_text_features(**small.texts()), atol=1e-6)
    np.testing.assert_allclose(image["image_embeds"], model.get_image_features(small.pixels()), atol=1e-6)
    with pytest.raises(InputError, match="tower: expected image or text, got 'vision'"):
        model.export(tmp_path / "other.onnx", tower="vision")


def test_sizes_of_batch_and_token_are_open(tmp_path):
    model = small.model()
    model.export(tmp_path / "text.onnx", tower="text")
    for batch, token in ((1, 1), (4, 9), (2, 3)):
        ids = np.full((batch, token), small.END)
        found = ran(tmp_path / "text.onnx", input_ids=ids, attention_mask=np.ones_like(ids))["text_embeds"]
        np.testing.assert_allclose(found, model.get_text_features(ids), atol=1e-6)


def test_towers_of_their_own_classes_are_exported_with_their_own_outputs(tmp_path):
    CLIPTextModel(small.CONFIG.text_config).export(tmp_path / "text.onnx")
    assert set(ran(tmp_path / "text.onnx", **small.texts())) == {"last_hidden_state", "pooler_output"}
    CLIPVisionModelWithProjection(small.CONFIG.vision_config).export(tmp_path / "image.onnx")
    assert "image_embeds" in ran(tmp_path / "image.onnx", pixel_values=small.pixels())


BAD = {
    "id out of range": ("input_ids", (1, 0), 41),
    "negative id": ("input_ids", (1, 0), -1),
    "no end": ("input_ids", (1, 1), 5),
    "left padding": ("attention_mask", (1, 0), 0),
    "a mask that is added": ("attention_mask", (1, 2), -10000),
}


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("what", BAD)
def test_a_bad_text_is_nan_in_a_file_and_its_neighbour_is_not(tmp_path, what, dtype):
    inputs = small.texts()
    name, place, value = BAD[what]
    small.model().export(tmp_path / "text.onnx", tower="text", dtype=dtype)
    good = ran(tmp_path / "text.onnx", **inputs)["text_embeds"]
    inputs[name][place] = value
    found = ran(tmp_path / "text.onnx", **inputs)["text_embeds"]
    assert np.isnan(found[1]).all()
    cosine = found[0] @ good[0] / np.linalg.norm(found[0]) / np.linalg.norm(good[0])
    assert cosine > (1 - 1e-6 if dtype == "float32" else 0.99)


def test_more_than_a_file_can_hold_lies_beside_it_and_goes_with_it(tmp_path):
    """Weights that a replaced model had go with it, and nobody else's files."""
    path, other = tmp_path / "clip.onnx", tmp_path / "clip.onnx.notes.data"
    other.write_bytes(b"mine")
    model, inputs = small.model(), {**small.texts(), "pixel_values": small.pixels()}
    graph = Graph(model.wide_weights())
    model.fill(graph)
    written = files.write_model(graph, path, largest_file=1000)
    assert [file.suffix for file in written] == [".onnx", ".data"]
    assert path.stat().st_size < 60_000
    onnx.checker.check_model(path, full_check=True)
    np.testing.assert_allclose(ran(path, **inputs)["logits_per_text"], model(**inputs).logits_per_text, atol=2e-5)
    assert files.write_model(graph, path, largest_file=1000) == written
    assert sorted(tmp_path.iterdir()) == sorted([*written, other])
    changed = Graph({name: value + 1 for name, value in model.wide_weights().items()})
    model.fill(changed)
    replaced = files.write_model(changed, path, largest_file=1000)
    assert replaced[1] != written[1]
    assert sorted(tmp_path.iterdir()) == sorted([*replaced, other])
    model.export(path)
    assert sorted(tmp_path.iterdir()) == sorted([path, other])


def test_a_file_that_is_not_finished_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "clip.onnx"
    path.write_bytes(b"the old one")
    monkeypatch.setattr(files, "model_message", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        small.model().export(path)
    assert (os.listdir(tmp_path), path.read_bytes()) == (["clip.onnx"], b"the old one")


def test_float16_that_cannot_hold_a_weight_is_refused(tmp_path):
    weights = dict(small.model().named_weights())
    weights["visual_projection.weight"] = weights["visual_projection.weight"] * 1e8
    with pytest.raises(InputError, match="visual_projection.weight: holds values beyond the range of float16"):
        small.model(weights=weights).export(tmp_path / "clip.onnx", dtype="float16")
    with pytest.raises(InputTypeError, match="dtype: expected float32, float16 or int8, got 'bfloat16'"):
        small.model().export(tmp_path / "clip.onnx", dtype="bfloat16")
    assert not os.listdir(tmp_path)
