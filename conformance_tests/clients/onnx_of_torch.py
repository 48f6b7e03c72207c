"""onnxruntime: what ``torch.onnx.export`` writes of our models, at sizes that were not exported, compared with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import torch

from clip_torch import CLIPModel
from conformance_tests.clients.checkpoints import tiny_checkpoint
from conformance_tests.clients.trial import trial

_WITHIN = 1e-5  # sums in another order; logits go to 14


def _batch(texts: int, tokens: int, images: int, height: int, width: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(texts)
    ids = torch.randint(0, 400, (texts, tokens), generator=generator)
    mask = torch.ones_like(ids)
    ids[:, tokens - 2 :] = 49407
    mask[:, tokens - 1 :] = 0
    pixels = torch.randn(images, 3, height, width, generator=generator)
    return {"input_ids": ids, "pixel_values": pixels, "attention_mask": mask}


def _exported(directory: Path, batch: dict[str, Any], sizes: dict[int, str], **flags: Any) -> Any:
    """The model, and what runs its export, which has open sizes of text, and of pixels as named."""
    model = CLIPModel.from_pretrained(tiny_checkpoint(directory / "clip")).eval()
    path = directory / "model.onnx"
    open_text = {0: "text", 1: "token"}
    torch.onnx.export(
        model,
        kwargs={**batch, **flags},
        f=path,
        dynamic_shapes={
            "input_ids": open_text,
            "pixel_values": sizes,
            "attention_mask": open_text,
            **dict.fromkeys(flags),
        },
        dynamo=True,
        verbose=False,
        optimize=True,
    )
    session = onnxruntime.InferenceSession(path)
    names = [given.name for given in session.get_inputs()]
    return model, lambda batch: session.run(None, {name: batch[name].numpy() for name in names})


def _compared(directory: Path, batches: list[dict[str, Any]], sizes: dict[int, str], **flags: Any) -> Any:
    """The first batch is exported, all are run."""
    model, run = _exported(directory, batches[0], sizes, **flags)
    ours = []
    for batch in batches:
        with torch.no_grad():
            output = model(**batch, **flags)
        ours.append([output.logits_per_image, output.logits_per_text, output.text_embeds, output.image_embeds])
    return ours, [run(batch)[:4] for batch in batches]


@trial("torch.onnx.export of CLIPModel: any number of texts, tokens and images", within=_WITHIN)
def _(directory: Path) -> Any:
    batches = [_batch(3, 9, 2, 30, 30), _batch(1, 5, 4, 30, 30), _batch(2, 77, 1, 30, 30)]
    return _compared(directory, batches, {0: "image"})


@trial("torch.onnx.export with interpolate_pos_encoding: any height and width, too", within=_WITHIN)
def _(directory: Path) -> Any:
    batches = [_batch(3, 9, 2, 42, 36), _batch(1, 5, 4, 30, 30), _batch(2, 77, 1, 24, 54)]
    sizes = {0: "image", 2: "height", 3: "width"}
    return _compared(directory, batches, sizes, interpolate_pos_encoding=True)


@trial("torch.onnx.export: texts that cannot be encoded are NaN or an error")
def _(directory: Path) -> None:
    batch = _batch(3, 9, 2, 30, 30)
    _, run = _exported(directory, batch, {0: "image"})
    endless, beyond, negative = (batch["input_ids"].clone() for _ in range(3))
    endless[1], beyond[1, 1], negative[1, 1] = 5, 49408, -1
    long = torch.full((3, 78), 49407)
    for name, ids in {"no end": endless, "beyond": beyond, "negative": negative, "too long": long}.items():
        try:
            embeds = run({**batch, "input_ids": ids, "attention_mask": torch.ones_like(ids)})[2]
        except Exception:  # the runtime's own
            continue
        assert torch.from_numpy(embeds[1]).isnan().all(), f"{name}: a number came out"
