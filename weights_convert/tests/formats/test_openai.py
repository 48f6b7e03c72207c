from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from clip_core.checkpoint.saving import save_checkpoint
from clip_core.checkpoint.tensors import Tensor
from clip_core.errors import CheckpointFormatError, InputError
from clip_core.initialization import draw_weights
from clip_core.tests.sizes import DISTINCT
from weights_convert import convert, inspect
from weights_convert.containers.opened import open_container
from weights_convert.containers.torchscript import write_torchscript
from weights_convert.tests import checkpoints


def test_openai_refuses_what_its_loader_would_get_wrong(tmp_path):
    save_checkpoint(tmp_path / "in", DISTINCT, dict(draw_weights(DISTINCT, seed=0)), architecture="CLIPModel")
    with pytest.raises(InputError, match="num_attention_heads: expected hidden_size / 64.*Convert it to open_clip"):
        convert(tmp_path / "in", tmp_path / "out.pt", to="openai")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_file_for_openai_can_have_any_name(source, tmp_path):
    convert(source, tmp_path / "open_clip_mine.pt", to="openai")
    assert inspect(tmp_path / "open_clip_mine.pt").format == "openai"


@pytest.fixture
def longclip(tmp_path):
    """A file as LongCLIP's: two tables of 31 positions, of which rows 0 to 19 and rows 20 to 30 count."""
    config = replace(
        checkpoints.CONFIG, text_config=replace(checkpoints.CONFIG.text_config, max_position_embeddings=31)
    )
    save_checkpoint(tmp_path / "in", config, dict(draw_weights(config, seed=4)), architecture="CLIPModel")
    convert(tmp_path / "in", tmp_path / "single.pt", to="openai")
    tensors = dict(open_container(tmp_path / "single.pt").tensors)
    table = tensors["positional_embedding"].read()
    halves = {"positional_embedding": table.copy(), "positional_embedding_res": table.copy()}
    halves["positional_embedding"][20:] = 1e3
    halves["positional_embedding_res"][:20] = -1e3
    for name, values in halves.items():
        tensors[name] = Tensor(values.dtype, values.shape, partial(np.array, values))
    return config, tensors


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_two_position_tables_of_longclip_become_one(longclip, tmp_path, prefix):
    config, tensors = longclip
    write_torchscript(tmp_path / "longclip.pt", {f"{prefix}{name}": tensors[name] for name in tensors}, {})
    assert inspect(tmp_path / "longclip.pt", config=config).sha256 == inspect(tmp_path / "single.pt").sha256
    done = convert(tmp_path / "longclip.pt", tmp_path / "out", to="hf", config=config)
    assert done.sha256 == inspect(tmp_path / "in").sha256


def test_position_tables_that_are_not_longclip_s(longclip, tmp_path):
    config, tensors = longclip
    tensors["positional_embedding_res"] = tensors["positional_embedding_res"].part(0, 31)
    write_torchscript(tmp_path / "cut.pt", tensors, {})
    with pytest.raises(CheckpointFormatError, match=r"of one shape and dtype, as LongCLIP has them, got \[31, 64\]"):
        inspect(tmp_path / "cut.pt", config=config)
