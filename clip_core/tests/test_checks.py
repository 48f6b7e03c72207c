"""What a model may be called with; every refusal says what was expected and what came."""

import numpy as np
import pytest

from clip_core.checks import (
    check_batch_statistics,
    check_end_of_text,
    check_pair_counts,
    check_pixel_input,
    check_pixel_values,
    check_text_input,
    check_text_values,
    has_legacy_end,
    validate_inputs,
)
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import ConfigError, InputError, InputTypeError

END = 90
TEXT = CLIPTextConfig(vocab_size=97, max_position_embeddings=11, eos_token_id=END)
LEGACY = CLIPTextConfig(vocab_size=97, max_position_embeddings=11, eos_token_id=2)
VISION = CLIPVisionConfig(image_size=21, patch_size=7, num_channels=3)


@pytest.mark.parametrize(
    ("mask", "positions"), [(None, None), ((3, 11), (3, 11)), ((3, 11), (1, 11)), ((None, 11), None)]
)
def test_texts_that_fit_pass(mask, positions):
    check_text_input((3, 11), "int64", mask, positions, TEXT)


def test_sizes_that_are_not_known_yet_pass():
    check_text_input((None, None), "int32", (None, None), (None, None), TEXT)
    check_pixel_input((None, 3, None, None), "float32", VISION, False)
    check_pixel_input((None, None, 21, 21), "float32", VISION, False)
    check_pair_counts(None, 5)


@pytest.mark.parametrize(
    ("ids", "mask", "positions", "message"),
    [
        ((11,), None, None, r"expected shape \[batch, token\], got \[11\]"),
        ((3, 12), None, None, "expected 1 to 11 tokens .*, got 12"),
        ((3, 0), None, None, "expected 1 to 11 tokens .*, got 0"),
        ((3, 5), (3, 6), None, r"attention_mask: expected the shape of input_ids \[3, 5\], got \[3, 6\]"),
        ((3, 5), (5,), None, r"attention_mask: .*, got \[5\]"),
        ((3, 5), None, (2, 5), r"position_ids: expected \[3, 5\] or \[1, 5\], got \[2, 5\]"),
        ((3, 5), None, (5,), r"position_ids: .*, got \[5\]"),
    ],
)
def test_texts_of_a_wrong_shape_are_refused(ids, mask, positions, message):
    with pytest.raises(InputError, match=message):
        check_text_input(ids, "int64", mask, positions, TEXT)


def test_ids_and_pixels_of_a_wrong_type_are_refused():
    with pytest.raises(InputTypeError, match="input_ids: expected integers, got float32"):
        check_text_input((3, 5), "float32", None, None, TEXT)
    with pytest.raises(InputTypeError, match="pixel_values: expected floating-point numbers, got uint8"):
        check_pixel_input((1, 3, 21, 21), "uint8", VISION, False)


def test_values_that_fit_pass():
    ids = np.array([[1, 2, END], [1, END, END]])
    check_text_values(ids, np.array([[1, 1, 1], [1, 1, 0]]), np.array([[0, 1, 10]]), TEXT)
    check_text_values(None, None, None, TEXT)
    check_text_values(np.array([[1, 5, 4]]), None, None, LEGACY)


@pytest.mark.parametrize(
    ("ids", "mask", "positions", "message"),
    [
        ([[1, 97]], None, None, "input_ids: expected 0 to 96, got 1 to 97"),
        ([[-1, END]], None, None, "input_ids: expected 0 to 96, got -1 to 90"),
        ([[1, END], [1, 2]], None, None, "expected the end-of-text id 90 in every row, row 1 has none"),
        (None, None, [[0, 11]], "position_ids: expected 0 to 10, got 0 to 11"),
        (None, [[1, -10000]], None, "expected only 1 .* and 0 .*, got -10000"),
        (None, [[1, 0], [0, 0]], None, "row 1 has no token"),
        (None, [[1, 0], [0, 1]], None, "row 1 begins with padding"),
    ],
)
def test_values_that_would_compute_nonsense_are_refused(ids, mask, positions, message):
    given = [None if values is None else np.array(values) for values in (ids, mask, positions)]
    with pytest.raises(InputError, match=message):
        check_text_values(*given, TEXT)


@pytest.mark.parametrize(
    ("shape", "interpolate", "message"),
    [
        ((3, 21, 21), False, r"expected shape \[batch, channel, height, width\], got \[3, 21, 21\]"),
        ((1, 4, 21, 21), False, r"expected 3 channels, got \[1, 4, 21, 21\]. Prepare images"),
        ((1, 21, 21, 3), False, "The channels seem to be last"),
        ((1, 3, 21, 28), False, "expected 21 x 21 pixels, got 21 x 28"),
        ((1, 3, 28, 21), False, "expected 21 x 21 pixels, got 28 x 21"),
        ((1, 3, 6, 28), True, "expected at least one patch of 7 pixels, got 6 x 28"),
    ],
)
def test_pixels_of_a_wrong_shape_are_refused(shape, interpolate, message):
    with pytest.raises(InputError, match=message):
        check_pixel_input(shape, "float32", VISION, interpolate)


