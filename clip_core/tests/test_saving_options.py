"""Keywords of `save_pretrained`, and uploads to a hub that stands in for the real one."""

import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from clip_core import CLIPImageProcessor, CLIPProcessor, CLIPTokenizer
from clip_core.errors import CheckpointError, InputError, InputTypeError, MissingExtraError, WeightMismatchError
from clip_core.tests.array_model import WEIGHTS, ArrayModel, assert_same
from clip_core.tests.sizes import DISTINCT

TOKENIZER = CLIPTokenizer.from_merges(40)
SAVED = (
    ArrayModel(DISTINCT, weights=WEIGHTS),
    DISTINCT,
    CLIPImageProcessor(),
    TOKENIZER,
    CLIPProcessor(CLIPImageProcessor(), TOKENIZER),
)
by_kind = pytest.mark.parametrize("saved", SAVED, ids=lambda saved: type(saved).__name__)


@pytest.fixture
def hub(monkeypatch, tmp_path_factory):
    """A stand-in for ``huggingface_hub`` that keeps repositories as directories, and what was asked of it."""
    hub = SimpleNamespace(root=tmp_path_factory.mktemp("hub"), asked=[], broken=False)

    class HfApi:
        def __init__(self, token):
            self.token = token

        def create_repo(self, repo_id, *, private, exist_ok):
            assert exist_ok
            hub.asked.append(("create", repo_id, private, self.token))
            (hub.root / "me" / repo_id).mkdir(parents=True, exist_ok=True)
            return SimpleNamespace(repo_id=f"me/{repo_id}")

        def create_branch(self, repo_id, *, branch, exist_ok):
            hub.asked.append(("branch", repo_id, branch))

        def upload_folder(self, *, repo_id, folder_path, allow_patterns, delete_patterns, **commit):
            if hub.broken:
                raise ConnectionError("503")
            hub.asked.append(("upload", repo_id, commit))
            repository, folder = hub.root / repo_id, Path(folder_path)
            for file in list(repository.iterdir()):
                if any(fnmatch(file.name, pattern) for pattern in delete_patterns):
                    file.unlink()
            for file in folder.iterdir():
                if any(fnmatch(file.name, pattern) for pattern in allow_patterns):
                    shutil.copy(file, repository)
            return "https://hub/commit/1"

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(HfApi=HfApi))
    return hub


def names(directory):
    return sorted(file.name for file in directory.iterdir())


@by_kind
def test_keywords_that_change_nothing_are_taken_and_others_are_not(saved, tmp_path):
    call = f"{type(saved).__name__}.save_pretrained"
    saved.save_pretrained(tmp_path, save_function=print, safe_serialization=True, variant=None, token="x")
    for keywords, message in (
        ({"safe_serialization": False}, r"Weights are written as safetensors.*torch\.save"),
        ({"variant": "fp16"}, "Save into a directory of its own"),
    ):
        with pytest.raises(InputError, match=f"{call}: .* has no meaning here. {message}"):
            saved.save_pretrained(tmp_path / "new", **keywords)
    with pytest.raises(InputTypeError, match=f"{call}: unknown keyword 'push_to_hup'. Did you mean 'push_to_hub'"):
        saved.save_pretrained(tmp_path / "new", push_to_hup=True)
    assert not (tmp_path / "new").exists()


@by_kind
def test_what_is_saved_is_uploaded_and_nothing_else(saved, tmp_path, hub):
    directory = tmp_path / "clip"
    saved.save_pretrained(directory)
    own = names(directory)
    (directory / "secret.txt").touch()
    saved.save_pretrained(directory, push_to_hub=True, private=True, token="t", revision="v2", commit_message="new")
    assert names(hub.root / "me" / "clip") == own
    assert hub.asked[0] == ("create", "clip", True, "t")
    assert hub.asked[1] == ("branch", "me/clip", "v2")
    assert hub.asked[2][2]["commit_message"] == "new"
    assert hub.asked[2][2]["revision"] == "v2"
    assert saved.push_to_hub("other", create_pr=True) == "https://hub/commit/1"
    assert names(hub.root / "me" / "other") == own
    assert hub.asked[-1][2]["create_pr"]


def test_shards_of_an_earlier_upload_do_not_stay_beside_new_weights(hub):
    model = SAVED[0]
    model.push_to_hub("clip", max_shard_size="20KB")
    (hub.root / "me" / "clip" / "README.md").touch()
    model.push_to_hub("clip")
    assert names(hub.root / "me" / "clip") == ["README.md", "config.json", "model.safetensors"]
    model.push_to_hub("clip", max_shard_size="20KB")
    assert "model.safetensors" not in names(hub.root / "me" / "clip")


def test_a_hub_that_takes_nothing_is_an_error_that_says_where_the_files_are(tmp_path, hub, monkeypatch):
    hub.broken = True
    with pytest.raises(CheckpointError, match=f"{tmp_path}: the files are written, but .* into me/clip: 503"):
        SAVED[0].save_pretrained(tmp_path, push_to_hub=True, repo_id="me/clip")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=rf"Uploading {tmp_path}, where the files are.*triclip\[hub\]"):
        SAVED[0].save_pretrained(tmp_path, push_to_hub=True)
    assert_same(ArrayModel.from_pretrained(tmp_path).named_weights(), WEIGHTS)


def test_only_the_main_process_writes_and_uploads(tmp_path, hub):
    SAVED[0].save_pretrained(tmp_path / "new", is_main_process=False, state_dict={}, push_to_hub=True)
    assert not (tmp_path / "new").exists()
    assert not hub.asked


def test_a_state_dict_is_written_whole_or_not_at_all(tmp_path):
    state = WEIGHTS | {"logit_scale": np.full((1,), 7.0, np.float32)}
    SAVED[0].save_pretrained(tmp_path, state_dict=state)
    assert ArrayModel.from_pretrained(tmp_path).logit_scale == 7.0
    for wrong in ({"lora": np.zeros(3, np.float32), **state}, {"logit_scale": state["logit_scale"]}):
        with pytest.raises(
            WeightMismatchError, match=r"ArrayModel.save_pretrained\(state_dict=\): nothing was written"
        ):
            SAVED[0].save_pretrained(tmp_path / "new", state_dict=wrong)
    assert not (tmp_path / "new").exists()
