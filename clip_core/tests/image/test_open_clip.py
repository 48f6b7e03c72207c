"""open_clip's transform by its own names: its hashes, and what its names become here."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from clip_core.errors import ConfigError, ImageError
from clip_core.image.open_clip import from_open_clip, to_open_clip
from clip_core.image.processor import CLIPImageProcessor
from clip_core.tests.image.make_open_clip_goldens import CONFIGS, SIZE, golden_names, hash_of, read_goldens
from clip_core.tests.synthetic_images import synthetic_array, synthetic_image

GOLDENS = read_goldens()


@pytest.mark.parametrize(("config", "mode", "height", "width"), golden_names())
def test_equals_open_clip(config: str, mode: str, height: int, width: int) -> None:
    processor = from_open_clip(CONFIGS[config], SIZE)
    pixels = processor(synthetic_image(mode, height, width))["pixel_values"][0]
    assert hash_of(pixels) == GOLDENS[f"{config} {mode} {height}x{width}"]


@pytest.mark.parametrize("config", ["longest", "longest, filled"])
def test_an_array_is_padded_like_an_image(config: str) -> None:
    processor, array = from_open_clip(CONFIGS[config], SIZE), synthetic_array(67, 45)
    from_image = processor(Image.fromarray(array))["pixel_values"][0]
    assert np.array_equal(processor(array)["pixel_values"][0], from_image)
    fractions = (array / 255).astype(np.float32)
    np.testing.assert_allclose(processor(fractions, do_rescale=False)["pixel_values"][0], from_image, atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS)
def test_names_of_open_clip_come_back_and_travel_in_files(config: str, tmp_path: Any) -> None:
    processor = from_open_clip({"size": SIZE, **CONFIGS[config]})
    processor.save_pretrained(tmp_path)
    loaded = CLIPImageProcessor.from_pretrained(tmp_path)
    described = to_open_clip(loaded.to_dict(), SIZE)
    assert from_open_clip(described).to_dict() == processor.to_dict()
    plain = {"interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0, **CONFIGS[config]}
    assert {name: described[name] for name in plain} == {
        name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()
    }


def test_a_number_stands_for_three_channels_and_random_for_bicubic() -> None:
    found = from_open_clip({"mean": 0.5, "std": None, "interpolation": "random", "timm": 1}, 30)
    assert (found.image_mean, found.resample, found.size) == ([0.5] * 3, 3, {"shortest_edge": 30})


def test_a_strip_that_would_vanish_is_refused() -> None:
    with pytest.raises(ImageError, match="aspect ratio is too extreme.* 0 x 32 pixels"):
        from_open_clip(CONFIGS["longest"], SIZE)(Image.new("RGB", (65, 1)))


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"mode": "L"}, "mode: expected 'RGB'"),
        ({"interpolation": "nearest"}, "interpolation: expected 'bicubic' or 'bilinear'.*got nearest"),
        ({"resize_mode": "crop"}, "resize_mode: expected one of shortest, squash, longest.*got crop"),
        ({"size": [224, 256]}, "size: expected the pixels along a side of a square"),
        ({"size": "224"}, "size: expected the pixels"),
        ({"fill_color": 256}, "fill_color: expected a whole number from 0 to 255"),
        ({"std": (0.5, 0.0, 0.5)}, "image_std: expected numbers other than 0"),
    ],
)
def test_what_open_clip_refuses_is_refused(described: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_open_clip(described)


@pytest.mark.parametrize("options", [{"size": {"longest_edge": 32}}, {"fill_color": 9}])
def test_what_only_open_clip_has_needs_its_profile(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="options of open_clip.*expected profile 'openai'.*got 'huggingface'"):
        CLIPImageProcessor(**options)
