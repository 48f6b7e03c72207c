"""Reading image files: all of them whole, upright and in 8 bits, or an error that names the file."""

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from clip_core.errors import ImageError
from clip_core.image.loading import load_image
from clip_core.tests.synthetic_images import synthetic_image


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "tiff", "webp", "bmp"])
def test_load_image_decodes_completely(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    synthetic_image("RGB", 9, 7).save(path)
    image = load_image(path)
    path.unlink()
    assert np.asarray(image.convert("RGB")).shape == (9, 7, 3)


def turned(orientation: int, suffix: str, path: Path) -> Image.Image:
    """A picture that is written to `path` as a camera held otherwise does."""
    image = synthetic_image("RGB", 9, 7)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path.with_suffix(suffix), exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    return image


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_load_image_turns_as_pillow_does(tmp_path: Path, suffix: str, orientation: int) -> None:
    image = turned(orientation, suffix, tmp_path / "turned")
    image.getexif()[0x0112] = orientation
    loaded = load_image(tmp_path / f"turned{suffix}")
    assert np.array_equal(np.asarray(loaded), np.asarray(ImageOps.exif_transpose(image)))
    assert loaded.size == ((9, 7) if orientation >= 5 else (7, 9))
    again = ImageOps.exif_transpose(loaded)
    assert again is not None
    assert again.size == loaded.size


def test_load_image_leaves_the_picture_as_it_lies_if_asked_to(tmp_path: Path) -> None:
    image = turned(6, ".png", tmp_path / "turned")
    loaded = load_image(tmp_path / "turned.png", apply_exif_rotation=False)
    assert np.array_equal(np.asarray(loaded), np.asarray(image))


def test_a_picture_with_damaged_exif_is_read(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a camera"
    synthetic_image("RGB", 9, 7).save(path, exif=exif)
    whole = path.read_bytes()
    start = whole.index(b"Exif\0\0") + 6
    chosen = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for place, value in chosen.integers(0, [len(exif.tobytes()) - 6, 256], (4, 2)):
            damaged[start + place] = value
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of the damage
            assert set(load_image(path).size) == {7, 9}


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pgm"])
def test_grey_of_16_bits_is_the_same_grey_in_8(tmp_path: Path, suffix: str) -> None:
    wide = synthetic_image("I;16", 9, 7)
    wide.save(tmp_path / f"grey{suffix}")
    loaded = load_image(tmp_path / f"grey{suffix}")
    assert loaded.mode == "L"
    assert np.array_equal(np.asarray(loaded), np.asarray(synthetic_image("L", 9, 7)))


def test_grey_of_unknown_range_is_refused_by_name(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 5), -1, np.int32)).save(tmp_path / "grey.tiff")
    with pytest.raises(ImageError, match=r"grey\.tiff: expected grey values from 0 to 255 or to 65535, got -1"):
        load_image(tmp_path / "grey.tiff")


def test_load_image_names_the_file_and_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"absent\.png: no such file"):
        load_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match=r"cannot be opened: Is a directory"):
        load_image(tmp_path)
    text = tmp_path / "text.png"
    text.write_text("no image")
    with pytest.raises(ImageError, match=r"text\.png: not an image in a format that Pillow can read"):
        load_image(text)
    text.rename(tmp_path / "phone.HEIC")
    with pytest.raises(ImageError, match=r"without a plugin. Convert it to JPEG or PNG"):
        load_image(tmp_path / "phone.HEIC")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_load_image_waits_for_no_pipe_and_reads_no_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match=r"pipe\.png: cannot be opened: expected a regular file, got a named pipe"):
        load_image(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match=r"cannot be opened: expected a regular file, got a character device"):
        load_image(os.devnull)
    with pytest.raises(ImageError, match=r"cannot be opened: embedded null byte"):
        load_image("\0.png")


def test_load_image_starts_no_ghostscript(tmp_path: Path) -> None:
    path = tmp_path / "drawing.png"
    synthetic_image("RGB", 9, 7).save(path, format="EPS")
    with pytest.raises(ImageError, match=r"drawing\.png: an EPS file.*Convert it to PNG"):
        load_image(path)


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
