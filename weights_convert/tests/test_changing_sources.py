"""Sources that are replaced, written to or cut while they are read; ``race.py`` does the same by chance."""

import os
import shutil

import pytest

from clip_core.errors import CheckpointError
from weights_convert import convert, diff, inspect, opening
from weights_convert.tests import checkpoints, race


def replaced(file):
    shutil.copyfile(file, file.with_name("new.tmp"))
    os.replace(file.with_name("new.tmp"), file)


def written_over(file):
    with open(file, "r+b") as opened:
        opened.seek(-4, os.SEEK_END)
        opened.write(b"\0\0\0\0")


def cut(file):
    os.truncate(file, file.stat().st_size // 2)


def disturbing(file, change):
    """A progress bar that changes a file when the first weight has been read."""
    changes = [change]

    def advance(done):
        if changes:
            changes.pop()(file)

    return lambda total: advance


@pytest.mark.parametrize("change", [replaced, written_over, cut])
@pytest.mark.parametrize("name", checkpoints.FORMATS)
def test_a_conversion_of_a_source_that_changes_keeps_nothing(in_format, tmp_path, name, change):
    path = checkpoints.destination(tmp_path, name)
    (shutil.copytree if in_format[name].is_dir() else shutil.copy)(in_format[name], path)
    file = path if path.is_file() else max(path.iterdir(), key=lambda entry: entry.stat().st_size)
    (tmp_path / "results").mkdir()
    with pytest.raises(CheckpointError, match=f"{file.name}: changed while it was read"):
        convert(path, tmp_path / "results/out", to="hf", progress=disturbing(file, change))
    assert not list((tmp_path / "results").iterdir())


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "model-00002-of-*.safetensors"])
@pytest.mark.parametrize("read", [inspect, lambda path, progress: diff(path, path, progress=progress)])
def test_every_file_of_a_directory_is_watched(source, tmp_path, file, read):
    convert(source, tmp_path / "in", to="hf", max_shard_size="500KB")
    (changing,) = (tmp_path / "in").glob(file)
    with pytest.raises(CheckpointError, match=f"{changing.name}: changed while it was read"):
        read(tmp_path / "in", progress=disturbing(changing, replaced))


def test_a_source_that_does_not_fit_together_since_it_changed_is_said_to_have_changed(source, tmp_path, monkeypatch):
    convert(source, tmp_path / "in", to="hf")
    original = opening.open_container

    def open_and_change(path):
        opened = original(path)
        written_over(tmp_path / "in/config.json")
        return opened

    monkeypatch.setattr(opening, "open_container", open_and_change)
    with pytest.raises(CheckpointError, match=r"config\.json: changed while it was read"):
        inspect(tmp_path / "in")


def test_the_race_tells_a_mixture_from_a_checkpoint():
    first, second = race.weights(0), race.weights(1)
    assert race.whose("bin", race.config("bin", 1), second, first) == "second"
    mixed = {**first, "logit_scale": second["logit_scale"]}
    assert race.whose("bin", race.config("bin", 0), mixed, first) == "mixture"
    assert race.whose("shards", race.config("shards", 1), first, first) == "mixture"
