"""The labels of an image classifier: how they are called, which loss they are for, and checks of what is given.

Names and rules are those of transformers 4.57, but that nothing is decided for good by the first batch: there the dtype
of its labels becomes the configuration's ``problem_type``.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import index
from typing import Any, Protocol

from numpy.typing import NDArray

from clip_core.errors import ConfigError, InputError, InputTypeError

PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
LABEL_FIELDS = ("num_labels", "id2label", "label2id", "problem_type")
"""The fields of a `CLIPConfig` that only a classifier reads."""
IGNORED_LABEL = -100
"""An image with this label has no part in the loss of `single_label_classification`."""
UNSAID = {0: "LABEL_0", 1: "LABEL_1"}
"""The labels of a configuration that does not say."""

Sizes = tuple[int | None, ...]


class Labelled(Protocol):
    """What is read of a configuration."""

    @property
    def num_labels(self) -> int:
        """How many there are."""

    @property
    def problem_type(self) -> str | None:
        """One of `PROBLEM_TYPES`, or nothing: then labels say."""


def named_labels(count: int | None, id2label: Any, label2id: Any) -> tuple[dict[int, str], dict[str, int]]:
    """Names by number and numbers by name, from what is given of the three.

    Two labels may have one name, as in ImageNet; its number is then the last one, or the one that ``label2id`` says.

    Raises:
        ConfigError: they contradict one another, or are of the wrong type.
    """
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 0):
        raise ConfigError(f"num_labels: expected an integer >= 0, got {count!r}.")
    numbers = None if label2id is None else {str(name): _number("label2id", value) for name, value in _items(label2id)}
    if id2label is not None:
        names = {_number("id2label", key): str(name) for key, name in _items(id2label)}
        if len(names) != len(id2label):
            raise ConfigError(f"id2label: expected one name for each number, got {list(id2label.items())[:20]}.")
    elif numbers is not None:
        names = {number: name for name, number in numbers.items()}
    else:
        names = {number: f"LABEL_{number}" for number in range(len(UNSAID) if count is None else count)}
    if set(names) != set(range(len(names))):
        raise ConfigError(f"id2label: expected the numbers 0 to {len(names) - 1}, got {sorted(names)[:20]}.")
    if count not in (None, len(names)):
        raise ConfigError(f"num_labels: expected {len(names)}, as id2label has, got {count}. Leave one of them out.")
    if numbers is None:
        return names, {name: number for number, name in names.items()}
    odd = next((name for name, number in numbers.items() if names.get(number) != name), None)
    if odd is not None or set(names.values()) - set(numbers):
        raise ConfigError(f"label2id: expected the names of id2label, look at {odd!r}. Leave it out: it follows.")
    return names, numbers


def _items(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ConfigError(f"id2label, label2id: expected mappings, got {value!r:.80}.")
    return value.items()


def _number(what: str, value: Any) -> int:
    try:
        return int(value) if isinstance(value, str) else index(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{what}: expected numbers of labels, got {value!r:.80}.") from None


def problem_of(config: Labelled, dtype: str) -> str:
    """The problem that labels of a dtype are for: one of `PROBLEM_TYPES`."""
    if config.problem_type is not None:
        return config.problem_type
    if config.num_labels == 1:
        return "regression"
    return "single_label_classification" if "int" in dtype else "multi_label_classification"


def check_labels(shape: Sizes, dtype: str, values: NDArray[Any] | None, images: int | None, config: Labelled) -> None:
    """Checks the labels of a batch.

    Args:
        shape, dtype: of the labels.
        values: where they lie in host memory; else ``None``.
        images: how many there are, if that is known.

    Raises:
        InputTypeError: a dtype that the problem does not have.
        InputError: a wrong shape, or values that are no labels.
    """
    count, problem = config.num_labels, problem_of(config, dtype)
    if count == 0:
        raise InputError("labels: expected none, since the configuration has none: num_labels is 0.")
    integers = problem == "single_label_classification"
    if not (integers or problem == "regression") and "float" not in dtype:
        raise InputTypeError(f"labels: expected floating-point numbers [image, {count}] for {problem}, got {dtype}.")
    if integers and "int" not in dtype:
        raise InputTypeError(f"labels: expected integers [image] for {problem}, got {dtype}.")
    one = integers or count == 1
    allowed: tuple[Sizes, ...] = ((images,), (images, 1)) if one else ((images, count),)
    if not any(_agree(shape, wanted) for wanted in allowed):
        first = "image" if images is None else str(images)
        expected = f"[{first}]" if one else f"[{first}, {count}]"
        raise InputError(f"labels: expected shape {expected} for {problem}, got {list(shape)}.")
    if values is None or not values.size:
        return
    if integers:
        odd = values[((values < 0) | (values >= count)) & (values != IGNORED_LABEL)]
        if odd.size:
            raise InputError(f"labels: expected 0 to {count - 1}, or {IGNORED_LABEL} for none, got {odd.flat[0]}.")
    elif problem == "multi_label_classification" and not ((values >= 0) & (values <= 1)).all():
        wrong = values[~((values >= 0) & (values <= 1))].flat[0]
        raise InputError(f"labels: expected numbers from 0 to 1 for {problem}, got {wrong}.")


def _agree(shape: Sizes, wanted: Sizes) -> bool:
    return len(shape) == len(wanted) and all(
        got is None or size is None or got == size for got, size in zip(shape, wanted, strict=True)
    )
