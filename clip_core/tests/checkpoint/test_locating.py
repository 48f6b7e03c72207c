import builtins
import json
import os
import sys
from fnmatch import fnmatch
from types import SimpleNamespace

import pytest

from clip_core.checkpoint.hub_cache import WeightForm
from clip_core.checkpoint.locating import resolve_checkpoint
from clip_core.checkpoint.weight_files import WeightChoice
from clip_core.errors import CheckpointNotFoundError, MissingExtraError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A Hugging Face cache that holds one revision of one repository."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--openai--clip-vit-base-patch32"
    snapshot = repository / "snapshots" / "abc123"
    (snapshot / "text").mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "text" / "config.json").write_text("{}")
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
    with pytest.raises(CheckpointNotFoundError, match="is a file; expected a .*triclip convert .*ViT-B-32.pt NEW_DIR"):
        resolve_checkpoint(tmp_path / "ViT-B-32.pt")


def test_a_pipe_is_no_name_of_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("model.pt")
    with pytest.raises(CheckpointNotFoundError, match="^model.pt is a pipe, a device or a socket"):
        resolve_checkpoint("model.pt")


def test_a_name_is_found_in_the_cache_by_branch_and_by_commit(cache, no_huggingface_hub):
    name = "openai/clip-vit-base-patch32"
    assert resolve_checkpoint(name) == cache
    assert resolve_checkpoint(name, revision="abc123") == cache
    assert resolve_checkpoint(name, subfolder="text") == cache / "text"


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"])
def test_the_cache_is_where_the_hubs_own_library_has_it(tmp_path, monkeypatch, no_huggingface_hub, variable):
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    below = {"HF_HUB_CACHE": "", "HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub"}[variable]
    monkeypatch.setenv(variable, str(tmp_path))
    snapshot = tmp_path / below / "models--a--b" / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert resolve_checkpoint("a/b", revision="abc123") == snapshot


def test_a_given_cache_goes_before_the_environments(cache, tmp_path, monkeypatch, no_huggingface_hub):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "other"))
    assert resolve_checkpoint("openai/clip-vit-base-patch32", cache_dir=tmp_path) == cache


def test_the_home_of_nobody_is_a_missing_directory():
    with pytest.raises(CheckpointNotFoundError, match="~nobody-of-this-name/clip: "):
        resolve_checkpoint("~nobody-of-this-name/clip")


def test_the_checkpoint_that_ships_with_triclip_needs_no_cache():
    assert (resolve_checkpoint("triclip-emoji") / "config.json").is_file()


def test_a_download_that_fails_says_why(cache, monkeypatch):
    def model_info(name, **_):
        raise ConnectionError("no route to host")

    hub = SimpleNamespace(model_info=model_info, snapshot_download=None)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    with pytest.raises(CheckpointNotFoundError, match=r"someone/else \(revision main\).*failed: no route to host"):
        resolve_checkpoint("someone/else")


def test_offline_says_where_was_looked(cache, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointNotFoundError, match="local cache .*switched off"):
        resolve_checkpoint("someone/else")
    with pytest.raises(CheckpointNotFoundError, match="revision other"):
        resolve_checkpoint("openai/clip-vit-base-patch32", revision="other")


def test_a_download_needs_the_extra(cache, no_huggingface_hub):
    with pytest.raises(MissingExtraError, match=r"pip install 'triclip\[hub\]'"):
        resolve_checkpoint("someone/else")


