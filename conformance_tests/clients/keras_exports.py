"""What ``model.export`` writes of our Keras models, by another runtime, at several sizes, compared with the models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from clip_tf import TFCLIPModel, TFCLIPTextModelWithProjection, TFCLIPVisionModelWithProjection
from conformance_tests.clients.checkpoints import tiny_checkpoint
from conformance_tests.clients.trial import trial

Run = Callable[[dict[str, Any]], dict[str, Any]]

_WITHIN = 1e-5  # sums in another order; logits go to 14


def _batch(texts: int, tokens: int, images: int) -> dict[str, Any]:
    random = np.random.default_rng(texts)
    ids = random.integers(0, 400, (texts, tokens), np.int32)
    mask = np.ones_like(ids)
    ids[:, tokens - 2 :] = 49407
    mask[:, tokens - 1 :] = 0
    pixels = random.normal(size=(images, 3, 30, 30)).astype(np.float32)
    return {"input_ids": ids, "attention_mask": mask, "pixel_values": pixels}


_BATCHES = [_batch(3, 9, 2), _batch(1, 5, 4), _batch(2, 77, 1)]


def add_trials(format: str, suffix: str, load: Callable[[Path], Run]) -> None:
    """Adds the trials of a runtime.

    Args:
        format, suffix: of the file that is exported.
        load: reads the file and returns what runs it, from arrays by name to arrays by name.
    """

    def exported(model: Any, directory: Path) -> Run:
        path = directory / f"model{suffix}"
        model.export(path, format=format, verbose=False)
        return load(path)

    parts = {
        TFCLIPModel: "any number of texts, tokens and images",
        TFCLIPTextModelWithProjection: "text_embeds of any number of texts and tokens",
        TFCLIPVisionModelWithProjection: "image_embeds of any number of images",
    }
    for model_class, sizes in parts.items():

        @trial(f'export(format="{format}") of {model_class.__name__}: {sizes}', within=_WITHIN)
        def _(directory: Path, model_class: Any = model_class) -> Any:
            model = model_class.from_pretrained(tiny_checkpoint(directory / "clip"))
            run, ours, theirs = exported(model, directory), [], []
            for batch in _BATCHES:
                batch = {name: batch[name] for name in model.input_signature}
                expected, found = model(batch), run(batch)
                names = sorted(name for name in expected._fields if not isinstance(expected[name], tuple))
                assert sorted(found) == names, sorted(found)
                ours.append([expected[name] for name in names])
                theirs.append([found[name] for name in names])
            return ours, theirs

    @trial(f'export(format="{format}"): texts that cannot be encoded are NaN or an error')
    def _(directory: Path) -> None:
        model = TFCLIPTextModelWithProjection.from_pretrained(tiny_checkpoint(directory / "clip"))
        run, good = exported(model, directory), _BATCHES[0]["input_ids"]
        endless, beyond, negative = good.copy(), good.copy(), good.copy()
        endless[1], beyond[1, 1], negative[1, 1] = 5, 49408, -1
        long = np.full((3, 78), 49407, np.int32)
        for name, ids in {"no end": endless, "beyond": beyond, "negative": negative, "too long": long}.items():
            try:
                embeds = run({"input_ids": ids, "attention_mask": np.ones_like(ids)})["text_embeds"]
            except Exception:  # the runtime's own
                continue
            assert np.isnan(embeds[1]).all(), f"{name}: a number came out"
