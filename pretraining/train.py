"""Trains the model: symmetric contrastive loss, AdamW, a running mean of the weights."""

from __future__ import annotations

import copy
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from clip_torch import CLIPModel
from pretraining.dataset import Batch, Drawn
from pretraining.recipe import Recipe, model_config

LOG_EVERY = 50
SAVE_EVERY = 250


def train(recipe: Recipe, data: Drawn, state_path: Path, *, compiled: bool = False) -> CLIPModel:
    """The trained model: the running mean of its weights.

    Args:
        recipe: the numbers.
        data: the batches.
        state_path: where the state is kept; if it exists, training goes on from it.
        compiled: whether `torch.compile` makes the vision tower a quarter faster; that needs a C++ compiler.
    """
    model = CLIPModel(model_config(), seed=recipe.seed).train()
    mean = copy.deepcopy(model).eval()
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe), lr=recipe.learning_rate, betas=recipe.betas)
    first = load_state(state_path, model, mean, optimizer)
    if compiled:
        model.vision_model.compile(dynamic=False)
    started, losses = time.monotonic(), []
    for step in range(first, recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, recipe)
        loss = contrastive_loss(model, data.batch(step))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.max_gradient_norm)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(recipe.max_logit_scale))
            update_mean(mean, model, min(recipe.averaging, (step + 1) / (step + 10)))
        losses.append(loss.item())
        if (step + 1) % LOG_EVERY == 0:
            seconds = (time.monotonic() - started) / (step + 1 - first)
            recent = sum(losses[-LOG_EVERY:]) / LOG_EVERY
            scale = model.logit_scale.exp().item()
            print(
                f"step {step + 1}/{recipe.steps}  loss {recent:.3f}  scale {scale:.1f}  {seconds:.3f} s/step",
                flush=True,
            )
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == recipe.steps:
            save_state(state_path, model, mean, optimizer, step + 1)
    return mean


def contrastive_loss(model: CLIPModel, batch: Batch) -> Tensor:
    """The mean of the cross-entropies over captions and over images; captions beyond the images are negatives."""
    smaller = batch.pixel_values.shape[-1] != model.config.vision_config.image_size
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):  # whose backward is the fastest on a CPU
        images = model.get_image_features(batch.pixel_values, interpolate_pos_encoding=smaller)
        texts = model.get_text_features(batch.input_ids, attention_mask=batch.attention_mask)
    images, texts = F.normalize(images.float(), dim=-1), F.normalize(texts.float(), dim=-1)
    logits = model.logit_scale.exp() * images @ texts.T  # [image, caption]
    target = torch.arange(len(images))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T[: len(images)], target)) / 2


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear up, constant, linear down to zero."""
    rising = (step + 1) / recipe.warmup_steps
    falling = (recipe.steps - step) / recipe.decay_steps
    return recipe.learning_rate * min(1.0, rising, falling)


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, object]]:
    """Weight decay for matrices; none for biases, gains and the logit scale."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    return [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]


def update_mean(mean: nn.Module, model: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(mean.parameters()), list(model.parameters()), 1 - decay)


def save_state(path: Path, model: nn.Module, mean: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    parts = {"model": model.state_dict(), "mean": mean.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    torch.save(parts, beside)
    beside.rename(path)


def load_state(path: Path, model: nn.Module, mean: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """The number of steps already made."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    mean.load_state_dict(state["mean"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
