from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_torch import CLIPModel
from pretraining import train as module
from pretraining.dataset import Batch
from pretraining.recipe import RECIPE
from pretraining.train import contrastive_loss, learning_rate, parameter_groups, train

TEXT = CLIPTextConfig(
    vocab_size=31,
    hidden_size=12,
    intermediate_size=20,
    projection_dim=10,
    num_hidden_layers=1,
    num_attention_heads=3,
    max_position_embeddings=7,
    bos_token_id=29,
    eos_token_id=30,
    pad_token_id=30,
)
VISION = CLIPVisionConfig(
    hidden_size=16,
    intermediate_size=22,
    projection_dim=10,
    num_hidden_layers=1,
    num_attention_heads=2,
    image_size=18,
    patch_size=6,
)
CONFIG = CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=10)
SHORT = replace(RECIPE, steps=6, low_side=12, low_steps=3, decay_steps=2, warmup_steps=2)


class Noise:
    """Batches of three random images and five random captions."""

    def batch(self, number: int) -> Batch:
        generator = torch.Generator().manual_seed(number)
        side = SHORT.low_side if number < SHORT.low_steps else VISION.image_size
        ids = torch.randint(0, 29, (5, 4), generator=generator)
        ids[:, -1] = TEXT.eos_token_id
        pixel_values = torch.randn(3, 3, side, side, generator=generator)
        return Batch(pixel_values=pixel_values, input_ids=ids, attention_mask=torch.ones_like(ids))


def test_learning_rate_rises_stays_and_falls_to_zero() -> None:
    recipe = replace(RECIPE, steps=100, warmup_steps=10, decay_steps=20, learning_rate=1.0)
    rates = [learning_rate(step, recipe) for step in range(101)]
    assert rates[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert rates[9:81] == [1.0] * 72
    assert rates[80:] == pytest.approx([1 - 0.05 * i for i in range(21)])


def test_weight_decay_spares_vectors_and_the_logit_scale() -> None:
    decayed, spared = parameter_groups(CLIPModel(CONFIG), RECIPE)
    assert decayed["weight_decay"] == RECIPE.weight_decay
    assert spared["weight_decay"] == 0
    assert {p.ndim for p in decayed["params"]} == {2, 4}
    assert {p.ndim for p in spared["params"]} == {0, 1}


def test_loss_counts_extra_captions_as_wrong_answers() -> None:
    model, batch = CLIPModel(CONFIG), Noise().batch(5)
    with torch.no_grad():
        model.logit_scale.fill_(-100.0)  # all logits zero, so every answer is as likely
        assert contrastive_loss(model, batch).item() == pytest.approx((math.log(5) + math.log(3)) / 2, abs=1e-5)


def test_a_stopped_run_ends_where_an_unbroken_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "model_config", lambda: CONFIG)
    monkeypatch.setattr(module, "SAVE_EVERY", 4)
    unbroken = train(SHORT, Noise(), tmp_path / "unbroken.pt").state_dict()

    class Stopping(Noise):
        def batch(self, number: int) -> Batch:
            if number == 5:
                raise KeyboardInterrupt
            return super().batch(number)

    with pytest.raises(KeyboardInterrupt):
        train(SHORT, Stopping(), tmp_path / "stopped.pt")
    resumed = train(SHORT, Noise(), tmp_path / "stopped.pt").state_dict()
    assert all(torch.equal(resumed[name], unbroken[name]) for name in unbroken)
    assert not torch.equal(
        unbroken["visual_projection.weight"], CLIPModel(CONFIG).state_dict()["visual_projection.weight"]
    )
