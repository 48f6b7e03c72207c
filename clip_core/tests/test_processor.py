"""Both halves behind one call, and the calls that would mean something else than their author thought."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clip_core.batch import BatchFeature
from clip_core.errors import CheckpointNotFoundError, InputError, InputTypeError
from clip_core.image.processor import CLIPImageProcessor
from clip_core.processor import CLIPProcessor
from clip_core.tests.synthetic_images import synthetic_array, synthetic_image
from clip_core.tokenizer.clip import CLIPTokenizer
from clip_core.tokenizer.fast import CLIPTokenizerFast

IMAGE = synthetic_image("RGB", 30, 41)
TEXTS = ["a photo of a cat", "two dogs"]


@pytest.fixture(scope="module")
def processor() -> CLIPProcessor:
    return CLIPProcessor(CLIPImageProcessor(size=32, crop_size=24), CLIPTokenizer.from_merges(40))


def test_gives_what_was_asked_for_in_order(processor: CLIPProcessor) -> None:
    both = processor(images=[IMAGE] * 3, text=TEXTS, padding=True, return_tensors="np")
    assert type(both) is BatchFeature
    assert list(both) == ["pixel_values", "input_ids", "attention_mask"] == processor.model_input_names
    assert both.pixel_values.shape == (3, 3, 24, 24)
    assert both.input_ids.shape == both.attention_mask.shape == (2, both.attention_mask.sum(axis=1).max())
    assert list(processor(IMAGE)) == ["pixel_values"]
    assert list(processor(text="a cat")) == ["input_ids", "attention_mask"]


def test_halves_are_those_of_the_parts(processor: CLIPProcessor) -> None:
    both = processor(IMAGE, TEXTS, padding=True, return_tensors="np")
    assert np.array_equal(both.pixel_values[0], processor.image_processor(IMAGE).pixel_values[0])
    assert both.input_ids.tolist() == processor.tokenizer(TEXTS, padding=True).input_ids


@pytest.mark.parametrize(
    "arguments",
    [
        {"padding": "max_length", "max_length": 90},
        {"truncation": True, "max_length": 4},
        {"add_special_tokens": False},
        {"padding": True, "pad_to_multiple_of": 16, "padding_side": "left"},
        {"return_attention_mask": False, "return_special_tokens_mask": True, "return_length": True},
        {"return_token_type_ids": True, "text_pair": ["on a mat", "in the sun"]},
        {"truncation": True, "max_length": 6, "stride": 2, "return_overflowing_tokens": True},
    ],
)
def test_text_arguments_reach_the_tokenizer(processor: CLIPProcessor, arguments: dict[str, Any]) -> None:
    expected = processor.tokenizer(TEXTS, **arguments)
    assert processor(text=TEXTS, **arguments) == expected
    assert expected != processor.tokenizer(TEXTS)


def test_split_words_and_offsets_reach_the_tokenizer() -> None:
    processor = CLIPProcessor(CLIPImageProcessor(), CLIPTokenizerFast.from_merges(40))
    arguments = {"is_split_into_words": True, "return_offsets_mapping": True}
    words = [["two", "dogs"]]
    assert processor(text=words, **arguments) == processor.tokenizer(words, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"do_resize": False},
        {"size": 50},
        {"resample": 0},
        {"do_center_crop": False},
        {"crop_size": 10},
        {"do_rescale": False},
        {"rescale_factor": 0.5},
        {"do_normalize": False},
        {"image_mean": [0.1, 0.2, 0.3]},
        {"image_std": 2.0},
        {"data_format": "channels_last"},
    ],
)
def test_image_arguments_reach_the_image_processor(processor: CLIPProcessor, arguments: dict[str, Any]) -> None:
    expected = processor.image_processor(IMAGE, **arguments).pixel_values[0]
    plain = processor(IMAGE).pixel_values[0]
    assert np.array_equal(processor(images=IMAGE, **arguments).pixel_values[0], expected)
    assert expected.shape != plain.shape or not np.array_equal(expected, plain)


def test_remaining_image_arguments_reach_the_image_processor(processor: CLIPProcessor) -> None:
    thin = synthetic_array(3, 41)
    expected = processor.image_processor(Image.fromarray(thin)).pixel_values[0]
    assert np.array_equal(processor(thin, input_data_format="channels_last").pixel_values[0], expected)
    with pytest.raises(InputError, match="do_convert_rgb"):
        processor(synthetic_image("L", 9, 9), do_convert_rgb=False)


def test_decode_is_the_tokenizers(processor: CLIPProcessor) -> None:
    ids = processor(text=TEXTS).input_ids
    assert processor.batch_decode(ids, skip_special_tokens=True) == TEXTS
    assert processor.decode(ids[0]) == processor.tokenizer.decode(ids[0]) != TEXTS[0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, InputError, "images or text or both, got neither"),
        ({"videos": [IMAGE]}, InputError, "got videos or audio, which CLIP cannot read"),
        ({"images": IMAGE, "audio": np.zeros(5)}, InputError, "got videos or audio"),
        ({"images": TEXTS}, InputTypeError, "images: got the text 'a photo of a cat'.*by keyword.*load_image"),
        ({"images": "cat.png"}, InputTypeError, "load_image"),
        ({"images": TEXTS, "text": IMAGE}, InputTypeError, "Images come first"),
        ({"text": IMAGE}, InputTypeError, r"text: got an image \(Image\).*by keyword"),
        ({"text": [np.zeros((5, 5, 3))]}, InputTypeError, r"text: got an image \(ndarray\)"),
        ({"images": IMAGE, "text": 7}, InputTypeError, "string"),
        ({"images": [], "text": TEXTS}, InputError, "at least one image"),
    ],
)
def test_refuses(processor: CLIPProcessor, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        processor(**arguments)


def test_old_order_of_arguments_is_refused(processor: CLIPProcessor) -> None:
    with pytest.raises(InputTypeError, match=r"processor\(images=\.\.\., text=\.\.\.\)"):
        processor(TEXTS, IMAGE)


def test_needs_both_parts() -> None:
    with pytest.raises(InputTypeError, match="tokenizer: expected a CLIPTokenizer or CLIPTokenizerFast, got None"):
        CLIPProcessor(CLIPImageProcessor())
    with pytest.raises(InputTypeError, match="image_processor: expected a CLIPImageProcessor, got CLIPTokenizer"):
        CLIPProcessor(CLIPTokenizer.from_merges(40), CLIPImageProcessor())  # type: ignore[arg-type]


def test_old_names_warn(processor: CLIPProcessor) -> None:
    with pytest.warns(FutureWarning, match="feature_extractor is the old name of image_processor"):
        again = CLIPProcessor(feature_extractor=processor.image_processor, tokenizer=processor.tokenizer)
    with pytest.warns(FutureWarning, match="old name"):
        assert again.feature_extractor is processor.image_processor
    with pytest.warns(FutureWarning, match="old name"):
        assert again.feature_extractor_class == "CLIPImageProcessor"


def test_round_trip(processor: CLIPProcessor, tmp_path: Path) -> None:
    written = processor.save_pretrained(tmp_path)
    assert {Path(path).name for path in written} >= {"preprocessor_config.json", "vocab.json", "merges.txt"}
    assert all(Path(path).is_file() for path in written)
    assert json.loads((tmp_path / "preprocessor_config.json").read_text())["processor_class"] == "CLIPProcessor"
    expected = processor(IMAGE, TEXTS, padding=True, return_tensors="np")
    for use_fast, tokenizer_class in ((False, CLIPTokenizer), (True, CLIPTokenizerFast)):
        loaded = CLIPProcessor.from_pretrained(tmp_path, use_fast=use_fast)
        assert type(loaded.tokenizer) is tokenizer_class
        again = loaded(IMAGE, TEXTS, padding=True, return_tensors="np")
        assert all(np.array_equal(again[name], expected[name]) for name in expected)


def test_missing_half_is_named(processor: CLIPProcessor, tmp_path: Path) -> None:
    processor.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(CheckpointNotFoundError, match=r"preprocessor_config\.json"):
        CLIPProcessor.from_pretrained(tmp_path)
