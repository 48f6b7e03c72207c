import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clip_core.checkpoint.converted_cache import CONVERTED_FILES
from clip_core.checkpoint.locating import resolve_checkpoint
from clip_core.config import CLIPConfig
from clip_core.errors import CheckpointError, CheckpointNotFoundError, ConfigError, InputError
from clip_core.image.processor import CLIPImageProcessor
from weights_convert import by_name, diff, inspect
from weights_convert.containers.opened import open_container
from weights_convert.containers.torchscript import write_torchscript
from weights_convert.formats.open_clip import OPEN_CLIP
from weights_convert.tests import checkpoints, published

MEAN = [0.48145466, 0.4578275, 0.40821073]
ROWS = [
    {"name": "Tiny/lab", "source": {"hub": "lab/tiny"}},
    {"name": "Tiny/timm", "source": {"hub": "timm/tiny", "layout": "open_clip"}, "preprocessing": "openai-squash"},
    {
        "name": "Tiny/both",
        "source": {"hub": "lab/both", "layout": "open_clip"},
        "also": [{"hub": "lab/both"}],
        "preprocessing": "openai-squash",
    },
    {"name": "Tiny/one", "source": {"hub": "lab/many", "file": "one.pt"}, "preprocessing": "half"},
    {"name": "Tiny/two", "source": {"hub": "lab/many", "file": "two.pt"}},
]


@pytest.fixture
def hub(monkeypatch, tmp_path, in_format):
    hub = published.use_hub(monkeypatch, tmp_path)
    published.use_table(monkeypatch, tmp_path / "table", ROWS)
    yield hub
    monkeypatch.undo()
    published.forget()


def files_in(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != ".lock"
    )


def open_clip_files(folder: Path, in_format, **changes: dict) -> Path:
    """A directory of open_clip, with changes in its configuration."""
    shutil.copytree(in_format["open_clip"], folder)
    path = folder / "open_clip_config.json"
    described = json.loads(path.read_text())
    described["preprocess_cfg"] = {"mean": MEAN, "size": 28}
    for part, change in changes.items():
        target = described["preprocess_cfg"] if part == "preprocess_cfg" else described["model_cfg"]
        (target if part in ("preprocess_cfg", "model_cfg") else target[part]).update(change)
    path.write_text(json.dumps(described))
    return folder


def test_what_is_converted_is_what_open_clip_writes():
    assert tuple(form.file for form in OPEN_CLIP.downloads) == CONVERTED_FILES


