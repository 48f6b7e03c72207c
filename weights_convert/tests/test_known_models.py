import pytest

from clip_core.checkpoint.saving import save_checkpoint
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import ConfigError
from clip_core.initialization import draw_weights
from clip_core.published.table import architectures
from clip_core.weights import weight_specs
from weights_convert import Unpublished, open_source
from weights_convert.known_models import inferred_sizes, named_config
from weights_convert.tests import checkpoints


def test_a_name_gives_heads_and_activation(tmp_path):
    shape = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 1, "image_size": 64, "patch_size": 32,
             "num_attention_heads": 12, "projection_dim": 5}  # fmt: skip
    text = {"vocab_size": 7, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 1,
            "num_attention_heads": 8, "max_position_embeddings": 4, "projection_dim": 5}  # fmt: skip
    config = CLIPConfig.from_dict({"projection_dim": 5, "text_config": text, "vision_config": shape})
    weights = checkpoints.weights(config=config)
    save_checkpoint(tmp_path, config, weights, architecture="CLIPModel")
    (tmp_path / "config.json").unlink()
    names = {"ViT-B/32": "quick_gelu", "ViT-B-32": "gelu", "ViT-B-32-quickgelu": "quick_gelu",
             "ViT-B-32/laion400m_e32": "quick_gelu", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": "gelu"}  # fmt: skip
    for name, activation in names.items():
        found = open_source(tmp_path, name).model.config
        assert (found.vision_config.num_attention_heads, found.text_config.num_attention_heads) == (12, 8)
        assert {found.vision_config.hidden_act, found.text_config.hidden_act} == {activation}
    for name in ("ViT-B/16", "ViT-H-14"):
        with pytest.raises(ConfigError, match="another model"):
            open_source(tmp_path, name)
    for name, message in {
        "ViT-B32": "no known model",
        "RN50": "is OpenAI's model, with quick_gelu, and open_clip's architecture, with gelu",
        "ViT-B-32/laion400m": "no published model of that architecture",
        "patrickjohncyh/fashion-clip": "say --activation",
    }.items():
        with pytest.raises(ConfigError, match=message):
            open_source(tmp_path, name)


@pytest.mark.parametrize(
    ("tower", "names"),
    [
        ("text", {"ViT-B/32": "quick_gelu", "ViT-B-16": "gelu", "openai": "quick_gelu"}),
        ("vision", {"openai": "quick_gelu"}),
    ],
)
def test_a_name_serves_a_tower_alone(tmp_path, tower, names):
    shape = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 1, "num_attention_heads": 8}
    kind = CLIPTextConfig if tower == "text" else CLIPVisionConfig
    config = kind(**shape, **({"vocab_size": 7, "max_position_embeddings": 5} if tower == "text" else {}))
    save_checkpoint(tmp_path, config, dict(draw_weights(config, seed=0)), architecture="CLIPTextModel")
    (tmp_path / "config.json").unlink()
    for name, activation in names.items():
        found = open_source(tmp_path, name).model.config
        assert (type(found), found.num_attention_heads, found.hidden_act) == (kind, 8, activation)
    with pytest.raises(ConfigError, match=f"another model, a {tower} tower with hidden_size 512"):
        open_source(tmp_path, "ViT-L/14")


def test_the_shapes_of_a_resnet_tell_its_sizes():
    """As does the name of its architecture what they do not tell."""
    found = architectures()["RN50"]
    shapes = {spec.name: spec.shape for spec in weight_specs(CLIPConfig.from_dict(found.described("gelu")))}
    tower = CLIPVisionConfig.from_dict({**found.sizes["vision_config"], "projection_dim": 1024})
    assert named_config("RN50-quickgelu", shapes).vision_config == tower
    assert Unpublished(activation="gelu").config(inferred_sizes(shapes)).vision_config == tower
    with pytest.raises(ConfigError, match="a vision tower with stage_depths .3, 4, 6, 3. instead of .3, 4, 23, 3."):
        named_config("RN101/openai", shapes)
