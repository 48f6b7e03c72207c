"""sentence-transformers: its CLIP module around models of ours and of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import sentence_transformers
import transformers
from PIL import Image
from sentence_transformers.models import CLIPModel as Module

import clip_core
import clip_torch
from clip_torch import hf
from conformance_tests.clients.checkpoints import aligned, tiny_checkpoint
from conformance_tests.clients.trial import trial

transformers.logging.disable_progress_bar()
_ASKS = "it asks which class of transformers the processor is"
_READS = "it reads features as transformers 5 returns them; clip_torch.hf does, clip_torch returns tensors"
_TEXTS = ["a photo of a cat", "umbrella", "two dogs on a very long red sofa"]


def _encoder(models: Any, preparing: Any, checkpoint: Path) -> Any:
    module = Module(str(checkpoint))
    module.model = aligned(models.CLIPModel.from_pretrained(checkpoint).eval())
    module.processor = preparing.CLIPProcessor.from_pretrained(checkpoint)
    return sentence_transformers.SentenceTransformer(modules=[module], device="cpu")


def _embeddings(encoder: Any) -> Any:
    random = np.random.default_rng(0)
    pictures = [Image.fromarray(random.integers(0, 256, (41, 30 + i, 3), np.uint8)) for i in range(2)]
    return [encoder.encode(_TEXTS), encoder.encode(pictures)]


for _library, _preparing in ((clip_torch, clip_core), (clip_torch, transformers), (hf, transformers)):
    _name = f"{_library.__name__} with {_preparing.__name__}'s processor"
    _asked = _ASKS if _preparing is clip_core else _READS if _library is clip_torch else None

    @trial(f"encode texts and pictures, {_name}", fails=_asked)
    def _(directory: Path, library: Any = _library, preparing: Any = _preparing) -> Any:
        checkpoint = tiny_checkpoint(directory)
        pairs = ((library, preparing), (transformers, transformers))
        return [_embeddings(_encoder(*pair, checkpoint)) for pair in pairs]

    @trial(f"save, then load, {_name}", fails=_asked)
    def _(directory: Path, library: Any = _library, preparing: Any = _preparing) -> Any:
        encoder = _encoder(library, preparing, tiny_checkpoint(directory / "clip"))
        encoder.save(str(directory / "saved"), create_model_card=False)
        again = sentence_transformers.SentenceTransformer(str(directory / "saved"), device="cpu")
        aligned(again[0].model)
        return _embeddings(encoder), _embeddings(again)