def test_what_can_be_no_name_is_a_missing_directory():
    with pytest.raises(CheckpointNotFoundError, match="no such directory"):
        resolve_checkpoint("./some/where/deep")


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A stand-in for ``huggingface_hub``: the files of its repository, the patterns and the rest of each request."""
    files, asked, stopped, how = ["config.json", "vocab.json", "flax_model.msgpack"], [], [], []
    snapshot = tmp_path / "models--a--b" / "snapshots" / "c0ffee"

    def snapshot_download(name, *, revision, cache_dir, allow_patterns, force_download, token):
        asked.append(allow_patterns)
        how.append({"force_download": force_download, "token": token})
        for file in () if stopped else files:
            if not (snapshot / file).exists() and any(fnmatch(file, pattern) for pattern in allow_patterns):
                (snapshot / file).parent.mkdir(parents=True, exist_ok=True)
                (snapshot / file).write_text("{}")
        (tmp_path / "models--a--b" / "refs").mkdir(exist_ok=True)
        (tmp_path / "models--a--b" / "refs" / revision).write_text("c0ffee")
        return str(snapshot)

    def model_info(name, *, revision, token):
        return SimpleNamespace(sha="c0ffee", siblings=[SimpleNamespace(rfilename=file) for file in files])

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    hub = SimpleNamespace(model_info=model_info, snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    return SimpleNamespace(files=files, asked=asked, stopped=stopped, how=how)


def downloaded(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("also", [[], ["pytorch_model.bin"]])
def test_safetensors_are_preferred(remote, also):
    files = remote.files
    files += ["model.safetensors", *also]
    assert downloaded(resolve_checkpoint("a/b", part="weights")) == ["config.json", "model.safetensors", "vocab.json"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (WeightChoice(variant="fp16"), ["model.fp16.safetensors"]),
        (WeightChoice(use_safetensors=False), ["pytorch_model.bin"]),
        (WeightChoice(variant="fp16", use_safetensors=False), []),
    ],
)
def test_of_several_weights_the_chosen_ones_are_downloaded(remote, choice, expected):
    remote.files.extend(["model.safetensors", "model.fp16.safetensors", "pytorch_model.bin"])
    found = downloaded(resolve_checkpoint("a/b", part="weights", choice=choice))
    assert found == ["config.json", *expected, "vocab.json"]


def test_a_forced_download_asks_the_hub_again_with_the_token(remote, monkeypatch):
    resolve_checkpoint("a/b", token="hf_secret")
    resolve_checkpoint("a/b")
    assert remote.how == [{"force_download": False, "token": "hf_secret"}]
    resolve_checkpoint("a/b", force_download=True)
    assert remote.how[1:] == [{"force_download": True, "token": None}]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointNotFoundError, match="to be downloaded again into the local cache .* switched off"):
        resolve_checkpoint("a/b", force_download=True)


def test_pytorch_weights_are_downloaded_where_there_is_nothing_else(remote):
    files = remote.files
    files += ["pytorch_model.bin", "pytorch_model.fp16.bin", "training_args.bin", "open_clip_model.safetensors"]
    assert downloaded(resolve_checkpoint("a/b", part="weights")) == ["config.json", "pytorch_model.bin", "vocab.json"]


def test_only_the_wanted_folder_is_downloaded(remote):
    files = remote.files
    files += ["model.safetensors", "text/config.json", "text/model.safetensors", "unet/model.safetensors"]
    found = resolve_checkpoint("a/b", part="weights", subfolder="text/")
    assert downloaded(found.parent) == ["text/config.json", "text/model.safetensors"]


def test_shards_that_are_missing_are_downloaded(remote):
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    snapshot = resolve_checkpoint("a/b")
    index = {"weight_map": dict(zip("ab", shards, strict=True))}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    (snapshot / shards[0]).touch()  # and there an earlier download was stopped
    remote.files.extend(["model.safetensors.index.json", *shards])
    assert shards[1] in downloaded(resolve_checkpoint("a/b", part="weights"))


def test_the_converter_gets_other_formats_by_name_too(remote):
    files = remote.files
    files += ["tf_model.h5", "tf.json"]
    foreign = (WeightForm("other.bin"), WeightForm("tf_model.h5", ("tf*.json",)))
    found = resolve_checkpoint("a/b", part="weights", foreign_weights=foreign)
    assert downloaded(found) == ["config.json", "tf.json", "tf_model.h5", "vocab.json"]


def test_weights_are_downloaded_when_they_are_wanted_and_once(remote):
    remote.files.append("model.safetensors")
    assert downloaded(resolve_checkpoint("a/b")) == ["config.json", "vocab.json"]
    assert len(remote.asked) == 1
    assert "model.safetensors" in downloaded(resolve_checkpoint("a/b", part="weights"))
    assert len(remote.asked) == 2
    resolve_checkpoint("a/b", part="weights")
    resolve_checkpoint("a/b")
    assert len(remote.asked) == 2


def test_a_cache_without_weights_is_not_whole_offline(cache, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointNotFoundError, match=r"without model\.safetensors in the local cache"):
        resolve_checkpoint("openai/clip-vit-base-patch32", part="weights")


def test_a_cache_that_holds_a_model_without_its_processor_is_completed(remote, tmp_path, monkeypatch):
    """As loading the model alone leaves it in other libraries."""
    remote.files[:] = ["config.json", "vocab.json", "preprocessor_config.json", "model.safetensors"]
    snapshot = tmp_path / "models--a--b" / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).write_text("{}")
    (tmp_path / "models--a--b" / "refs").mkdir()
    (tmp_path / "models--a--b" / "refs" / "main").write_text("c0ffee")
    assert resolve_checkpoint("a/b", part="weights") == snapshot
    assert not remote.asked
    with pytest.raises(
        CheckpointNotFoundError, match=r"without tokenizer\.json, preprocessor_config\.json in the local"
    ):
        resolve_checkpoint("a/b", part="weights and processor", local_files_only=True)
    found = resolve_checkpoint("a/b", part="weights and processor")
    assert (found / "preprocessor_config.json").is_file()
    assert (found / "vocab.json").is_file()


def cached(tmp_path, *names, repository="a/b", commit="c0ffee"):
    """A revision in the cache with these files."""
    folder = tmp_path / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs/main").write_text(commit)
    for name in names:
        (folder / "snapshots" / commit / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "snapshots" / commit / name).write_text("{}")
    return folder / "snapshots" / commit


@pytest.mark.parametrize(
    ("there", "part", "missing"),
    [
        (["config.json", "vocab.json"], "tokenizer", "merges.txt"),
        (["config.json", "tokenizer_config.json"], "tokenizer", "tokenizer.json"),
        (["model.safetensors"], "weights", "config.json"),
        (["config.json", "model.safetensors", "tokenizer.json"], "everything", "preprocessor_config.json"),
        (["config.json", "tf_model.h5", "processor_config.json"], "everything", "tokenizer.json"),
        (["keras.json", "k.h5", "preprocessor_config.json", "tokenizer.json"], "everything", "converter.json"),
    ],
)
def test_a_half_filled_cache_is_completed_or_refused_by_the_names_of_what_is_missing(
    remote, tmp_path, there, part, missing
):
    companions = {"config": (("keras.json",),), "tokenizer": (("k.h5",),), "image_processor": (("converter.json",),)}
    forms = (WeightForm("tf_model.h5"), WeightForm("k.h5", ("*.json",), companions))
    snapshot = cached(tmp_path, *there)
    remote.files[:] = [*there, missing, "README.md"]
    with pytest.raises(CheckpointNotFoundError, match=f"without {missing} in the local cache"):
        resolve_checkpoint("a/b", part=part, foreign_weights=forms, local_files_only=True)
    assert resolve_checkpoint("a/b", part=part, foreign_weights=forms) == snapshot
    assert downloaded(snapshot) == sorted([*there, missing])
    assert resolve_checkpoint("a/b", part=part, foreign_weights=forms, local_files_only=True) == snapshot


def test_what_a_repository_does_not_have_is_asked_for_once(remote, tmp_path):
    remote.files[:] = ["config.json", "model.safetensors", "vocab.json", "merges.txt"]
    snapshot = cached(tmp_path, *remote.files)
    for _ in range(2):
        assert resolve_checkpoint("a/b", part="everything") == snapshot
    assert len(remote.asked) == 1
    assert resolve_checkpoint("a/b", part="everything", local_files_only=True) == snapshot


def test_what_a_tower_cannot_use_is_not_missing(remote, tmp_path):
    snapshot = cached(tmp_path, "model.safetensors", "tokenizer.json")
    (snapshot / "config.json").write_text('{"model_type": "clip_text_model"}')
    assert resolve_checkpoint("a/b", part="everything") == snapshot
    assert not remote.asked


def test_a_download_that_ends_in_the_midst_is_not_taken_for_all(remote, tmp_path):
    """The hub's own library gives what the cache has where the hub does not answer."""
    cached(tmp_path, "config.json", "model.safetensors", "tokenizer.json")
    remote.files[:] = ["config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"]
    remote.stopped.append(True)
    with pytest.raises(CheckpointNotFoundError, match=r"download failed: it ended without preprocessor_config\.json"):
        resolve_checkpoint("a/b", part="everything")
    assert not (tmp_path / "models--a--b/.no_exist").exists()


def test_shards_that_are_missing_are_named(cache, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = {"weight_map": dict(zip("ab", shards, strict=True))}
    (cache / "model.safetensors.index.json").write_text(json.dumps(index))
    (cache / shards[0]).touch()
    with pytest.raises(CheckpointNotFoundError, match="without model-00002-of-00002.safetensors in the local cache"):
        resolve_checkpoint("openai/clip-vit-base-patch32", part="weights")
