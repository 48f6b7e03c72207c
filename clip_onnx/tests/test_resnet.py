"""The ResNet tower: what the ladder of all backends does not ask."""

import numpy as np
import onnxruntime

from clip_core.config import CLIPVisionConfig
from clip_onnx import CLIPVisionModelWithProjection

CONFIG = CLIPVisionConfig(
    stage_depths=(1, 1, 2, 1), hidden_size=64, num_attention_heads=4, image_size=64, projection_dim=6
)


def images(height, width):
    return np.random.default_rng(3).standard_normal((2, 3, height, width)).astype(np.float32)


def test_a_side_that_the_stride_does_not_divide_is_rounded_as_convolutions_do():
    """Up by the first, down by the others: 95 pixels are three rows."""
    model = CLIPVisionModelWithProjection(CONFIG, threads=1)
    pixels = images(95, 66)
    both = model(pixels, interpolate_pos_encoding=True)
    assert both.last_hidden_state.shape == (2, 3 * 2, 64)
    alone = model(pixels[1:], interpolate_pos_encoding=True)
    np.testing.assert_allclose(both.image_embeds[1:], alone.image_embeds, atol=1e-5)


def test_in_int8_convolutions_stay_exact_but_for_their_weights(tmp_path):
    exact = CLIPVisionModelWithProjection(CONFIG, threads=1)
    exact.export(tmp_path / "image.onnx", dtype="int8")
    session = onnxruntime.InferenceSession(tmp_path / "image.onnx")
    (found,) = session.run(["image_embeds"], {"pixel_values": images(64, 64)})
    expected = exact(images(64, 64)).image_embeds
    np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())
