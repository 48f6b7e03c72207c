import json
import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from clip_core.checkpoint import switch as switches
from clip_core.checkpoint.directory import load_checkpoint
from clip_core.checkpoint.saving import save_checkpoint
from clip_core.checkpoint.switch import JOURNAL, FileSwitch, finish_switch, is_placed, placed
from clip_core.config import CLIPConfig
from clip_core.errors import CheckpointFormatError
from clip_core.initialization import draw_weights
from clip_core.tests.sizes import DISTINCT

CONFIG, SINGLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
SHARD = "model-00001-of-00002.safetensors"


def _content(directory: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in directory.iterdir()}


def _switch(directory: Path) -> None:
    """From a single file to shards, with texts for contents."""
    for name in (CONFIG, SINGLE):
        (directory / name).write_text("old")
    with FileSwitch(directory) as switch:
        for name in (CONFIG, INDEX, SHARD):
            switch.write(name).write_text(f"new {name}")
        switch.remove([SINGLE])


def _cut_short(directory: Path, monkeypatch: pytest.MonkeyPatch, renames: int) -> None:
    """The same, killed after some renames of files that it wrote."""
    replace, left = os.replace, iter(range(renames + 1))

    def replace_some(source, target):
        if next(left, None) is None:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(switches.os, "replace", replace_some)  # the first renames the journal
        with pytest.raises(KeyboardInterrupt):
            _switch(directory)


def test_a_switch_replaces_adds_and_removes(tmp_path):
    _switch(tmp_path)
    assert _content(tmp_path) == {name: f"new {name}" for name in (CONFIG, INDEX, SHARD)}


def test_a_failing_switch_changes_nothing(tmp_path):
    (tmp_path / CONFIG).write_text("old")
    with suppress(RuntimeError), FileSwitch(tmp_path) as switch:
        switch.write(CONFIG).write_text("new")
        switch.remove([CONFIG])
        raise RuntimeError
    assert _content(tmp_path) == {CONFIG: "old"}


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_switch_that_was_cut_short_is_read_as_it_lies_and_finished_by_a_writer(tmp_path, monkeypatch, renames):
    _cut_short(tmp_path, monkeypatch, renames)
    before = _content(tmp_path)
    assert {name: placed(tmp_path / name).read_text() for name in (CONFIG, INDEX, SHARD)} == {
        name: f"new {name}" for name in (CONFIG, INDEX, SHARD)
    }
    assert [name for name in (CONFIG, SINGLE, INDEX, SHARD) if is_placed(tmp_path / name)] == [CONFIG, INDEX, SHARD]
    assert _content(tmp_path) == before
    finish_switch(tmp_path)
    assert _content(tmp_path) == {name: f"new {name}" for name in (CONFIG, INDEX, SHARD)}


@pytest.mark.parametrize("name", [CONFIG, SINGLE, INDEX])
def test_what_another_writer_put_there_since_is_neither_mixed_in_nor_replaced(tmp_path, monkeypatch, name):
    _cut_short(tmp_path, monkeypatch, renames=2)
    (tmp_path / name).write_text("of another library")
    before = _content(tmp_path)
    with pytest.raises(CheckpointFormatError, match=f"{name} was written by something else since|not there whole"):
        finish_switch(tmp_path)
    assert _content(tmp_path) == before


def test_a_file_of_a_switch_that_is_not_whole_is_refused(tmp_path, monkeypatch):
    _cut_short(tmp_path, monkeypatch, renames=0)
    placed(tmp_path / CONFIG).write_text("new conf")
    for use in (lambda: placed(tmp_path / CONFIG), lambda: finish_switch(tmp_path)):
        with pytest.raises(CheckpointFormatError, match="the file that it made for config.json is not there whole"):
            use()


def _own(renames: object, removals: object = ()) -> dict[str, object]:
    digests = dict.fromkeys(renames.values(), "0" * 64) if isinstance(renames, dict) else {}
    return {"journal": "triclip-save-1", "renames": renames, "sha256": digests, "removals": removals}


@pytest.mark.parametrize(
    "plan",
    [
        {"renames": {"thesis.txt": "config.bak"}, "removals": ["notes.txt"]},
        {"renames": {".config.json.01234567.tmp": CONFIG}, "removals": []},
        _own({"thesis.txt": CONFIG}),
        _own({".config.json.01234567.tmp": "notes.txt"}),
        _own({"../.config.json.01234567.tmp": CONFIG}),
        _own({".config.json.01234567.tmp/../thesis.txt": CONFIG}),
        _own({}, ["notes.txt"]),
        _own({}, ["../config.json"]),
        _own({}, [3]),
        _own([]),
        {**_own({".config.json.01234567.tmp": CONFIG}), "sha256": {CONFIG: "0"}},
        {},
    ],
)
def test_a_foreign_journal_is_an_error_and_nothing_is_touched(tmp_path, plan):
    (tmp_path / "inside").mkdir()
    for name in (CONFIG, "thesis.txt", "notes.txt", "inside/notes.txt", "inside/thesis.txt", f"inside/{CONFIG}"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "inside" / JOURNAL).write_text(json.dumps(plan))
    before = sorted(tmp_path.rglob("*"))
    for use in (placed, is_placed, lambda path: finish_switch(path.parent)):
        with pytest.raises(CheckpointFormatError, match="expected the journal of a save"):
            use(tmp_path / "inside" / CONFIG)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("mode", [0o600, 0o644])
@pytest.mark.parametrize("shards", ["5GB", "40KB"])
def test_a_save_is_for_those_who_may_read_the_old_one(tmp_path, mode, shards):
    weights = dict(draw_weights(DISTINCT, seed=1))
    for size in ("5GB", shards):
        save_checkpoint(tmp_path, DISTINCT, weights, architecture="CLIPModel", max_shard_size=size)
        for file in tmp_path.iterdir():
            file.chmod(mode)
    save_checkpoint(tmp_path, DISTINCT, weights, architecture="CLIPModel", max_shard_size=shards)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {mode}


def test_loading_beside_a_foreign_journal_changes_nothing(tmp_path):
    save_checkpoint(tmp_path, DISTINCT, dict(draw_weights(DISTINCT, seed=1)), architecture="CLIPModel")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / JOURNAL).write_text(json.dumps({"renames": {}, "removals": ["notes.txt"]}))
    with pytest.raises(CheckpointFormatError, match="expected the journal of a save"):
        load_checkpoint(tmp_path, CLIPConfig)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / JOURNAL).exists()
