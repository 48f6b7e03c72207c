"""`clip_torch` for the suite, on a GPU where torch sees one, as the other frameworks do by themselves."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import clip_torch
from clip_torch.weights import to_array as to_array  # a function of adapters
from clip_torch.weights import to_tensor
from conformance_tests.adapter import CLASSES, Arrays, converted, loss_of, part

torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ON_DEVICE = DEVICE != "cpu"


def model_class(kind: str) -> Any:
    """The class of a kind of model."""
    return getattr(clip_torch, CLASSES[kind])


def build(kind: str, config: Any, weights: Arrays | None, *, dtype: str = "float32", seed: int = 0) -> Any:
    """A model in evaluation mode."""
    return model_class(kind)(config, seed=seed, dtype=dtype, weights=weights).eval().to(DEVICE)


def load(kind: str, directory: Path, *, dtype: str | None = None, **sizes: Any) -> Any:
    """A model in evaluation mode from a checkpoint directory."""
    return model_class(kind).from_pretrained(directory, dtype=dtype, **sizes).to(DEVICE)


def save(model: Any, directory: Path, *, max_shard_size: int | str = "5GB") -> None:
    """Writes a checkpoint directory."""
    model.save_pretrained(directory, max_shard_size=max_shard_size)


def on_device(value: NDArray[Any]) -> torch.Tensor:
    """An array as a tensor where the models are."""
    return to_tensor(value).to(DEVICE)


def weights(model: Any) -> Arrays:
    """All weights, in the order of the weight table."""
    return {name: np.array(value) for name, value in model.named_weights().items()}


def call(model: Any, path: str, *inputs: Any, **named_inputs: Any) -> Any:
    """What a part of the model returns."""
    with torch.no_grad():
        return part(model, path)(*converted(inputs, on_device), **converted(named_inputs, on_device))


def gradients(model: Any, inputs: Arrays, *, interpolate_pos_encoding: bool = False) -> Arrays:
    """The gradient of the loss by every parameter."""
    differentiated = copy.deepcopy(model)
    _loss(differentiated, inputs, interpolate_pos_encoding).backward()
    for parameter in differentiated.parameters():
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    found = weights(differentiated)
    return {spec.name: found[spec.name] for spec in model.weight_specs() if spec.is_parameter}


def step(model: Any, inputs: Arrays, rule: str, learning_rate: float, epsilon: float) -> Arrays:
    """The weights after one step of torch's optimiser."""
    trained = copy.deepcopy(model)
    if rule == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(trained.parameters(), lr=learning_rate)
    else:
        optimizer = torch.optim.Adam(trained.parameters(), lr=learning_rate, eps=epsilon)
    _loss(trained, inputs).backward()
    optimizer.step()
    return weights(trained)


def trained(model: Any, batches: Sequence[Arrays], learning_rate: float) -> Arrays:
    """The weights after a step of SGD in training mode on each batch."""
    learner = copy.deepcopy(model).train()
    optimizer = torch.optim.SGD(learner.parameters(), lr=learning_rate)
    for inputs in batches:
        optimizer.zero_grad()
        _loss(learner, inputs).backward()
        optimizer.step()
    return weights(learner)


def _loss(model: Any, inputs: Arrays, interpolated: bool = False) -> Any:
    return model(**converted(inputs, on_device), **loss_of(inputs), interpolate_pos_encoding=interpolated).loss


def global_loss(model: Any, inputs: Arrays) -> NDArray[Any]:
    """The loss of two processes, forked so that they have this one's model as it is; CUDA lives through no fork."""
    model = copy.deepcopy(model).cpu()
    with tempfile.TemporaryDirectory() as folder:
        store = f"file://{folder}/store"
        with warnings.catch_warnings():  # since Python 3.12, of threads at the time of the fork; here none computes
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.multiprocessing.start_processes(_share, (store, folder, model, inputs), nprocs=2, start_method="fork")
        first, second = (np.load(f"{folder}/{rank}.npy") for rank in range(2))
    assert first == second
    return np.asarray(first)


def _share(rank: int, store: str, folder: str, model: Any, inputs: Arrays) -> None:
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    half = {name: to_tensor(np.array_split(value, 2)[rank]) for name, value in inputs.items()}
    with torch.no_grad():
        loss = model(**half, return_loss=True, group=torch.distributed.group.WORLD).loss
    np.save(f"{folder}/{rank}.npy", loss)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


class _LowRank(torch.nn.Module):
    """A linear layer with an adapter beside it, put together as peft does it."""

    def __init__(self, base_layer: torch.nn.Linear) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.lora_a = torch.nn.Linear(base_layer.in_features, 1, bias=False)
        self.lora_b = torch.nn.Linear(1, base_layer.out_features, bias=False)
        for factor in (self.lora_a, self.lora_b):
            torch.nn.init.ones_(factor.weight)

    @property
    def weight(self) -> torch.Tensor:
        """The base layer's, without the adapter."""
        return self.base_layer.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What both layers give."""
        return self.base_layer(x) + self.lora_b(self.lora_a(x))


def adapted(model: Any) -> Any:
    """The model with a low-rank adapter on a projection; torch has none of its own."""
    model.text_projection = _LowRank(model.text_projection).to(DEVICE)
    return model


def restored(model: Any, other: Any, directory: Path) -> Any:
    """The other model with a state dict from a file."""
    torch.save(model.state_dict(), directory / "state.pt")
    other.load_state_dict(torch.load(directory / "state.pt"))
    return other


def compiled(model: Any, inputs: Arrays) -> Any:
    """What the model returns under ``torch.compile``, whose own compiler needs a C++ one on the machine."""
    compiler = "inductor" if shutil.which(os.environ.get("CXX", "g++")) else "aot_eager"
    torch.compiler.reset()
    with torch.no_grad():
        return torch.compile(model, fullgraph=True, backend=compiler)(**converted(inputs, on_device))


def exported(model: Any, inputs: Arrays, directory: Path) -> Any:
    """What the model returns after ``torch.export``, a file, and ``torch.export.load``."""
    tensors: dict[str, Any] = converted(inputs, on_device)
    torch.export.save(torch.export.export(model, (), tensors), directory / "model.pt2")
    with torch.no_grad():
        return torch.export.load(directory / "model.pt2").module()(**tensors)
