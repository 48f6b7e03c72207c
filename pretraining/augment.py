"""Random changes of drawings that leave their meaning alone, for a whole batch at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

LUMA = (0.299, 0.587, 0.114)


def augment(pixels: Tensor, may_flip: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Drawings on random backgrounds.

    Args:
        pixels: ``[batch, height, width, RGBA]`` uint8, alpha not premultiplied.
        may_flip: ``[batch]`` bool; false where left and right matter.
        side: height and width of the result.

    Returns:
        ``[batch, RGB, side, side]`` float32 in [0, 1].
    """
    rgba = pixels.permute(0, 3, 1, 2).float() / 255
    rgba = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], dim=1)  # premultiplied, so that edges blend rightly
    rgba = move(rgba, may_flip, side, generator)
    rgba = torch.cat([recolour(rgba[:, :3], generator), rgba[:, 3:]], dim=1)
    rgba = outline(rgba, generator)
    image = rgba[:, :3] + (1 - rgba[:, 3:]) * backgrounds(len(rgba), side, generator)
    image = cut_out(blur(image, generator), generator)
    return image.clamp(0, 1)


def uniform(batch: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(batch, generator=generator) * (high - low) + low


def chance(batch: int, probability: float, generator: torch.Generator) -> Tensor:
    """A mask ``[batch, 1, 1, 1]``."""
    return (torch.rand(batch, generator=generator) < probability)[:, None, None, None]


def move(rgba: Tensor, may_flip: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Rotates, scales, stretches, shifts and mirrors; resamples to ``side``."""
    batch = len(rgba)
    angle = uniform(batch, -1, 1, generator) ** 3 * math.radians(35)  # mostly small
    scale = uniform(batch, 0.85, 1.35, generator)
    stretch = uniform(batch, 0.87, 1.15, generator)
    flip = torch.where(may_flip & (torch.rand(batch, generator=generator) < 0.5), -1.0, 1.0)
    shift = torch.stack([uniform(batch, -0.15, 0.15, generator) for _ in range(2)], dim=1)
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [[cos * scale * flip, -sin * scale * stretch], [sin * scale * flip, cos * scale * stretch]]
    matrix = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)  # [batch, 2, 2]
    grid = F.affine_grid(torch.cat([matrix, shift[:, :, None]], dim=2), [batch, 4, side, side], align_corners=False)
    return F.grid_sample(rgba, grid, align_corners=False)


def recolour(colours: Tensor, generator: torch.Generator) -> Tensor:
    """Changes hue, saturation and brightness, linearly, so premultiplied colours stay so."""
    batch = len(colours)
    luma = torch.tensor(LUMA)
    grey = luma.expand(3, 3)  # maps any colour to its grey
    hue = uniform(batch, -1, 1, generator) ** 3 * math.pi * 0.6
    saturation = uniform(batch, 0.4, 1.5, generator)
    saturation = torch.where(torch.rand(batch, generator=generator) < 0.15, 0.0, saturation)
    turned = rotation_about_grey(hue)
    matrix = grey + saturation[:, None, None] * (turned - grey @ turned)
    gains = torch.stack([uniform(batch, 0.75, 1.15, generator) for _ in range(3)], dim=1)
    brightness = uniform(batch, 0.8, 1.15, generator)
    matrix = matrix * (gains * brightness[:, None])[:, :, None]
    return torch.einsum("boc,bchw->bohw", matrix, colours).clamp(0, 1)


def rotation_about_grey(angle: Tensor) -> Tensor:
    """Matrices ``[batch, 3, 3]`` that turn RGB about the grey axis (Rodrigues' formula)."""
    cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    return cos * torch.eye(3) + (1 - cos) / 3 + sin * cross


def outline(rgba: Tensor, generator: torch.Generator) -> Tensor:
    """Puts a dark rim around some of the drawings."""
    alpha = rgba[:, 3:]
    grown = F.max_pool2d(alpha, 3, stride=1, padding=1)
    rimmed = torch.cat([rgba[:, :3], torch.maximum(grown, alpha)], dim=1)  # premultiplied black adds alpha only
    return torch.where(chance(len(rgba), 0.2, generator), rimmed, rgba)


def backgrounds(batch: int, side: int, generator: torch.Generator) -> Tensor:
    """White, one light colour, or a gradient between two colours: ``[batch, RGB, side, side]``."""
    white = torch.ones(batch, 3, 1, 1)
    light = 1 - torch.rand(batch, 3, 1, 1, generator=generator) ** 2 * 0.5
    corners = torch.rand(batch, 3, 2, 2, generator=generator)
    gradient = F.interpolate(corners, size=(side, side), mode="bilinear", align_corners=True)
    kind = torch.rand(batch, 1, 1, 1, generator=generator)
    return torch.where(kind < 0.6, white, torch.where(kind < 0.85, light, gradient))


def blur(image: Tensor, generator: torch.Generator) -> Tensor:
    """Softens some of the images."""
    soft = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    strength = uniform(len(image), 0, 1, generator)[:, None, None, None]
    return torch.where(chance(len(image), 0.2, generator), torch.lerp(image, soft, strength), image)


def cut_out(image: Tensor, generator: torch.Generator) -> Tensor:
    """Hides a rectangle of some of the images behind one colour."""
    batch, _, height, width = image.shape
    rows, columns = torch.arange(height)[None, :], torch.arange(width)[None, :]
    inside = between(rows, height, generator, batch)[:, None, :, None]
    inside = inside & between(columns, width, generator, batch)[:, None, None, :]
    colour = torch.rand(batch, 3, 1, 1, generator=generator)
    return torch.where(inside & chance(batch, 0.25, generator), colour, image)


def between(positions: Tensor, length: int, generator: torch.Generator, batch: int) -> Tensor:
    """``[batch, position]``: whether a position lies in a random stretch of an eighth to two fifths of the length."""
    size = uniform(batch, length / 8, length * 0.4, generator)[:, None]
    start = torch.rand(batch, 1, generator=generator) * (length - size)
    return (positions >= start) & (positions < start + size)
