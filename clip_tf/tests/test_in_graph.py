"""Layers in the graph give the processor's bits and ids, or an error; also where a SavedModel is all that is there."""

import random
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from clip_core import CLIPImageProcessor, CLIPTokenizer
from clip_core.errors import CLIPError
from clip_core.image.processor import OPTION_NAMES
from clip_core.tokenizer.bpe import builtin_table
from clip_tf.in_graph import TFCLIPImageProcessor, TFCLIPTokenizer

OPTIONS = (
    {"size": 30, "crop_size": 30},
    {"size": {"height": 37, "width": 21}, "do_center_crop": False, "image_std": [0.3, 0.2, 0.1]},
    {"size": 25, "crop_size": {"height": 34, "width": 23}, "profile": "openai"},
    {"do_resize": False, "crop_size": 41, "do_normalize": False},
)
SIZES = ((31, 70), (70, 31), (97, 41), (12, 11), (5, 64), (1, 3), (41, 38), (25, 30))  # (97, 41): the height goes first

SOURCE = random.Random(0)
CAPTIONS = [f" A photo\tof\n{SOURCE.choice('aeiou')}{SOURCE.random()} don't & R&D it's WE'LL " for _ in range(5)]
NOISE = ["".join(chr(SOURCE.randint(32, 126)) for _ in range(SOURCE.randint(0, 30))) for _ in range(150)]
REPEATED = ["".join(SOURCE.choice("'stremvld 'l0") for _ in range(SOURCE.randint(0, 40))) for _ in range(150)]
REFUSED = ("naïve", "a\0b", "a\x0bb", "<|endoftext|>", "x<|StartOfText|>", "R&amp;D", "&#38;", "&ltx", "z" * 257)


@pytest.fixture(scope="module")
def tokenizer():
    return CLIPTokenizer.from_merges(2000)  # made in no time; a table of all merges is the default of the layer


@pytest.fixture(scope="module")
def layer(tokenizer):
    return TFCLIPTokenizer(tokenizer, truncation=True)


@pytest.fixture(scope="module")
def encode(layer):
    return tf.function(layer.call, input_signature=[tf.TensorSpec([None], tf.string)])


@pytest.mark.parametrize("options", OPTIONS)
def test_pictures_are_bit_equal(options):
    processor = CLIPImageProcessor(**options)
    anything = tf.TensorSpec([None, None, 3], tf.uint8)
    transform = tf.function(TFCLIPImageProcessor(processor).call, input_signature=[anything])
    for height, width in SIZES:
        picture = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
        expected = processor(picture, return_tensors="np", input_data_format="channels_last")["pixel_values"][0]
        np.testing.assert_array_equal(transform(tf.constant(picture)), expected, err_msg=f"{height} x {width}")


def test_pictures_in_a_data_set_and_as_a_batch():
    layer = TFCLIPImageProcessor(CLIPImageProcessor(**OPTIONS[0]))
    pictures = np.random.default_rng(0).integers(0, 256, (2, 45, 52, 3), np.uint8)
    each = tf.data.Dataset.from_tensor_slices(pictures).map(layer).batch(2)
    assert each.element_spec.shape == (None, 3, 30, 30)
    np.testing.assert_array_equal(next(iter(each)), layer(pictures))


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (np.zeros((9, 9, 3), np.float32), "expected uint8"),
        (np.zeros((9, 9, 4), np.uint8), r"\[height, width, 3\]"),
        (np.zeros((0, 9, 3), np.uint8), "at least one pixel"),
    ],
)
def test_what_is_no_picture(images, expected):
    with pytest.raises((CLIPError, tf.errors.InvalidArgumentError), match=expected):
        TFCLIPImageProcessor().call(tf.constant(images))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"resample": 2}, "bicubic, in the graph, got 2"),
        ({"size": {"longest_edge": 30}, "profile": "openai"}, "no longest edge"),
        ({"fill_color": 7, "profile": "openai"}, "no fill colour"),
    ],
)
def test_other_transforms_are_refused(options, expected):
    with pytest.raises(CLIPError, match=expected):
        TFCLIPImageProcessor(CLIPImageProcessor(**options))


def test_every_option_is_known_to_the_layer():
    known = {name for options in OPTIONS for name in options} | {"resample", "fill_color", "do_convert_rgb"}
    assert set(OPTION_NAMES) == known | {"do_rescale", "rescale_factor", "image_mean"}  # in the table of bytes


def test_texts_have_the_tokenizers_ids(tokenizer, encode):
    texts = [text for text in (*CAPTIONS, *NOISE, *REPEATED, "") if _is_encoded(encode, text)]
    assert len(texts) > 290  # the rest are what may be character references
    expected = tokenizer(texts, padding=True, truncation=True, return_tensors="np")
    for name, found in encode(tf.constant(texts)).items():
        np.testing.assert_array_equal(found, expected[name])


def _is_encoded(encode, text):
    try:
        encode(tf.constant([text]))
    except tf.errors.InvalidArgumentError:
        return False
    return True