def test_other_sizes_pass_with_interpolation():
    check_pixel_input((1, 3, 7, 28), "bfloat16", VISION, True)


def test_a_loss_needs_pairs():
    check_pair_counts(4, 4)
    with pytest.raises(InputError, match="as many images as texts, in pairs, got 4 and 5"):
        check_pair_counts(4, 5)


def whole_call():
    ids = np.array([[5, 6, END], [7, END, END]])
    mask = np.array([[1, 1, 1], [1, 1, 0]])
    return {"input_ids": ids, "attention_mask": mask, "pixel_values": np.zeros((4, 3, 21, 21), np.float32)}


def spoilt(name, place, value):
    inputs = whole_call()
    inputs[name][place] = value
    return inputs


@pytest.mark.parametrize("config", [CLIPConfig(text_config=TEXT, vision_config=VISION), TEXT, VISION])
def test_a_whole_call_passes(config):
    validate_inputs(config, **whole_call())
    validate_inputs(config)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (spoilt("input_ids", (0, 2), 5), "expected the end-of-text id 90 in every row, row 0"),
        (spoilt("input_ids", (1, 0), -1), "input_ids: expected 0 to 96, got -1"),
        (spoilt("attention_mask", (1, 0), 0), "row 1 begins with padding"),
        (spoilt("pixel_values", (2, 1, 0, 5), np.nan), "expected finite numbers, image 2 has others"),
        ({"pixel_values": np.zeros((4, 3, 14, 14), np.float32)}, "expected 21 x 21 pixels"),
        ({"input_ids": whole_call()["input_ids"], "position_ids": np.array([[0, 1, 11]])}, "position_ids: expected 0"),
    ],
)
def test_a_call_is_checked_whole(inputs, message):
    with pytest.raises(InputError, match=message):
        validate_inputs(CLIPConfig(text_config=TEXT, vision_config=VISION), **inputs)


def test_integers_are_no_pixels():
    with pytest.raises(InputTypeError, match="pixel_values: expected floating-point"):
        validate_inputs(VISION, pixel_values=np.zeros((4, 3, 21, 21), np.uint8))


def test_pixels_that_are_not_normalised_are_refused_dark_and_normalised_ones_pass():
    for highest, lowest in ((19.0, 0.0), (300.0, -1.8), (2.2, -1.8), (1.0, 0.0)):
        check_pixel_values(np.float32([[lowest, highest]]))
    check_pixel_values(np.full((1, 3, 2, 2), np.nan, np.float32))
    check_pixel_values(None)
    check_pixel_values(np.zeros((0, 3, 21, 21), np.float32))
    message = "around 0, got 0 to 255, as of pixels that are not normalised. Prepare images with CLIPImageProcessor"
    with pytest.raises(InputError, match=message):
        check_pixel_values(np.float32([[0, 255]]))
    with pytest.raises(InputError, match=message):
        validate_inputs(VISION, pixel_values=np.linspace(0, 255, 3 * 21 * 21, dtype=np.float32).reshape(1, 3, 21, 21))


def test_texts_are_told_to_be_tokenized():
    for dtype in ("str32", "string", "<U5", "object"):
        with pytest.raises(InputTypeError, match="input_ids: expected the ids of a tokenizer, got texts"):
            check_text_input((3,), dtype, None, None, TEXT)


@pytest.mark.parametrize("vocab_size", [61, 2048, 49408, 49920])
def test_the_legacy_end_of_text_of_clip_s_vocabulary_and_of_toys(vocab_size):
    config = CLIPTextConfig(vocab_size=vocab_size, bos_token_id=0, eos_token_id=2)
    check_end_of_text(config)
    assert has_legacy_end(config)


@pytest.mark.parametrize("vocab_size", [2049, 32000, 49407, 49921, 50265, 250002, 901629])
def test_an_end_of_text_that_may_be_meant_is_refused(vocab_size):
    config = CLIPTextConfig(vocab_size=vocab_size, bos_token_id=0, eos_token_id=2)
    assert not has_legacy_end(config)
    with pytest.raises(ConfigError, match=f"this one has {vocab_size}.*eos_token_id={vocab_size - 1}"):
        check_end_of_text(config)
    with pytest.raises(ConfigError, match="as in MetaCLIP 2"):
        validate_inputs(config, input_ids=np.array([[0, 5, 2]]))
    check_end_of_text(config.changed({"eos_token_id": vocab_size - 1}))


@pytest.mark.parametrize(("count", "shown"), [(0, "no values"), (1, "one value")])
def test_a_batch_without_a_variance_trains_no_statistics(count, shown):
    with pytest.raises(InputError, match=f"got {shown} per channel .* model.vision_model.eval"):
        check_batch_statistics(count)
    for enough in (None, 2):
        check_batch_statistics(enough)
