"""A repository of the hub that holds open_clip's files only, loaded by its name as any checkpoint is."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import triclip
from clip_core.backends import installed_backends
from weights_convert import convert
from weights_convert.tests import published


@pytest.mark.parametrize("backend", installed_backends()[:1])
def test_a_repository_of_open_clip_encodes_as_its_conversion(checkpoint, tmp_path, monkeypatch, backend):
    hub = published.use_hub(monkeypatch, tmp_path)
    convert(checkpoint, tmp_path / "files", to="open_clip")
    convert(tmp_path / "files", tmp_path / "again", to="hf")
    hub.add("someone/clip", tmp_path / "files")
    picture = Path(__file__).parents[1] / "samples" / "cat.png"
    found = [triclip.load(name, backend=backend) for name in ("someone/clip", tmp_path / "again")]
    for vectors in ([each.encode_texts("a cat") for each in found], [each.encode_images(picture) for each in found]):
        np.testing.assert_array_equal(*vectors)
    shutil.rmtree(hub.folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    np.testing.assert_array_equal(
        triclip.load("someone/clip", backend=backend).encode_texts("a cat"), found[1].encode_texts("a cat")
    )
