"""How loaded weights get into arrays of JAX."""

import jax.numpy as jnp
import numpy as np
import pytest

from clip_core.checkpoint.tensors import empty
from clip_flax.weights import to_tensor

FLOAT = np.dtype(np.float32)


@pytest.mark.parametrize("begin", [0, 1])
def test_an_array_of_jax_takes_over_memory_that_lies_right_and_copies_other(begin):
    value = empty((6,), FLOAT)[begin:]
    value[:] = 1
    array = to_tensor(value, FLOAT)
    assert (array.unsafe_buffer_pointer() == value.ctypes.data) == (not begin)
    np.testing.assert_array_equal(array, np.ones(6 - begin))


def test_a_transposed_array_is_copied_once_into_memory_that_is_taken_over(monkeypatch):
    made = []
    monkeypatch.setattr("clip_core.checkpoint.tensors.empty", lambda *a: made.append(empty(*a)) or made[-1])
    value = np.arange(12, dtype=FLOAT).reshape(3, 4)
    array = to_tensor(value.T, FLOAT)
    assert [copy.ctypes.data for copy in made] == [array.unsafe_buffer_pointer()]
    np.testing.assert_array_equal(array, value.T)
    assert to_tensor(value, np.dtype(jnp.bfloat16)).dtype == jnp.bfloat16
