"""Batches become tensors of each framework, and say clearly when they cannot."""

import builtins
import pickle
import subprocess
import sys
from importlib import import_module

import pytest

from clip_core.batch import BatchEncoding, BatchFeature, to_tensors
from clip_core.errors import InputError, InputTypeError, MissingExtraError


def test_is_a_dict_with_attributes():
    batch = BatchEncoding({"input_ids": [[1, 2]], "attention_mask": [[1, 1]]})
    assert batch.input_ids is batch["input_ids"]
    assert dict(**batch) == {"input_ids": [[1, 2]], "attention_mask": [[1, 1]]}
    assert pickle.loads(pickle.dumps(batch)) == batch
    with pytest.raises(AttributeError, match="'pixel_values'; it has input_ids, attention_mask"):
        _ = batch.pixel_values


CONVERSION = """
import sys
import numpy as np
from clip_core.batch import BatchFeature
batch = BatchFeature({"ids": [[3, 5]], "pixels": [np.ones((2, 7), np.float32)]}, sys.argv[1])
for value in batch.ids, batch.pixels:
    print(type(value).__module__.partition(".")[0], tuple(value.shape), value.dtype)
"""


@pytest.mark.parametrize(
    ("tensor_type", "module", "integer", "floating"),
    [
        ("np", "numpy", "int64", "float32"),
        ("pt", "torch", "torch.int64", "torch.float32"),
        ("tf", "tensorflow", "<dtype: 'int32'>", "<dtype: 'float32'>"),
        ("jax", "jaxlib", "int32", "float32"),
    ],
)
def test_tensor_types(tensor_type, module, integer, floating):
    # A process of its own for each: no two frameworks share one.
    command = [sys.executable, "-c", CONVERSION, tensor_type]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == [f"{module} (1, 2) {integer}", f"{module} (1, 2, 7) {floating}"]


def test_prepends_the_batch_axis():
    assert BatchEncoding({"input_ids": [4, 6, 8]}, "np", prepend_batch_axis=True).input_ids.shape == (1, 3)


def test_ragged_rows_are_named():
    with pytest.raises(InputError, match=r"'input_ids'.*padding=True"):
        BatchEncoding({"input_ids": [[1], [1, 2]]}, "np")
    with pytest.raises(InputError, match="numbers"):
        to_tensors([None], "np")


def test_unknown_tensor_type():
    with pytest.raises(InputError, match=r"np, pt, tf, jax or None, got 'mx'"):
        BatchFeature({}, "mx")


def test_missing_framework(monkeypatch):
    original = builtins.__import__
    monkeypatch.setattr("clip_core.batch.importlib.import_module", lambda name: original(name + "_that_is_not_there"))
    with pytest.raises(MissingExtraError, match=r"triclip\[tf\]"):
        to_tensors([1], "tf")


def test_moves_torch_tensors_only():
    torch = import_module("torch")
    batch = BatchFeature({"input_ids": [[1]], "pixel_values": [[0.5]]}, "pt").to("cpu", dtype=torch.float64)
    assert batch.input_ids.dtype == torch.int64
    assert batch.pixel_values.dtype == torch.float64
    assert batch.to(torch.float16).pixel_values.dtype == torch.float16
    assert batch.to("cpu", torch.float32).pixel_values.dtype == torch.float32
    with pytest.raises(InputTypeError, match="return_tensors='pt'"):
        BatchFeature({"pixel_values": [[0.5]]}).to("cpu")


def test_a_slice_is_the_batch_of_those_rows():
    batch = BatchEncoding({"input_ids": [[1], [2], [3]], "attention_mask": [[1], [1], [0]]})
    part = batch[1:]
    assert type(part) is BatchEncoding
    assert part.input_ids == [[2], [3]]
    assert part.attention_mask == [[1], [0]]
    with pytest.raises(KeyError):
        batch[0]
