import json
import shutil
import sys
from types import SimpleNamespace

import pytest

from clip_core.checkpoint.saving import save_checkpoint
from clip_core.errors import CheckpointNotFoundError
from clip_core.image.processor import CLIPImageProcessor
from clip_core.tokenizer.clip import CLIPTokenizer
from weights_convert import convert
from weights_convert.tests import checkpoints


def test_preprocessor_and_tokenizer_travel_through_every_format(tmp_path):
    path = checkpoints.save(tmp_path / "start")
    files = {
        "preprocessor_config.json": {
            "size": 28,
            "crop_size": 28,
            "image_mean": [0.5, 0.4, 0.3],
            "image_std": [0.2, 0.3, 0.1],
        },
        "vocab.json": {"a</w>": 0},
    }
    for name, content in files.items():
        (path / name).write_text(json.dumps(content))
    (path / "merges.txt").write_text("#version: 0.2\n")
    for to in (*checkpoints.FORMATS, "hf"):
        following = checkpoints.destination(tmp_path, to, f"after_{path.stem}_")
        convert(path, following, to=to)
        path = following
    found = json.loads((path / "preprocessor_config.json").read_text())
    assert (found["image_mean"], found["image_std"]) == ([0.5, 0.4, 0.3], [0.2, 0.3, 0.1])
    assert found["size"] == {"shortest_edge": 28}
    assert json.loads((path / "vocab.json").read_text()) == files["vocab.json"]
    assert (path / "merges.txt").read_text() == "#version: 0.2\n"


def test_the_preprocessor_of_transformers_5_travels_along(source, tmp_path):
    shutil.copytree(source, tmp_path / "in")
    options = {**CLIPImageProcessor(size=28, crop_size=28, image_mean=[0.5] * 3).to_dict()}
    (tmp_path / "in/processor_config.json").write_text(json.dumps({"image_processor": options}))
    convert(tmp_path / "in", tmp_path / "out", to="open_clip")
    described = json.loads((tmp_path / "out/open_clip_config.json").read_text())
    assert described["preprocess_cfg"]["mean"] == [0.5] * 3


@pytest.mark.parametrize("name", ["hf", "hf-flax"])
def test_a_half_filled_cache_never_gets_clip_s_own_preprocessor(in_format, tmp_path, monkeypatch, name):
    """As loading the model alone in another library leaves it."""
    repository = tmp_path / "hub/models--a--b"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("c0ffee")
    snapshot = shutil.copytree(in_format[name], repository / "snapshots/c0ffee")
    (snapshot / "preprocessor_config.json").unlink()
    (snapshot / "tokenizer.json").write_text('{"model": {"vocab": {"a</w>": 0}, "merges": []}}')
    held = [*(path.name for path in snapshot.iterdir()), "preprocessor_config.json"]
    info = SimpleNamespace(sha="c0ffee", siblings=[SimpleNamespace(rfilename=file) for file in held])

    def snapshot_download(*_, **__):
        CLIPImageProcessor(size=28, crop_size=28, image_mean=[0.5] * 3).save_pretrained(snapshot)
        return str(snapshot)

    hub = SimpleNamespace(model_info=lambda name, **_: info, snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointNotFoundError, match=r"without preprocessor_config\.json in the local cache"):
        convert("a/b", tmp_path / "out", to="nnx")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    convert("a/b", tmp_path / "out", to="nnx")
    assert json.loads((tmp_path / "out/preprocessor_config.json").read_text())["image_mean"] == [0.5] * 3


@pytest.mark.parametrize("context", [77, 248])
def test_clip_s_own_tokenizer_cuts_texts_where_the_model_does(tmp_path, context):
    changed = {"vocab_size": 49408, "max_position_embeddings": context, "eos_token_id": 49407}
    config = checkpoints.CONFIG.changed({"text_config": changed})
    weights = checkpoints.weights(config=config)
    save_checkpoint(tmp_path / "in", config, weights, architecture="CLIPModel")
    convert(tmp_path / "in", tmp_path / "out", to="hf", verify="none")
    assert CLIPTokenizer.from_directory(tmp_path / "out").model_max_length == context
