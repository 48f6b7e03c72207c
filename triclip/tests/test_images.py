import os
import threading
from pathlib import Path

import numpy as np
import pytest

from clip_core.errors import ImageError, InputError
from triclip.images import ImageFile, Picture, batches, find_images, read_ahead


def _found(*names: str | Path) -> list[str]:
    files = find_images(map(str, names)).files
    assert [file.problem for file in files] == [None] * len(files)
    return [file.path for file in files]


def test_a_folder_stands_for_the_pictures_at_any_depth_sorted(folder: Path) -> None:
    assert _found(folder) == [f"{folder}/a.JPG", f"{folder}/b.png", f"{folder}/below/猫.png"]


def test_a_named_file_is_tried_whatever_it_is_called(folder: Path) -> None:
    assert _found(folder / "notes.txt", folder / ".hidden.png") == [f"{folder}/notes.txt", f"{folder}/.hidden.png"]


def test_a_pattern_stands_for_its_matches_sorted(folder: Path) -> None:
    assert _found(f"{folder}/**/*.png") == [f"{folder}/b.png", f"{folder}/below/猫.png"]


def test_a_pattern_that_matches_a_folder_stands_for_its_pictures(folder: Path) -> None:
    assert _found(f"{folder}/be*") == [f"{folder}/below/猫.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    for name in ("a[1].png", "a1.png"):
        (tmp_path / name).touch()
    assert _found(tmp_path / "a[1].png") == [f"{tmp_path}/a[1].png"]


def test_arguments_keep_their_order_and_a_picture_comes_once(folder: Path) -> None:
    twice = f"{folder}/below/../b.png"
    assert _found(folder / "b.png", folder, twice) == [
        f"{folder}/b.png",
        f"{folder}/a.JPG",
        f"{folder}/below/猫.png",
    ]


@pytest.mark.parametrize("name", ["nothing*.png", "empty"])
def test_what_leads_to_no_picture_is_a_problem(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (file,) = find_images([f"{tmp_path}/{name}"]).files
    assert file.path == f"{tmp_path}/{name}"
    assert file.problem is not None
    assert file.problem.startswith("no ")


def test_files_that_are_left_out_are_counted_once_by_their_endings(folder: Path) -> None:
    for name in ("a.HEIC", "below/b.heic", "README"):
        (folder / name).touch()
    assert find_images(map(str, [folder, folder / "below"])).skipped == {".heic": 2, ".txt": 1, "without an ending": 1}
    assert ".txt" not in find_images(map(str, [folder, folder / "notes.txt"])).skipped


def test_a_folder_that_cannot_be_listed_is_a_problem(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("below"):
            raise PermissionError(13, "Permission denied", path)
        return listing(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = {file.path: file.problem for file in find_images([str(folder)]).files}
    assert found[f"{folder}/b.png"] is None
    assert "Permission denied" in str(found[f"{folder}/below"])


def _read(path: str) -> np.ndarray:
    if "bad" in path:
        raise ImageError(f"{path}: broken")
    if "odd" in path:
        raise InputError("no such mode")
    return np.array([float(path.split("/")[-1])], np.float32)


def test_pictures_come_in_order_with_the_problems_between_them() -> None:
    files = [ImageFile("1"), ImageFile("x/bad"), ImageFile("2"), ImageFile("gone", "no file"), ImageFile("odd")]
    with read_ahead(files, _read, 2) as read:
        pictures = list(read)
    assert [picture.path for picture in pictures] == ["1", "x/bad", "2", "gone", "odd"]
    assert [picture.problem for picture in pictures] == [
        None,
        "x/bad: broken",
        None,
        "gone: no file",
        "odd: no such mode",
    ]
    assert [float(picture.pixels[0]) for picture in pictures if picture.pixels is not None] == [1, 2]


def test_reading_begins_at_once_and_never_runs_further_ahead_than_the_limit() -> None:
    started: list[str] = []
    as_far_as_it_may = threading.Event()

    def read(path: str) -> np.ndarray:
        started.append(path)
        if len(started) == 7:
            as_far_as_it_may.set()
        return np.zeros(1, np.float32)

    with read_ahead((ImageFile(str(number)) for number in range(1000)), read, 7) as pictures:
        assert as_far_as_it_may.wait(60)
        next(pictures)
    assert len(started) == 7


def test_what_was_not_begun_is_left_when_the_consumer_fails() -> None:
    started: list[str] = []
    has_failed = threading.Event()

    def read(path: str) -> np.ndarray:
        started.append(path)
        if path != "0":
            has_failed.wait(60)
        return np.zeros(1, np.float32)

    files = [ImageFile(str(number)) for number in range(5000)]

    def fail() -> None:
        has_failed.set()
        raise KeyError

    with pytest.raises(KeyError), read_ahead(files, read, 4000):
        fail()
    assert len(started) < 4000


def test_batches_hold_equally_many_readable_pictures() -> None:
    pixels = np.zeros(1, np.float32)
    pictures = [
        Picture(str(i), None if i in (0, 2, 6) else pixels, "bad" if i in (0, 2, 6) else None) for i in range(7)
    ]
    grouped = [[picture.path for picture in batch] for batch in batches(pictures, 2)]
    assert grouped == [["0", "1", "2", "3"], ["4", "5"], ["6"]]
