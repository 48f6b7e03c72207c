"""What counts as an image."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from clip_core.errors import InputError, InputTypeError
from clip_core.image.inputs import ChannelDimension, flatten_images, infer_layout, is_image
from clip_core.tests.synthetic_images import synthetic_array, synthetic_image


def test_flatten_names_every_image() -> None:
    image, batch = synthetic_image("L", 2, 2), synthetic_array(4, 5)[None]
    assert list(flatten_images([image, [image, batch]])) == ["images[0]", "images[1][0]", "images[1][1][0]"]
    assert list(flatten_images(image)) == ["images"]


def test_is_image() -> None:
    assert is_image(synthetic_image("L", 2, 2))
    assert is_image(np.zeros(3))
    assert not is_image("cat.png")
    assert not is_image([1, 2])


def test_infer_layout() -> None:
    first, last, both = np.zeros((3, 9, 9)), np.zeros((9, 9, 3)), np.zeros((3, 9, 3))
    assert infer_layout({"a": first, "b": both}) == ChannelDimension.FIRST
    assert infer_layout({"a": both, "b": last}) == ChannelDimension.LAST
    with pytest.raises(InputError, match=r"a: shape \(3, 9, 3\) can be read"):
        infer_layout({"a": both})


class FakeTensor:
    """What the core uses of a PyTorch tensor. The core's tests import no framework; the conformance tests do."""

    def __init__(self, array: np.ndarray | None) -> None:
        self.array = array

    def detach(self) -> "FakeTensor":
        return self

    def cpu(self) -> "FakeTensor":
        return self

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        if self.array is None:
            raise TypeError("Got unsupported ScalarType BFloat16\nmore")
        return self.array


def test_tensors_are_known_by_frameworks_already_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = FakeTensor(synthetic_array(4, 5))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert not is_image(tensor)
    with pytest.raises(InputTypeError, match="got FakeTensor"):
        flatten_images(tensor)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(Tensor=FakeTensor))
    assert is_image(tensor)
    assert np.array_equal(flatten_images([tensor])["images[0]"], synthetic_array(4, 5))


def test_unreadable_tensor_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(Tensor=FakeTensor))
    with pytest.raises(InputTypeError, match=r"images: .* torch array .*\(Got unsupported ScalarType BFloat16\)"):
        flatten_images(FakeTensor(None))
