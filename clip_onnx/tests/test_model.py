"""What is ONNX Runtime's own: dtypes of weights, threads, programs that are kept, arrays only."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest

from clip_core.errors import InputError, InputTypeError
from clip_onnx import CLIPModel
from clip_onnx.programs import thread_count
from clip_onnx.quantization import LARGEST, quantized
from clip_onnx.tests import small


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int8"])
def test_a_dtype_rounds_the_weights_and_a_file_of_it_holds_the_same_numbers(tmp_path, dtype):
    exact, model = small.model(), small.model(dtype=dtype)
    assert model.dtype == dtype
    rounded = {name: np.asarray(value, np.float32) for name, value in model.named_weights().items()}
    if dtype == "int8":
        changed = [name for name, value in exact.named_weights().items() if not np.array_equal(value, rounded[name])]
        assert "text_model.encoder.layers.0.mlp.fc1.weight" in changed
        assert not any("norm" in name or "bias" in name for name in changed)
    else:
        same = CLIPModel(small.CONFIG, weights=rounded, threads=1)
        np.testing.assert_array_equal(model.get_image_features(small.pixels()), same.get_image_features(small.pixels()))
    again = small.model(dtype=dtype, weights=rounded)
    np.testing.assert_array_equal(model.get_text_features(**small.texts()), again.get_text_features(**small.texts()))


def test_int8_is_near_the_exact_model():
    """Of weights that are not as trained ones: near enough that nothing is another layer's or channel's."""
    exact, model = small.model(), small.model(dtype="int8")
    for features in ("get_image_features", "get_text_features"):
        inputs = {"pixel_values": small.pixels()} if "image" in features else small.texts()
        left, right = getattr(exact, features)(**inputs), getattr(model, features)(**inputs)
        cosines = (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
        assert cosines.min() > 0.99


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_int8_makes_no_number_of_what_is_none(tmp_path, value):
    """Of a pixel: an error here, NaN in its own row of a file. Of a weight: an error."""
    pixels, model = small.pixels(), small.model(dtype="int8")
    expected = model.get_image_features(pixels)
    pixels[1, 2, 3, 4] = value
    with pytest.raises(InputError, match="pixel_values: expected finite numbers, which alone can be rounded"):
        model.get_image_features(pixels)
    model.export(tmp_path / "image.onnx", tower="image")
    session = onnxruntime.InferenceSession(tmp_path / "image.onnx")
    found, *others = session.run(["image_embeds", "pooler_output", "last_hidden_state"], {"pixel_values": pixels})
    for output in (found, *others):
        assert np.isnan(output[1]).all()
        assert np.isfinite(output[[0, 2]]).all()
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines[[0, 2]].min() > 0.99
    weights = {name: np.array(weight) for name, weight in small.model().named_weights().items()}
    weights["text_model.encoder.layers.0.mlp.fc1.weight"][3, 2] = value
    with pytest.raises(InputError, match="layers.0.mlp.fc1.weight: expected finite numbers.*int8"):
        small.model(dtype="int8", weights=weights)


def test_quantised_weights_cannot_saturate_sums_of_16_bits():
    weight = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    weight[3] = 0
    integers, step = quantized(weight)
    assert (integers.shape, integers.dtype, step.shape) == ((7, 5), np.int8, (5,))
    assert np.abs(integers).max() == LARGEST
    assert 2 * 255 * LARGEST < 2**15
    np.testing.assert_allclose(integers.T * step[:, None], weight, atol=float(step.max()) / 2)


def test_weights_cannot_be_changed_under_the_programs():
    value = small.model().named_weights()["text_projection.weight"]
    with pytest.raises(ValueError, match="read-only"):
        value[0, 0] = 1


def test_what_is_no_array_is_refused_with_what_to_do():
    with pytest.raises(InputTypeError, match="input_ids: expected a NumPy array, got list.*return_tensors='np'"):
        small.model().get_text_features([[1, small.END]])
    with pytest.raises(InputTypeError, match="pixel_values: expected a NumPy array, got NoneType"):
        small.model()(pixel_values=None, **small.texts())


def test_a_dtype_of_another_kind_is_refused():
    with pytest.raises(InputTypeError, match="dtype: expected float32, bfloat16, float16 or int8, got 'float64'"):
        small.model(dtype="float64")


def test_tokens_behind_the_last_end_are_not_computed():
    model, ids = small.model(), small.texts()["input_ids"]
    inputs = []
    program = model.program(("text", False), lambda graph: model.text_model.fill(graph, True))
    run = program.run
    program.run = lambda given, *rest: inputs.append(given) or run(given, *rest)
    padded = np.concatenate([ids, np.full((2, 4), small.END)], axis=1)
    np.testing.assert_allclose(model.get_text_features(padded), model.get_text_features(ids), atol=1e-6)
    assert [given["input_ids"].shape for given in inputs] == [(2, 5), (2, 5)]


def test_no_text_and_no_image_give_no_rows():
    model = small.model()
    assert model.get_text_features(np.zeros((0, 5), np.int64)).shape == (0, 6)
    assert model.get_image_features(small.pixels(0)).shape == (0, 6)


def test_no_more_programs_are_kept_than_are_worth_it():
    model = small.model()
    for patches in range(1, 12):
        image = np.zeros((1, 3, 7 * patches, 7), np.float32)
        assert model.get_image_features(image, interpolate_pos_encoding=True).shape == (1, 6)
    assert len(model._programs) == 8


def test_a_copy_of_a_model_that_was_called_is_the_model():
    model = small.model()
    expected = model.get_text_features(**small.texts())
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.get_text_features(**small.texts()), expected)
        assert not any(value.flags.writeable for value in other.named_weights().values())


def test_a_first_call_in_several_threads_makes_one_program():
    model, made = small.model(), []

    def fill(graph):
        made.append(graph)
        model.text_model.fill(graph)

    with ThreadPoolExecutor(4) as pool:
        programs = list(pool.map(lambda _: model.program("text", fill), range(4)))
    assert (len(made), len(set(map(id, programs)))) == (1, 1)


def test_threads_are_as_many_as_somebody_says(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert (thread_count(None), thread_count(2)) == (3, 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert thread_count(None) == 1
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert thread_count(None) == 0


def test_members_of_models_that_train_say_what_is_not_there():
    model = small.model()
    assert model.num_parameters() == sum(value.size for value in model.named_weights().values())
    assert (model.num_parameters(only_trainable=True), model.is_gradient_checkpointing) == (0, False)
    with pytest.raises(InputError, match="its layers are nodes of a graph. Make another model"):
        model.resize_token_embeddings(50)
    with pytest.raises(InputError, match="for inference only. Train with another backend"):
        model.gradient_checkpointing_enable()
