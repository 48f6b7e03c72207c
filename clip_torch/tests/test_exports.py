"""What ``torch.onnx.export`` writes runs in ONNX Runtime, at sizes that were not exported."""

import numpy as np
import onnxruntime
import pytest
import torch

from clip_core import CLIPConfig
from clip_torch import CLIPModel

CONFIG = CLIPConfig(
    text_config={
        "vocab_size": 61,
        "hidden_size": 24,
        "intermediate_size": 52,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 11,
        "eos_token_id": 57,
    },
    vision_config={
        "hidden_size": 40,
        "intermediate_size": 72,
        "num_hidden_layers": 1,
        "num_attention_heads": 5,
        "image_size": 21,
        "patch_size": 7,
    },
    projection_dim=18,
)
NAMES = ("logits_per_image", "logits_per_text", "text_embeds", "image_embeds")


def batch(texts, tokens, images, side):
    generator = torch.Generator().manual_seed(texts)
    ids = torch.randint(0, 57, (texts, tokens), generator=generator)
    ids[:, -2:] = 57
    mask = torch.ones_like(ids)
    mask[:, -1] = 0
    pixels = torch.randn(images, 3, side, side + 7, generator=generator)
    return {"input_ids": ids, "pixel_values": pixels, "attention_mask": mask}


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own, as is the next
@pytest.mark.filterwarnings("ignore:# ONNX model has different number of inputs")
def test_onnx(tmp_path):
    model = CLIPModel(CONFIG, seed=3).eval()
    flags = {"interpolate_pos_encoding": True}
    open_text, open_image = {0: "text", 1: "token"}, {0: "image", 2: "height", 3: "width"}
    torch.onnx.export(
        model,
        kwargs={**batch(3, 9, 2, 28), **flags},
        f=tmp_path / "model.onnx",
        dynamic_shapes={
            "input_ids": open_text,
            "pixel_values": open_image,
            "attention_mask": open_text,
            "interpolate_pos_encoding": None,
        },
        dynamo=True,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    given = [value.name for value in session.get_inputs()]
    for sizes in ((4, 3, 3, 21), (2, 11, 5, 35)):
        inputs = batch(*sizes)
        with torch.no_grad():
            expected = model(**inputs, **flags)
        got = session.run(None, {name: inputs[name].numpy() for name in given})
        for name, value in zip(NAMES, got[: len(NAMES)], strict=True):
            np.testing.assert_allclose(value, expected[name], atol=1e-5, err_msg=name)
