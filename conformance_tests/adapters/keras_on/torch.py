"""Keras on PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from keras import ops

from conformance_tests.adapter import Arrays, converted, loss_of

ON_DEVICE = torch.cuda.is_available()  # where Keras then computes
to_tensor = ops.convert_to_tensor  # bfloat16 of NumPy too


def gradients(model: Any, inputs: Arrays, interpolated: bool, training: bool = False) -> list[Any]:
    """The gradient of the loss by every trainable variable, with ``backward``."""
    model.zero_grad()
    options = {**loss_of(inputs), "interpolate_pos_encoding": interpolated, "training": training}
    model(**converted(inputs, to_tensor), **options).loss.backward()
    values = [variable.value for variable in model.trainable_variables]
    return [torch.zeros_like(value) if value.grad is None else value.grad for value in values]


def global_loss(make_model: Callable[[], Any], inputs: Arrays) -> Any:
    """Refused: Keras on PyTorch spreads nothing itself."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    torch.distributed.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    try:
        return make_model()(**converted(inputs, to_tensor), return_loss=True).loss
    finally:
        torch.distributed.destroy_process_group()


def restored(model: Any, other: Any, directory: Path) -> Any:
    """The other model after Keras' file of weights."""
    model.save_weights(directory / "model.weights.h5")
    other.load_weights(directory / "model.weights.h5")
    return other


def compiled(model: Any, inputs: Arrays) -> Any:
    """What the model returns under ``torch.compile``."""
    torch.compiler.reset()
    with torch.no_grad():
        return torch.compile(model, backend="aot_eager")(**converted(inputs, to_tensor))


def exported(model: Any, inputs: Arrays, directory: Path) -> Any:
    """What the model returns after ``torch.export``, a file, and ``torch.export.load``."""
    tensors: dict[str, Any] = converted(inputs, to_tensor)
    with torch.no_grad():
        torch.export.save(torch.export.export(model, (), tensors), directory / "model.pt2")
        return torch.export.load(directory / "model.pt2").module()(**tensors)
