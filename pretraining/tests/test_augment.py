from __future__ import annotations

import math

import pytest
import torch

from pretraining import augment as module
from pretraining.augment import augment, cut_out, move, outline, recolour, rotation_about_grey


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawings(count: int, side: int = 24) -> torch.Tensor:
    """Opaque red squares in the middle of a transparent canvas."""
    pixels = torch.zeros(count, side, side, 4, dtype=torch.uint8)
    pixels[:, side // 4 : -side // 4, side // 4 : -side // 4] = torch.tensor([255, 0, 0, 255], dtype=torch.uint8)
    return pixels


@pytest.mark.parametrize("side", [24, 17])
def test_images_are_rgb_of_the_side_asked_for_and_repeatable(side: int) -> None:
    pixels, may_flip = drawings(7), torch.ones(7, dtype=torch.bool)
    first, again, other = (augment(pixels, may_flip, side, seeded(seed)) for seed in (1, 1, 2))
    assert first.shape == (7, 3, side, side)
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_one_sided_drawings_are_never_mirrored() -> None:
    left_only = torch.zeros(64, 4, 16, 16)
    left_only[:, :, :, :5] = 1
    moved = move(left_only, torch.zeros(64, dtype=torch.bool), 16, seeded())
    columns = torch.arange(16.0)
    centre = (moved[:, 3].sum(1) * columns).sum(1) / moved[:, 3].sum((1, 2))
    assert (centre < 7.5).all()
    mirrored = move(left_only, torch.ones(64, dtype=torch.bool), 16, seeded())
    centre = (mirrored[:, 3].sum(1) * columns).sum(1) / mirrored[:, 3].sum((1, 2))
    assert (centre > 7.5).any()


def test_a_third_of_a_turn_about_grey_swaps_the_primaries_and_keeps_grey() -> None:
    turn = rotation_about_grey(torch.tensor([2 * math.pi / 3]))[0]
    assert torch.allclose(turn @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), atol=1e-6)
    assert torch.allclose(turn @ torch.full((3,), 0.4), torch.full((3,), 0.4), atol=1e-6)


def test_recolouring_leaves_transparent_pixels_black() -> None:
    assert recolour(torch.zeros(5, 3, 2, 2), seeded()).abs().max() == 0


def test_outline_grows_the_alpha_by_a_pixel_of_black(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "chance", lambda batch, _probability, _generator: torch.ones(batch, 1, 1, 1).bool())
    dot = torch.zeros(1, 4, 5, 5)
    dot[:, :, 2, 2] = 1
    rimmed = outline(dot, seeded())
    assert rimmed[0, 3].sum() == 9
    assert rimmed[0, :3].sum() == 3


def test_cut_out_hides_one_rectangle_of_some_images() -> None:
    image = torch.full((40, 3, 20, 20), 2.0)
    changed = (cut_out(image, seeded()) != image).any(1)
    hidden = changed.flatten(1).sum(1)
    assert 0 < (hidden > 0).sum() < 40
    for mask in changed[hidden > 0]:
        assert mask.sum() == mask.any(0).sum() * mask.any(1).sum()
