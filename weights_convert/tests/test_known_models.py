import pytest

from clip_core.checkpoint.directory import save_checkpoint
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import ConfigError
from clip_core.initialization import draw_weights
from weights_convert import open_source
from weights_convert.tests import checkpoints


def test_a_name_gives_heads_and_activation(tmp_path):
    shape = {"hidden_size": 768, "intermediate_size": 9, "num_hidden_layers": 1, "image_size": 64, "patch_size": 32,
             "num_attention_heads": 12, "projection_dim": 5}  # fmt: skip
    text = {"vocab_size": 7, "hidden_size": 128, "intermediate_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 2, "max_position_embeddings": 4, "projection_dim": 5}  # fmt: skip
    config = CLIPConfig.from_dict({"projection_dim": 5, "text_config": text, "vision_config": shape})
    weights = checkpoints.weights(config=config)
    save_checkpoint(tmp_path, config, weights, architecture="CLIPModel")
    (tmp_path / "config.json").unlink()
    for name, activation in (("ViT-B/32", "quick_gelu"), ("ViT-B-32", "gelu"), ("ViT-B-32-quickgelu", "quick_gelu")):
        found = open_source(tmp_path, name).model.config
        assert (found.vision_config.num_attention_heads, found.text_config.num_attention_heads) == (12, 2)
        assert {found.vision_config.hidden_act, found.text_config.hidden_act} == {activation}
    for name in ("ViT-B/16", "ViT-H-14"):
        with pytest.raises(ConfigError, match="another model"):
            open_source(tmp_path, name)
    with pytest.raises(ConfigError, match="no known model"):
        open_source(tmp_path, "ViT-B32")


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
    with pytest.raises(ConfigError, match=f"another model, with a {tower} tower of width 512"):
        open_source(tmp_path, "ViT-L/14")
