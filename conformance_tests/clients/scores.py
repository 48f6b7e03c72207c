"""torchmetrics: CLIPScore with models and processors of ours and of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torchmetrics.functional.multimodal import clip_score
from torchmetrics.multimodal import CLIPScore

import clip_core
import clip_torch
from clip_torch import hf
from conformance_tests.clients.checkpoints import aligned, tiny_checkpoint
from conformance_tests.clients.trial import trial

_TEXTS = ["a photo of a cat", "an umbrella"]
_TOLERANCE = 1e-5  # scores go to 100, and torchmetrics sums over another alignment than its own model's


def _pictures() -> Any:
    return list(torch.randint(0, 256, (2, 3, 44, 37), generator=torch.Generator().manual_seed(0)).to(torch.uint8))


def _maker(models: Any, preparing: Any, checkpoint: Path) -> Any:
    model = aligned(models.CLIPModel.from_pretrained(checkpoint))
    return lambda: (model, preparing.CLIPProcessor.from_pretrained(checkpoint))


for _library, _preparing in ((clip_torch, clip_core), (hf, transformers)):
    _name = f"{_library.__name__} with {_preparing.__name__}'s processor"

    @trial(f"CLIPScore over two batches, and of text with text, {_name}", within=_TOLERANCE)
    def _(directory: Path, library: Any = _library, preparing: Any = _preparing) -> Any:
        checkpoint, found = tiny_checkpoint(directory, text={"max_position_embeddings": 77}), []
        for pair in ((library, preparing), (transformers, transformers)):
            metric = CLIPScore(_maker(*pair, checkpoint))
            metric.update(_pictures(), _TEXTS)
            metric.update(_pictures()[:1], _TEXTS[1:])
            functional = clip_score(_TEXTS, _TEXTS[::-1], _maker(*pair, checkpoint))
            found.append([metric.compute(), functional])
        return found
