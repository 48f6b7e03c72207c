import pytest

from clip_core.checkpoint.directory import save_checkpoint
from clip_core.errors import InputError
from clip_core.initialization import draw_weights
from clip_core.tests.sizes import DISTINCT
from weights_convert import convert, inspect


def test_openai_refuses_what_its_loader_would_get_wrong(tmp_path):
    save_checkpoint(tmp_path / "in", DISTINCT, dict(draw_weights(DISTINCT, seed=0)), architecture="CLIPModel")
    with pytest.raises(InputError, match="num_attention_heads: expected hidden_size / 64.*Convert it to open_clip"):
        convert(tmp_path / "in", tmp_path / "out.pt", to="openai")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_file_for_openai_can_have_any_name(source, tmp_path):
    convert(source, tmp_path / "open_clip_mine.pt", to="openai")
    assert inspect(tmp_path / "open_clip_mine.pt").format == "openai"
