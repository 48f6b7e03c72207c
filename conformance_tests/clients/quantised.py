"""torchao: weights of 8 bits, of models of ours and of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torchao.quantization import Int8WeightOnlyConfig, quantize_

import clip_torch
from clip_core.errors import WeightMismatchError
from clip_torch import hf
from conformance_tests.clients.checkpoints import aligned, tiny_checkpoint
from conformance_tests.clients.trial import trial

transformers.logging.disable_progress_bar()


def _logits(library: Any, checkpoint: Path) -> Any:
    model = aligned(library.CLIPModel.from_pretrained(checkpoint).float().eval())
    quantize_(model, Int8WeightOnlyConfig())
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 400, (3, 9), generator=generator)
    ids[:, 7:] = 49407
    with torch.no_grad():
        return model, model(ids, torch.randn(3, 3, 30, 30, generator=generator)).logits_per_text


for _library in (clip_torch, hf):

    @trial(f"int8 weights, {_library.__name__}", within=1e-5)  # logits go to 14; rounding
    def _(directory: Path, library: Any = _library) -> Any:
        checkpoint = tiny_checkpoint(directory)
        return [_logits(home, checkpoint)[1] for home in (library, transformers)]

    @trial(f"saving int8 weights is an error and writes nothing, {_library.__name__}")
    def _(directory: Path, library: Any = _library) -> Any:
        model, _ = _logits(library, tiny_checkpoint(directory / "clip"))
        try:
            model.save_pretrained(directory / "saved")
        except (WeightMismatchError, RuntimeError):  # the latter is torch's, of values that NumPy has not
            assert not (directory / "saved" / "config.json").exists()
            return
        raise AssertionError("it was saved")
