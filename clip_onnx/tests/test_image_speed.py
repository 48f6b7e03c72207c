"""What the image tower leaves out is what nobody reads."""

import re
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from clip_onnx import CLIPModel
from clip_onnx.tests import small

CONFIG = replace(small.CONFIG, vision_config=replace(small.CONFIG.vision_config, num_hidden_layers=3))
LARGEST = {"float32": 1e-5, "float16": 1e-5, "int8": 0.05}  # int8 rounds inputs by the largest, also of other tokens


@pytest.mark.parametrize("dtype", LARGEST)
def test_features_are_those_of_all_tokens(tmp_path, dtype):
    """In a call, in a file of the whole model, and in that of the tower, which gives all tokens out."""
    model, inputs = CLIPModel(CONFIG, dtype=dtype, seed=4, threads=1), {**small.texts(), "pixel_values": small.pixels()}
    expected = model(**inputs).image_embeds
    features = model.get_image_features(small.pixels())
    np.testing.assert_allclose(features / np.linalg.norm(features, axis=1)[:, None], expected, atol=LARGEST[dtype])
    for name, options in {"clip": {}, "image": {"tower": "image"}}.items():
        model.export(tmp_path / f"{name}.onnx", **options)
        session = onnxruntime.InferenceSession(tmp_path / f"{name}.onnx")
        given = {value.name: inputs[value.name] for value in session.get_inputs()}
        (found,) = session.run(["image_embeds"], given)
        found = found / np.linalg.norm(found, axis=1)[:, None]
        np.testing.assert_allclose(found, expected, atol=LARGEST[dtype], err_msg=name)
        if name == "image":
            (tokens,) = session.run(["last_hidden_state"], given)
            np.testing.assert_array_equal(tokens, model.vision_model(small.pixels()).last_hidden_state)


def test_features_need_the_class_token_alone(tmp_path):
    """Rows of the blocks' wide layers, ``batch * token``, in the graph of a call and in that of the whole model."""
    model = CLIPModel(CONFIG, seed=4)
    graphs = {"call": lambda graph: model.vision_model.fill_features(graph, (21, 21)), "whole": model.fill}
    inputs = {**small.texts(), "pixel_values": small.pixels()}
    for name, fill in graphs.items():
        model.write(tmp_path / name, fill, None, None)
        proto = onnx.load(tmp_path / name)
        wide = [node.output[0] for node in proto.graph.node if re.search(r"vision.*fc1\.weight", str(node.input))]
        proto.graph.output.extend(onnx.ValueInfoProto(name=value) for value in wide)
        session = onnxruntime.InferenceSession(proto.SerializeToString())
        found = session.run(wide, {value.name: inputs[value.name] for value in session.get_inputs()})
        assert [len(rows) for rows in found] == [3 * 10, 3 * 10, 3]