@pytest.mark.parametrize("name", ["Tiny/lab", "lab/tiny", "someone/else"])
def test_files_of_open_clip_are_converted_once(hub, in_format, source, tmp_path, monkeypatch, name):
    repository = name if name == "someone/else" else "lab/tiny"
    hub.add(repository, open_clip_files(tmp_path / "files", in_format))
    found = resolve_checkpoint(name, part="weights and processor")
    assert found == tmp_path / "cache/hub" / repository.replace("/", "--") / published.COMMIT
    assert diff(found, source).same
    assert CLIPImageProcessor.from_directory(found).size == {"shortest_edge": 28}
    record = json.loads((found / "converted_from.json").read_text())
    file = next(path for path in (tmp_path / "files").iterdir() if path.name == "open_clip_model.safetensors")
    assert record["sha256"] == record["published_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert record["weights_sha256"] == inspect(source).sha256
    asked = len(hub.asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for part in ("config", "tokenizer", "weights"):
        assert resolve_checkpoint(name, part=part) == found
    assert len(hub.asked) == asked


def test_of_a_repository_with_a_part_of_the_model_too_the_whole_is_taken(hub, in_format, source, tmp_path):
    folder = hub.add("timm/tiny", in_format["open_clip"], config={"architecture": "vit"})
    for file in ("model.safetensors", "open_clip_config.json"):
        (folder / file).write_text("{}" if file.endswith("json") else "a tower")
    (folder / "open_clip_config.json").unlink()
    found = resolve_checkpoint("Tiny/timm")
    assert diff(found, source).same
    assert CLIPImageProcessor.from_directory(found).size == {"height": 28, "width": 28}, "the table's preprocessing"


def test_a_tag_means_open_clip_s_files_and_a_repository_its_own(hub, in_format, source, tmp_path):
    """So that what is wrong in the one is right by the other name."""
    folder = hub.add(
        "lab/both", in_format["hf"], preprocessor_config=CLIPImageProcessor(size=28, crop_size=28).to_dict()
    )
    shutil.copy(in_format["open_clip"] / "open_clip_model.safetensors", folder)
    for _ in range(2):
        found = resolve_checkpoint("Tiny/both", part="weights and processor")
        assert found.parent == tmp_path / "cache/hub/lab--both--open_clip"
        assert CLIPImageProcessor.from_directory(found).size == {"height": 28, "width": 28}
        message = "(?s)expected 'squash', got 'shortest'.*To have it as it was published, say Tiny/both"
        with pytest.raises(ConfigError, match=message):
            resolve_checkpoint("lab/both", part="weights and processor")


def test_files_that_a_tag_means_are_shown_where_they_lie(hub, in_format, tmp_path):
    hub.add("timm/tiny", open_clip_files(tmp_path / "files", in_format, model_cfg={"quick_gelu": False}))
    lying = tmp_path / "hub-cache/models--timm--tiny/snapshots" / published.COMMIT / "open_clip_model.safetensors"
    with pytest.raises(ConfigError, match=f"hidden_act: expected .*(?s:.*)triclip convert {lying} NEW_DIRECTORY"):
        resolve_checkpoint("Tiny/timm")
    assert not files_in(tmp_path / "cache")


def test_a_repository_of_several_models(hub, in_format, source, tmp_path):
    (tmp_path / "files").mkdir()
    for name in ("one.pt", "two.pt"):
        write_torchscript(tmp_path / "files" / name, open_container(in_format["openai"]).tensors, {})
    hub.add("lab/many", tmp_path / "files")
    found = resolve_checkpoint("Tiny/one")
    assert diff(found, source).same
    assert CLIPImageProcessor.from_directory(found).image_mean == [0.5] * 3, "the table's preprocessing"
    with pytest.raises(CheckpointNotFoundError, match="holds several models"):
        resolve_checkpoint("lab/many")


WRONG = {
    "activation": ({"model_cfg": {"quick_gelu": False}}, r"text_config: hidden_act: expected 'quick_gelu', got 'gelu'"),
    "eps": ({"text_cfg": {"norm_kwargs": {"eps": 1e-6}}}, "layer_norm_eps: expected 1e-05, got 1e-06"),
    "heads": ({"vision_cfg": {"head_width": 32}}, "vision_config: num_attention_heads: expected 2, got 4"),
    "mean": ({"preprocess_cfg": {"mean": [0.5] * 3}}, r"image_mean: expected \(0.48.*\), got \[0.5, 0.5, 0.5\]"),
    "std": ({"preprocess_cfg": {"std": [0.5] * 3}}, r"image_std: expected \(0.26.*\), got \[0.5, 0.5, 0.5\]"),
    "resize": ({"preprocess_cfg": {"resize_mode": "squash"}}, "resize_mode: expected 'shortest', got 'squash'"),
    "filter": ({"preprocess_cfg": {"interpolation": "bilinear"}}, "interpolation: expected 'bicubic', got 'bilinear'"),
}


@pytest.mark.parametrize("what", WRONG)
def test_files_of_open_clip_that_contradict_the_table_are_refused(hub, in_format, tmp_path, what):
    change, message = WRONG[what]
    hub.add("lab/tiny", open_clip_files(tmp_path / "files", in_format, **change))
    for name in ("lab/tiny", "Tiny/lab"):
        with pytest.raises(ConfigError, match=f"(?s)^{name}: its files contradict .* of Tiny/lab.*{message}") as error:
            resolve_checkpoint(name)
    assert "To use it as its files say, convert it: triclip convert " in str(error.value)
    with pytest.raises(ConfigError, match="its files contradict what is known of Tiny/lab"):
        inspect("lab/tiny")
    assert not files_in(tmp_path / "cache")


NATIVE = {
    "activation": ({"text_config": {"hidden_act": "gelu"}}, {}, "text_config: hidden_act: expected 'quick_gelu'"),
    "eps": ({"vision_config": {"layer_norm_eps": 1e-6}}, {}, "vision_config: layer_norm_eps: expected 1e-05"),
    "heads": ({"vision_config": {"num_attention_heads": 4}}, {}, "num_attention_heads: expected 2, got 4"),
    "mean": ({}, {"image_mean": [0.5] * 3}, "image_mean: expected"),
    "std": ({}, {"image_std": [0.2] * 3}, "image_std: expected"),
    "scale": ({}, {"rescale_factor": 1 / 127.5}, "rescale_factor: expected 0.0039.*, got 0.0078"),
    "no scale": ({}, {"do_rescale": False}, "rescale_factor: expected 0.0039.*, got None"),
    "resize": ({}, {"size": {"height": 28, "width": 28}, "do_center_crop": False}, "resize_mode: expected 'shortest'"),
}


@pytest.mark.parametrize("what", NATIVE)
def test_files_that_contradict_the_table_are_refused_by_name_and_read_by_directory(hub, in_format, tmp_path, what):
    config, preprocessor, message = NATIVE[what]
    changed = checkpoints.CONFIG.to_dict()
    for tower, change in config.items():
        changed[tower].update(change)
    processor = {**CLIPImageProcessor(size=28, crop_size=28).to_dict(), **preprocessor}
    hub.add("lab/tiny", in_format["hf"], config=changed, preprocessor_config=processor)
    hub.add("me/tuned-tiny", in_format["hf"], config=changed, preprocessor_config=processor)
    with pytest.raises(ConfigError, match=f"(?s)^Tiny/lab: its files contradict what is known of .*{message}") as error:
        resolve_checkpoint("Tiny/lab", part="weights and processor")
    directory = tmp_path / "hub-cache/models--lab--tiny/snapshots" / published.COMMIT
    assert f"To use it as its files say, give its directory, {directory}" in str(error.value)
    assert resolve_checkpoint(directory) == directory
    assert resolve_checkpoint("me/tuned-tiny", part="weights and processor").is_dir()


def test_files_that_agree_are_taken_as_they_are(hub, in_format, tmp_path):
    hub.add("lab/tiny", in_format["hf"], preprocessor_config=CLIPImageProcessor(size=28, crop_size=28).to_dict())
    found = resolve_checkpoint("Tiny/lab", part="weights")
    assert CLIPConfig.from_directory(found) == checkpoints.CONFIG
    assert not (tmp_path / "cache").exists()


def test_a_file_that_is_not_what_the_hub_has_is_refused(hub, in_format, tmp_path):
    hub.add("lab/tiny", open_clip_files(tmp_path / "files", in_format))
    hub.torn = True
    with pytest.raises(
        CheckpointError, match="(?s)is not the file that was published: expected sha256 .*force_download"
    ):
        resolve_checkpoint("lab/tiny")
    assert not files_in(tmp_path / "cache")


def test_what_a_killed_process_left_is_removed_and_two_make_one(hub, in_format, tmp_path, monkeypatch):
    hub.add("lab/tiny", open_clip_files(tmp_path / "files", in_format))
    left = tmp_path / "cache/hub/lab--tiny/.12345678.tmp"
    left.mkdir(parents=True)
    made, really = [], by_name._made
    monkeypatch.setattr(by_name, "_made", lambda *all_: (made.append(1), really(*all_))[1])
    resolve_checkpoint("lab/tiny", part="config", force_download=False)
    shutil.rmtree(tmp_path / "cache")
    made.clear()
    left.mkdir(parents=True)
    with ThreadPoolExecutor(2) as pool:
        found = set(pool.map(resolve_checkpoint, ["lab/tiny", "lab/tiny"]))
    assert len(found) == len(made) == 1
    assert not left.exists()


def with_address(monkeypatch, tmp_path, url: str, sha256: str) -> None:
    row = {"name": "Tiny", "source": {"url": url, "sha256": sha256}, "also": [{"hub": "lab/tiny"}]}
    published.use_table(monkeypatch, tmp_path / "table", [row])


def test_a_file_at_an_address_is_fetched_proved_and_converted(hub, in_format, source, tmp_path, monkeypatch):
    content = in_format["openai"].read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    with published.serving(content) as url:
        with_address(monkeypatch, tmp_path, url, digest)
        found = resolve_checkpoint("Tiny", part="weights and processor")
    assert diff(found, source).same
    assert found == tmp_path / "cache/files/Tiny.pt" / digest
    assert resolve_checkpoint("Tiny", local_files_only=True) == found
    assert not [name for name in files_in(tmp_path / "cache") if name.endswith(".pt")]
    for asked in ({"revision": "v2"}, {"subfolder": "v2"}):
        with pytest.raises(InputError, match=f"has no {'folder' if 'subfolder' in asked else 'revision'} 'v2'"):
            resolve_checkpoint("Tiny", **asked)


def test_the_cache_of_openai_s_loader_is_used(hub, in_format, tmp_path, monkeypatch):
    content = in_format["openai"].read_bytes()
    known = tmp_path / "home/.cache/clip/Tiny.pt"
    known.parent.mkdir(parents=True)
    known.write_bytes(content)
    with_address(monkeypatch, tmp_path, "https://nowhere.invalid/Tiny.pt", hashlib.sha256(content).hexdigest())
    assert (resolve_checkpoint("Tiny", local_files_only=True) / "model.safetensors").is_file()
    assert known.read_bytes() == content


@pytest.mark.parametrize(
    ("sent", "sha256", "message"),
    [
        (
            1000,
            None,
            "the download ended after 1,000 of .* bytes; try again. Tiny: nothing was kept. The same model is",
        ),
        (None, "ab" * 32, "is not the file that was published: expected sha256 abab.*nothing was kept"),
    ],
)
def test_a_download_that_is_cut_or_another_file_leaves_nothing(
    hub, in_format, tmp_path, monkeypatch, sent, sha256, message
):
    content = in_format["openai"].read_bytes()
    with published.serving(content, sent) as url:
        with_address(monkeypatch, tmp_path, url, sha256 or hashlib.sha256(content).hexdigest())
        with pytest.raises(CheckpointError, match=message):
            resolve_checkpoint("Tiny")
    assert not files_in(tmp_path / "cache")


def test_a_cache_that_cannot_be_written_is_said_with_what_to_do(hub, in_format, tmp_path, monkeypatch):
    hub.add("lab/tiny", open_clip_files(tmp_path / "files", in_format))
    (tmp_path / "no-folder").write_text("")
    monkeypatch.setenv("TRICLIP_CACHE", str(tmp_path / "no-folder"))
    with pytest.raises(CheckpointError, match=r"cannot be written: .*\. Set TRICLIP_CACHE to a folder that can be\.$"):
        resolve_checkpoint("Tiny/lab")


def test_without_a_network_the_error_says_what_to_do(hub, tmp_path, monkeypatch):
    with published.serving(b"") as url:
        pass  # nobody listens there any more
    with_address(monkeypatch, tmp_path, url, "ab" * 32)
    with pytest.raises(
        CheckpointNotFoundError, match=r"download failed: .*refused.*The same model is in the hub: lab/tiny"
    ):
        resolve_checkpoint("Tiny")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    offline = "switched off; .*triclip convert Tiny.pt NEW_DIRECTORY --to hf --config Tiny"
    with pytest.raises(CheckpointNotFoundError, match=offline):
        resolve_checkpoint("Tiny")


def test_a_name_that_is_a_model_and_a_repository_in_the_cache_is_refused(hub, tmp_path):
    (tmp_path / "hub-cache/models--Tiny--lab").mkdir(parents=True)
    with pytest.raises(CheckpointNotFoundError, match="is the published model Tiny/lab and a repository in the cache"):
        resolve_checkpoint("Tiny/lab")


def test_a_directory_of_that_name_wins(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Tiny/lab").mkdir(parents=True)
    assert resolve_checkpoint("Tiny/lab") == Path("Tiny/lab")
