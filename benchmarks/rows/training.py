"""Training ViT-B/32 with AdamW on 8 pairs of a picture and a text: a step, and what JAX compiles for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.call import Call
from benchmarks.row import Case, Row, Side
from benchmarks.rows import image, text

BATCH = 8
RATE = 1e-5


def _inputs(folder: Path) -> dict[str, Any]:
    import numpy as np

    ids = text.ids(folder, {"batch": BATCH, "lengths": "natural"})
    mask = np.arange(ids.shape[1]) <= (ids == text.END_OF_TEXT).argmax(axis=1)[:, None]
    return {"input_ids": ids, "attention_mask": mask.astype(np.int64), "pixel_values": image.pixels(BATCH)}


def _torch(folder: Path, case: Case, model: Any) -> Any:
    import torch

    if case["of"] != "a step":
        return None
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    inputs = {name: torch.from_numpy(value) for name, value in _inputs(folder).items()}

    def step() -> float:
        optimizer.zero_grad()
        loss = model(**inputs, return_loss=True).loss
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


def transformers_torch(folder: Path, case: Case) -> Any:
    from transformers import CLIPModel

    return _torch(folder, case, CLIPModel.from_pretrained(folder / "hf"))


def triclip_torch(folder: Path, case: Case) -> Any:
    from clip_torch import CLIPModel

    return _torch(folder, case, CLIPModel.from_pretrained(folder / "hf"))


def _flax(folder: Path, case: Case, params: Any, logits: Callable[[Any, Any], Any]) -> Any:
    """A step is one program, which gets back the memory of weights and optimizer."""
    import jax
    import optax

    optimizer = optax.adamw(RATE)
    inputs = jax.tree.map(jax.numpy.asarray, _inputs(folder))

    def loss(params: Any, inputs: Any) -> Any:
        both = logits(params, inputs)
        pairs = jax.numpy.arange(BATCH)
        entropy = optax.softmax_cross_entropy_with_integer_labels
        return (entropy(both, pairs).mean() + entropy(both.T, pairs).mean()) / 2

    def step(params: Any, state: Any, inputs: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(params, inputs)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, value

    compiled = jax.jit(step, donate_argnums=(0, 1))
    held = [jax.tree.map(jax.numpy.array, params)]
    held.append(optimizer.init(held[0]))
    if case["of"] != "a step":
        return Call(lambda: compiled.lower(*held, inputs).compile() and None, before=jax.clear_caches)

    def run() -> float:
        held[0], held[1], value = compiled(*held, inputs)
        return float(value)

    return run


def transformers_flax(folder: Path, case: Case) -> Any:
    from transformers import FlaxCLIPModel

    model = FlaxCLIPModel.from_pretrained(folder / "hf", from_pt=True)
    return _flax(folder, case, model.params, lambda params, inputs: model(**inputs, params=params).logits_per_text)


def triclip_flax(folder: Path, case: Case) -> Any:
    from clip_flax import FlaxCLIPModel

    model = FlaxCLIPModel.from_pretrained(folder / "hf")
    return _flax(folder, case, model.params, lambda params, inputs: model(**inputs, params=params).logits_per_text)


ROW = Row(
    name="training",
    title="Training ViT-B/32, 8 pairs",
    cases=[{"of": "a step"}, {"of": "compiling it"}],
    sides={
        "transformers Flax": Side(function="transformers_flax"),
        "transformers torch": Side(function="transformers_torch"),
        "triclip torch": Side(function="triclip_torch"),
        "triclip flax": Side(function="triclip_flax"),
    },
    materials=("hf", "captions"),
    within=1e-3,
    warm_ups=1,
    cores=(2,),
    budget=60,
)
