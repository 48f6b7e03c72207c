import builtins

import pytest

from clip_core.errors import CheckpointNotFoundError, MissingExtraError
from clip_core.hub import resolve_checkpoint


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A Hugging Face cache that holds one revision of one repository."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--openai--clip-vit-base-patch32"
    snapshot = repository / "snapshots" / "abc123"
    (snapshot / "text").mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc123")
    return snapshot


@pytest.fixture
def no_huggingface_hub(monkeypatch):
    real_import = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "huggingface_hub":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_a_directory_is_itself(tmp_path):
    (tmp_path / "sub").mkdir()
    assert resolve_checkpoint(tmp_path) == tmp_path
    assert resolve_checkpoint(str(tmp_path), subfolder="sub") == tmp_path / "sub"
    with pytest.raises(CheckpointNotFoundError, match="no folder 'absent'"):
        resolve_checkpoint(tmp_path, subfolder="absent")


def test_a_file_is_refused(tmp_path):
    (tmp_path / "ViT-B-32.pt").touch()
    with pytest.raises(CheckpointNotFoundError, match="is a file; expected a checkpoint directory"):
        resolve_checkpoint(tmp_path / "ViT-B-32.pt")


def test_a_name_is_found_in_the_cache_by_branch_and_by_commit(cache, no_huggingface_hub):
    name = "openai/clip-vit-base-patch32"
    assert resolve_checkpoint(name) == cache
    assert resolve_checkpoint(name, revision="abc123") == cache
    assert resolve_checkpoint(name, subfolder="text") == cache / "text"


def test_offline_says_where_was_looked(cache, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointNotFoundError, match="not in the local cache .*switched off"):
        resolve_checkpoint("someone/else")
    with pytest.raises(CheckpointNotFoundError, match="revision other"):
        resolve_checkpoint("openai/clip-vit-base-patch32", revision="other")


def test_a_download_needs_the_extra(cache, no_huggingface_hub):
    with pytest.raises(MissingExtraError, match=r"pip install 'triclip\[hub\]'"):
        resolve_checkpoint("someone/else")


def test_what_can_be_no_name_is_a_missing_directory():
    with pytest.raises(CheckpointNotFoundError, match="no such directory"):
        resolve_checkpoint("./some/where/deep")
