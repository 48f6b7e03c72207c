import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from clip_core.checkpoint.tensors import contiguous, empty


@given(st.data())
def test_contiguous_arrays_have_the_same_elements(data):
    value = data.draw(arrays.arrays(np.int32, arrays.array_shapes(min_dims=0, max_dims=4, max_side=20)))
    view = value.transpose(data.draw(st.permutations(range(value.ndim))))
    if data.draw(st.booleans()):
        view = view[..., ::-1] if view.ndim else view
    found = contiguous(view)
    assert found.flags.c_contiguous
    assert found.dtype == view.dtype
    np.testing.assert_array_equal(found, view)


def test_large_arrays_are_memory_of_their_own_until_there_are_too_many(monkeypatch):
    shape, dtype = (3, 1 << 20), np.dtype("<f4")
    first, second = empty(shape, dtype), empty(shape, dtype)
    first[:], second[:] = 1, 2
    assert (first == 1).all()

    def refuse(*_, **__):
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr("mmap.mmap", refuse)
    third = empty(shape, dtype)
    third[:] = 3
    assert third.shape == shape
    assert third.ctypes.data % 64 == 0


def test_new_arrays_begin_where_frameworks_take_memory_over():
    for size in range(2, 9):
        assert empty((size, 3), np.dtype("<f2")).ctypes.data % 64 == 0
        assert empty((size, 1 << 20), np.dtype("<f4")).ctypes.data % 64 == 0
        assert contiguous(np.zeros((size, 5), np.float32).T).ctypes.data % 64 == 0
