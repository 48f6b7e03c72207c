"""How loaded weights get into variables."""

import keras
import numpy as np
import pytest

from clip_core.checkpoint.tensors import empty
from clip_core.errors import WeightMismatchError
from clip_core.tests.sizes import DISTINCT
from clip_tf import TFCLIPModel
from clip_tf.frameworks import framework


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    directory = tmp_path_factory.mktemp("checkpoint")
    TFCLIPModel(DISTINCT, seed=3).save_pretrained(directory)
    return directory


def test_loading_makes_no_initial_weights(checkpoint, monkeypatch):
    def refuse(self, shape, dtype=None):
        raise AssertionError("weights that are thrown away")

    for initializer in (keras.initializers.Zeros, keras.initializers.Ones):
        monkeypatch.setattr(initializer, "__call__", refuse)
    model, expected = TFCLIPModel.from_pretrained(checkpoint), TFCLIPModel(DISTINCT, seed=3)
    for variable, other in zip(model.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(variable.numpy(), other.numpy())


@pytest.mark.parametrize("begin", [0, 1])
def test_a_tensor_takes_over_memory_that_lies_right_and_copies_other(begin):
    value = empty((6,), np.dtype(np.float32))[begin:]
    value[:] = 1
    tensor = framework.to_tensor(value, "float32")
    variable = keras.Variable(lambda shape, dtype: tensor, shape=value.shape, dtype="float32")
    value[0] = 7
    assert float(tensor[0]) == (1 if begin else 7)
    np.testing.assert_array_equal(variable.numpy(), value if not begin else np.ones(5))
    variable.assign_add(np.ones(value.shape, np.float32))
    assert float(tensor[1]) == 1


def test_weights_that_are_refused_leave_keras_as_it_was(checkpoint):
    weights = dict(TFCLIPModel(DISTINCT).named_weights())
    del weights["logit_scale"]
    with pytest.raises(WeightMismatchError, match=r"- logit_scale \[\]: missing"):
        TFCLIPModel(DISTINCT, weights=weights)
    assert keras.Variable(np.ones(2)).numpy().tolist() == [1, 1]
    assert TFCLIPModel.from_pretrained(checkpoint).count_params() == TFCLIPModel(DISTINCT).count_params()
