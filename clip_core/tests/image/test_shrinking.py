"""The products of matrices give Pillow's own resize, of any part, or say that they cannot."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from clip_core.image import shrinking
from clip_core.image.shrinking import planes_of, shrink

FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)


def noise(height: int, width: int, seed: int) -> Image.Image:
    """Black, white and all between, so that sums overshoot on both sides."""
    pixels = np.random.default_rng(seed).integers(-90, 346, (height, width, 3)).clip(0, 255)
    return Image.fromarray(pixels.astype(np.uint8))


def resized(image: Image.Image, size: tuple[int, int], resample: int) -> np.ndarray:
    pixels = np.asarray(image.resize((size[1], size[0]), Image.Resampling(resample)))
    return pixels.transpose(2, 0, 1)  # [channel, row, column]


@pytest.mark.parametrize("resample", FILTERS)
def test_any_part_of_any_size(resample):
    generator = np.random.default_rng(int(resample))
    done = 0
    for seed in range(150):
        height, width = generator.integers(3, 260, 2).tolist()
        size = int(generator.integers(1, height)), int(generator.integers(1, width))
        top, left = (int(generator.integers(0, length)) for length in size)
        rows = range(top, int(generator.integers(top, size[0])) + 1)
        columns = range(left, int(generator.integers(left, size[1])) + 1)
        image = noise(height, width, seed)
        part = shrink(planes_of(image), size, rows, columns, resample)
        if part is not None:
            done += 1
            expected = resized(image, size, resample)[:, rows.start : rows.stop, columns.start : columns.stop]
            np.testing.assert_array_equal(part, expected, err_msg=f"{height} x {width} to {size}, {rows}, {columns}")
    assert done > 75  # the others lose too much height for their width, or have two pixels of sums just at a half


@pytest.mark.parametrize(("height", "width"), [(480, 640), (640, 480), (375, 500), (1000, 749), (2003, 3001)])
@pytest.mark.parametrize("resample", FILTERS)
def test_photographs(height, width, resample):
    image = noise(height, width, seed=7)
    edge = 224 / min(height, width)
    size = int(height * edge), int(width * edge)
    part = shrink(planes_of(image), size, range(1, size[0]), range(5, size[1] - 2), resample)
    assert part is not None
    np.testing.assert_array_equal(part, resized(image, size, resample)[:, 1:, 5:-2])


def test_the_parts_of_a_product_are_no_seams(monkeypatch):
    monkeypatch.setattr(shrinking, "_LARGEST_PRODUCT", 3000)  # strips of few rows, and of few columns
    image = noise(97, 131, seed=1)
    np.testing.assert_array_equal(
        shrink(planes_of(image), (41, 53), range(41), range(53), 3), resized(image, (41, 53), 3)
    )


def test_sums_at_a_half_are_done_again_in_integers(monkeypatch):
    """With errors of float32 made larger than they are, half of all sums are."""
    image = noise(59, 83, seed=2)
    size, rows, columns = (31, 41), range(31), range(41)
    planes = planes_of(image)
    across, down = shrinking._pass(83, 41, 0, 41, 3), shrinking._pass(59, 31, 0, 31, 3)
    assert across is not None
    assert down is not None
    monkeypatch.setattr(shrinking, "_MOST_DOUBTS", 1.0)
    unsure = [replace(each, error=0.25) for each in (across, down)]
    wrong = [replace(each, blocks=each.blocks + np.float32(1e-4)) for each in unsure]
    np.testing.assert_array_equal(shrinking._shrink(planes, *unsure), resized(image, size, 3))
    assert not np.array_equal(
        shrinking._shrink(planes, *[replace(w, error=0.0) for w in wrong]), resized(image, size, 3)
    )
    assert shrink(planes, size, rows, columns, 3) is not None


@pytest.mark.parametrize(
    ("size", "new"),
    [
        ((40, 40), (80, 20)),  # grows
        ((40, 60), (40, 30)),  # keeps its height
        ((90, 30), (30, 20)),  # loses more than twice as much height: Pillow 13 may begin with the columns
        ((50, 60), (2, 30)),  # 25 pixels to one: Pillow is faster
        ((950, 1300), (930, 1250)),  # so many values in between: Pillow needs less memory
        ((64, 64), (1, 1)),  # weights of 2**-23
    ],
)
def test_what_pillow_is_asked_for(size, new, monkeypatch):
    image = noise(*size, seed=3)
    if new == (1, 1):
        monkeypatch.setattr(shrinking, "_LARGEST_SCALE", 64)
    part = shrink(planes_of(image), new, range(new[0]), range(new[1]), 3)
    assert part is None or np.array_equal(part, resized(image, new, 3))
    if new != (1, 1):
        assert part is None


def test_other_filters_are_pillows():
    for resample in set(Image.Resampling) - set(FILTERS):
        assert shrink(planes_of(noise(40, 40, seed=4)), (20, 20), range(20), range(20), resample) is None


def test_another_pillow_is_asked_for_everything(monkeypatch):
    """Whose resize is not the one that is described here."""
    shrinking._agrees_with_pillow.cache_clear()
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, size, *_: self.transform(size, Image.Transform.EXTENT, (0, 0, *self.size))
    )
    assert shrink(planes_of(noise(40, 40, seed=5)), (20, 20), range(20), range(20), 3) is None
    monkeypatch.undo()
    shrinking._agrees_with_pillow.cache_clear()
    assert shrink(planes_of(noise(40, 40, seed=5)), (20, 20), range(20), range(20), 3) is not None
