"""What cannot be loaded is told before anything is, with what to do."""

import json
from pathlib import Path

import pytest

import triclip
from clip_core.errors import CheckpointNotFoundError, ConfigError
from triclip.tests.conftest import changed_copy


@pytest.mark.parametrize("name", ["open_clip_config.json", "ViT-B-32.pt", "model.weights.h5"])
def test_a_directory_of_another_format_is_answered_with_the_command_that_converts_it(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "my model"
    directory.mkdir()
    (directory / name).touch()
    command = f"triclip convert '{directory}' NEW_DIRECTORY --to hf"
    with pytest.raises(CheckpointNotFoundError, match=f"has no config.json, but {name}, .*Convert it: {command}"):
        triclip.load(directory)


@pytest.mark.parametrize(
    ("options", "got"),
    [
        ({"crop_size": 3000}, "3000 x 3000"),
        ({"do_center_crop": False, "size": {"height": 30, "width": 28}}, "30 x 28"),
    ],
)
def test_a_processor_of_another_size_is_refused(checkpoint: str, tmp_path: Path, options: dict, got: str) -> None:
    directory = Path(changed_copy(checkpoint, tmp_path / "other", {}))
    file = directory / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | options))
    with pytest.raises(ConfigError, match=f"expected pictures of 30 x 30 pixels.*got {got}"):
        triclip.load(directory)
