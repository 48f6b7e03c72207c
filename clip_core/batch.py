"""What the tokenizers and the image processor return: a dict of named values that become tensors on demand."""

import importlib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from clip_core.backends import BACKENDS, FRAMEWORKS
from clip_core.errors import InputError, InputTypeError, MissingExtraError

_BACKEND_OF = {BACKENDS[name].tensor_type: BACKENDS[name] for name in FRAMEWORKS}
TENSOR_TYPES = ("np", *_BACKEND_OF)


def to_tensors(value: Any, tensor_type: str) -> Any:
    """Turn nested lists or arrays of one common shape into an array of NumPy or of a framework.

    Integers become int64 in NumPy and PyTorch and int32 in TensorFlow and JAX, the type each embeds with by default.
    Arrays keep their floating dtype. Frameworks are imported here and nowhere else in the core.

    Raises:
        InputError: `tensor_type` is not one of "np", "pt", "tf", "jax", or the rows differ in length.
        MissingExtraError: the framework is not installed.
    """
    check_tensor_type(tensor_type)
    if type(value).__module__.partition(".")[0] == "torch":
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"expected rows of one length to make a {tensor_type!r} tensor, got {error}") from None
    if array.dtype == object:
        raise InputError(f"expected numbers to make a {tensor_type!r} tensor, got {value!r:.80}")
    if tensor_type == "np":
        return array
    if array.dtype == np.int64 and tensor_type in ("tf", "jax"):
        array = array.astype(np.int32)
    framework = _import_framework(tensor_type)
    if tensor_type == "pt":
        return framework.tensor(array)
    return framework.constant(array) if tensor_type == "tf" else framework.numpy.asarray(array)


def check_tensor_type(tensor_type: str | None) -> None:
    """Raise InputError unless `tensor_type` is None or names a kind of tensor."""
    if tensor_type is not None and tensor_type not in TENSOR_TYPES:
        raise InputError(f"expected return_tensors to be one of {', '.join(TENSOR_TYPES)} or None, got {tensor_type!r}")


def _import_framework(tensor_type: str) -> Any:
    backend = _BACKEND_OF[tensor_type]
    try:
        return importlib.import_module(backend.modules[0])
    except ImportError:
        raise MissingExtraError(backend.modules[0], backend.name, f"return_tensors={tensor_type!r}") from None


class BatchFeature(dict[str, Any]):
    """A dict whose entries are also attributes: `batch["pixel_values"]` is `batch.pixel_values`.

    It is a plain dict in every other way: `model(**batch)`, `keys()`, `items()`, pickling.
    """

    ragged_hint: ClassVar[str] = "make all entries the same size"

    def __init__(
        self,
        data: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None,
        tensor_type: str | None = None,
        prepend_batch_axis: bool = False,
    ) -> None:
        super().__init__({} if data is None else data)
        self.convert_to_tensors(tensor_type, prepend_batch_axis)

    def __getitem__(self, key: Any) -> Any:
        """The entry of that name; of a slice, the batch of these rows of every entry.

        Raises:
            KeyError: no such entry. One row of all is ``batch[i : i + 1]``.
        """
        if isinstance(key, slice):
            return type(self)({name: value[key] for name, value in self.items()})
        return super().__getitem__(key)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no entry {name!r}; it has {', '.join(self)}") from None

    @property
    def data(self) -> dict[str, Any]:
        """The entries as a plain dict."""
        return dict(self)

    def convert_to_tensors(self, tensor_type: str | None = None, prepend_batch_axis: bool = False) -> Self:
        """Convert every entry in place to "np", "pt", "tf" or "jax" tensors; `None` leaves all as it is.

        Raises:
            InputError: an entry has rows of different lengths, or `tensor_type` is unknown.
            MissingExtraError: the framework is not installed.
        """
        if tensor_type is None:
            return self
        check_tensor_type(tensor_type)
        for name, value in self.items():
            try:
                self[name] = to_tensors([value] if prepend_batch_axis else value, tensor_type)
            except InputError as error:
                raise InputError(f"cannot convert {name!r}: {error}; {self.ragged_hint}") from None
        return self

    def to(self, device: Any = None, dtype: Any = None, *, non_blocking: bool = False) -> Self:
        """Move the PyTorch tensors of this batch to `device`, in place; `dtype` applies to the floating ones only.

        As in PyTorch, a dtype may stand in the place of the device. Entries that are not tensors stay as they are.

        Raises:
            InputTypeError: no entry is a PyTorch tensor.
        """
        if type(device).__module__ == "torch" and type(device).__name__ == "dtype":
            device, dtype = None, device
        tensors = {name: value for name, value in self.items() if hasattr(value, "is_floating_point")}
        if self and not tensors:
            raise InputTypeError(
                f"expected PyTorch tensors to move to {device}, got {type(next(iter(self.values()))).__name__}; "
                "ask for them with return_tensors='pt'"
            )
        for name, value in tensors.items():
            kind = dtype if value.is_floating_point() else None
            self[name] = value.to(device=device, dtype=kind, non_blocking=non_blocking)
        return self


class BatchEncoding(BatchFeature):
    """What a tokenizer returns: `input_ids`, `attention_mask` and what else was asked for."""

    ragged_hint = "texts of different lengths need padding=True and, to be cut, truncation=True"
