import pytest

from clip_core.errors import ConfigError
from weights_convert import open_source
from weights_convert.containers.opened import open_container
from weights_convert.containers.torchscript import write_torchscript
from weights_convert.tests import checkpoints


@pytest.fixture
def bare(in_format, tmp_path):
    """OpenAI's names in a torch archive, without any configuration."""
    write_torchscript(tmp_path / "bare.pt", open_container(in_format["openai"]).tensors, {})
    return tmp_path / "bare.pt"


def test_without_configuration_the_error_says_what_to_do(bare):
    with pytest.raises(ConfigError) as error:
        open_source(bare)
    for part in ('"hidden_size": 128', "num_attention_heads and hidden_act", "--config", "ViT-B/32", "quickgelu"):
        assert part in str(error.value)


def test_a_configuration_can_be_given(bare, in_format):
    files = ("hf/config.json", "open_clip/open_clip_config.json", "keras-hub/config.json", "nnx")
    for config in (checkpoints.CONFIG, *(in_format["hf"].parent / file for file in files)):
        assert open_source(bare, config).model.config == checkpoints.CONFIG