def test_the_whole_table_is_the_default():
    expected = CLIPTokenizer()(CAPTIONS, padding="max_length", return_tensors="np")
    found = TFCLIPTokenizer(padding="max_length")(CAPTIONS)
    np.testing.assert_array_equal(found["input_ids"], expected["input_ids"])


@pytest.mark.parametrize("text", REFUSED)
def test_what_it_cannot_encode_is_an_error(text, encode):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"printable ASCII.*CLIPTokenizer|at most 256 letters"):
        encode(tf.constant(["fine", text]))


def test_texts_in_a_data_set(layer):
    data = tf.data.Dataset.from_tensor_slices(["a cat", "naïve"]).batch(1).map(layer)
    batches = iter(data)
    np.testing.assert_array_equal(next(batches)["input_ids"], layer(["a cat"])["input_ids"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="printable ASCII"):
        next(batches)


def test_an_added_token_is_an_error():
    tokenizer = CLIPTokenizer.from_merges(100)
    tokenizer.add_tokens("<Cat-Toy>")
    with pytest.raises(tf.errors.InvalidArgumentError, match="without special tokens"):
        TFCLIPTokenizer(tokenizer)("a <cat-toy>")


def test_a_mark_that_pads_is_an_error_in_a_text_alone():
    tokenizer = CLIPTokenizer(*builtin_table(100), model_max_length=9, pad_token="!")  # as in Stable Diffusion 2
    layer = TFCLIPTokenizer(tokenizer)
    texts = ["a cat?", "a"]
    np.testing.assert_array_equal(layer(texts)["input_ids"], tokenizer(texts, padding=True)["input_ids"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="without special tokens"):
        layer("a cat!")


def test_long_texts_are_an_error_or_cut(tokenizer):
    texts = tf.constant(["a " * 80, "b"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 77 tokens"):
        TFCLIPTokenizer(tokenizer).call(texts)
    found = TFCLIPTokenizer(tokenizer, max_length=9, truncation=True)(texts)
    np.testing.assert_array_equal(found["attention_mask"], [[1] * 9, [1] * 3 + [0] * 6])


def test_merges_out_of_order_are_refused():
    vocabulary, merges = CLIPTokenizer.from_merges(100).get_vocab(), CLIPTokenizer.from_merges(100).merges
    made = {"".join(merge): place for place, merge in enumerate(merges)}
    place, part = next((i, made[m[0]]) for i, m in enumerate(merges) if m[0] in made)
    merges[place], merges[part] = merges[part], merges[place]
    with pytest.raises(CLIPError, match="in the order of their parts"):
        TFCLIPTokenizer(CLIPTokenizer(vocabulary, merges, model_max_length=77))


class Served(tf.Module):
    def __init__(self, texts):
        self.images, self.texts = TFCLIPImageProcessor(CLIPImageProcessor(**OPTIONS[0])), texts

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([None], tf.string)])
    def serve(self, image, texts):
        return {"pixel_values": self.images(image), **self.texts(texts)}


ELSEWHERE = """
import numpy as np, sys, tensorflow as tf
served = tf.saved_model.load("served")
with np.load("expected.npz") as given:
    found = served.serve(tf.constant(given["image"]), tf.constant(["a cat", "two dogs!"]))
    for name in ("pixel_values", "input_ids", "attention_mask"):
        np.testing.assert_array_equal(found[name], given[name])
    try:
        served.serve(tf.constant(given["image"]), tf.constant(["a cat", "na\\u00efve"]))
    except tf.errors.InvalidArgumentError as error:
        assert "printable ASCII" in str(error)
        print("refused", [name for name in sys.modules if name.startswith("clip_")])
"""


def test_a_saved_model_needs_nothing_of_ours(tmp_path, layer):
    image = np.random.default_rng(0).integers(0, 256, (50, 41, 3), np.uint8)
    served = Served(layer)
    tf.saved_model.save(served, tmp_path / "served")
    found = {name: value.numpy() for name, value in served.serve(image, ["a cat", "two dogs!"]).items()}
    np.savez(tmp_path / "expected.npz", image=image, **found)
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], cwd=tmp_path, env={}, capture_output=True, text=True, check=False
    )
    assert done.stdout == "refused []\n", done.stderr[-2000:]


def test_a_functional_model_keeps_both_in_its_file(tmp_path, layer):
    images, texts = keras.Input((None, None, 3), dtype="uint8"), keras.Input((), dtype="string")
    layers = TFCLIPImageProcessor(CLIPImageProcessor(**OPTIONS[2])), layer
    model = keras.Model([images, texts], [layers[0](images), layers[1](texts)["input_ids"]])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    inputs = tf.constant(np.full((2, 29, 44, 3), 99, np.uint8)), tf.constant(["a cat", "two dogs!"])
    for found, expected in zip(again(inputs), model(inputs), strict=True):
        np.testing.assert_array_equal(found, expected)
