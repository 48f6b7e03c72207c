"""Reading image files, and what counts as an image."""

import struct
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from clip_core.errors import ImageError, InputError, InputTypeError
from clip_core.image.inputs import ChannelDimension, flatten_images, infer_layout, is_image, load_image
from clip_core.tests.synthetic_images import synthetic_array, synthetic_image


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "tiff", "webp", "bmp"])
def test_load_image_decodes_completely(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    synthetic_image("RGB", 9, 7).save(path)
    image = load_image(path)
    path.unlink()
    assert np.asarray(image.convert("RGB")).shape == (9, 7, 3)


def test_load_image_leaves_exif_alone_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    synthetic_image("RGB", 9, 7).save(path, exif=exif)
    assert load_image(path).size == (7, 9)
    assert load_image(str(path), apply_exif_rotation=True).size == (9, 7)


def test_load_image_names_the_file_and_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"absent\.png: no such file"):
        load_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match=r"cannot be read.*directory"):
        load_image(tmp_path)
    text = tmp_path / "text.png"
    text.write_text("no image")
    with pytest.raises(ImageError, match=r"text\.png: not an image in a format that Pillow can read"):
        load_image(text)


@pytest.mark.filterwarnings("ignore:Truncated File Read:UserWarning")  # Pillow's TIFF reader warns before it raises
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "tiff", "webp", "bmp"])
def test_load_image_refuses_every_truncation(tmp_path: Path, suffix: str) -> None:
    whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    synthetic_image("RGB", 40, 30).save(whole)
    data = whole.read_bytes()
    for length in range(0, int(len(data) * 0.9), max(1, len(data) // 60)):
        cut.write_bytes(data[:length])
        with pytest.raises(ImageError, match=r"cut\."):
            load_image(cut)


def test_load_image_refuses_a_decompression_bomb(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    path = tmp_path / "bomb.png"
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(ImageError, match=r"bomb\.png: .*decompression bomb.*MAX_IMAGE_PIXELS"):
        load_image(path)


def test_flatten_names_every_image() -> None:
    image, batch = synthetic_image("L", 2, 2), synthetic_array(4, 5)[None]
    assert list(flatten_images([image, [image, batch]])) == ["images[0]", "images[1][0]", "images[1][1][0]"]
    assert list(flatten_images(image)) == ["images"]


def test_is_image() -> None:
    assert is_image(synthetic_image("L", 2, 2))
    assert is_image(np.zeros(3))
    assert not is_image("cat.png")
    assert not is_image([1, 2])


def test_infer_layout() -> None:
    first, last, both = np.zeros((3, 9, 9)), np.zeros((9, 9, 3)), np.zeros((3, 9, 3))
    assert infer_layout({"a": first, "b": both}) == ChannelDimension.FIRST
    assert infer_layout({"a": both, "b": last}) == ChannelDimension.LAST
    with pytest.raises(InputError, match=r"a: shape \(3, 9, 3\) can be read"):
        infer_layout({"a": both})


class FakeTensor:
    """What the core uses of a PyTorch tensor. The core's tests import no framework; the conformance tests do."""

    def __init__(self, array: np.ndarray | None) -> None:
        self.array = array

    def detach(self) -> "FakeTensor":
        return self

    def cpu(self) -> "FakeTensor":
        return self

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        if self.array is None:
            raise TypeError("Got unsupported ScalarType BFloat16\nmore")
        return self.array


def test_tensors_are_known_by_frameworks_already_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = FakeTensor(synthetic_array(4, 5))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert not is_image(tensor)
    with pytest.raises(InputTypeError, match="got FakeTensor"):
        flatten_images(tensor)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(Tensor=FakeTensor))
    assert is_image(tensor)
    assert np.array_equal(flatten_images([tensor])["images[0]"], synthetic_array(4, 5))


def test_unreadable_tensor_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(Tensor=FakeTensor))
    with pytest.raises(InputTypeError, match=r"images: .* torch array .*\(Got unsupported ScalarType BFloat16\)"):
        flatten_images(FakeTensor(None))
