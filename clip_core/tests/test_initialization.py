import numpy as np
import pytest

from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.initialization import draw_weights
from clip_core.tests.sizes import RESNET

TEXT = {"vocab_size": 300, "hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 200}
VISION = {"hidden_size": 160, "num_attention_heads": 5, "intermediate_size": 240, "patch_size": 16, "image_size": 96}


def config(factor=1.0):
    return CLIPConfig(
        text_config={**TEXT, "num_hidden_layers": 3, "initializer_factor": factor},
        vision_config={**VISION, "num_hidden_layers": 2, "initializer_factor": factor},
        projection_dim=96,
    )


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_standard_deviations_are_those_of_the_recipe(factor):
    weights = dict(draw_weights(config(factor), seed=1))
    expected = {
        "text_model.embeddings.token_embedding.weight": 0.02,
        "text_model.embeddings.position_embedding.weight": 0.02,
        "text_model.encoder.layers.1.self_attn.q_proj.weight": 128**-0.5 * 6**-0.5,
        "text_model.encoder.layers.1.self_attn.out_proj.weight": 128**-0.5,
        "text_model.encoder.layers.1.mlp.fc1.weight": 256**-0.5,
        "text_model.encoder.layers.1.mlp.fc2.weight": 128**-0.5 * 6**-0.5,
        "vision_model.embeddings.patch_embedding.weight": 0.02,
        "vision_model.encoder.layers.0.self_attn.v_proj.weight": 160**-0.5 * 4**-0.5,
    }
    for name, deviation in expected.items():
        assert weights[name].std() == pytest.approx(deviation * factor, rel=0.05), name
    assert weights["vision_model.embeddings.class_embedding"].std() == pytest.approx(160**-0.5 * factor, rel=0.2)
    for name, width in (("text_projection.weight", 128), ("visual_projection.weight", 160)):
        assert weights[name].std() == pytest.approx(width**-0.5, rel=0.05)  # the full model's own factor, which is 1
    assert float(weights["logit_scale"]) == pytest.approx(2.6592)
    assert weights["logit_scale"].shape == ()


def test_a_seed_fixes_every_weight_and_weights_differ():
    first, again, other = (dict(draw_weights(config(), seed=seed)) for seed in (4, 4, 5))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    name = "text_model.encoder.layers.0.self_attn.q_proj.weight"
    assert not np.array_equal(first[name], other[name])
    assert not np.array_equal(first[name], first[name.replace("q_proj", "k_proj")])


def test_a_tower_alone_is_the_tower_of_the_full_model():
    full = dict(draw_weights(config(), seed=9))
    towers = (CLIPTextConfig(**TEXT, num_hidden_layers=3), CLIPVisionConfig(**VISION, num_hidden_layers=2))
    for tower in towers:
        for name, value in draw_weights(tower, seed=9):
            np.testing.assert_array_equal(value, full[name])


def test_a_seed_keeps_meaning_the_same_model():
    """Recorded from this implementation: changing how weights are drawn changes every seeded model of its users."""
    _, value = next(draw_weights(CLIPTextConfig(vocab_size=3, hidden_size=2, num_attention_heads=1), seed=0))
    np.testing.assert_allclose(value.ravel()[:3] / 0.02, [1.1750722, 0.3123772, -1.2246704], rtol=1e-6)


def test_a_resnet_begins_as_the_paper_says():
    weights = dict(draw_weights(RESNET, seed=1))
    deviations = {
        "vision_model.layer4.0.conv2.weight": (3 * 80 * 9) ** -0.5,
        "vision_model.layer4.0.downsample.0.weight": (3 * 160) ** -0.5,
        "vision_model.attnpool.q_proj.weight": 320**-0.5,
        "vision_model.attnpool.positional_embedding": 320**-0.5,
        "visual_projection.weight": 320**-0.5,
    }
    for name, deviation in deviations.items():
        assert weights[name].std() == pytest.approx(deviation, rel=0.05), name
    for name, value in weights.items():
        if ".bn" in name or ".downsample.1." in name:
            is_last = ".layer" in name and name.endswith(".bn3.weight")
            ones = name.endswith((".weight", ".running_var")) and not is_last
            assert (value == (1 if ones else 0)).all(), name
            assert value.dtype == (np.int64 if name.endswith("num_batches_tracked") else np.float32)
    assert (weights["visual_projection.bias"] == 0).all()
