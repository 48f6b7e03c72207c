"""Encodes the sample pictures in one backend: ``python -m triclip.tests.encode_samples BACKEND RESULTS.npz``.

A process of its own, since frameworks do not always bear each other's company. Beside the encoder's vectors it writes
what the model's own methods give for the same inputs.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import triclip
from clip_core import CLIPProcessor, load_image
from clip_core.backends import BACKENDS
from clip_core.checkpoint.locating import EMBEDDED_NAME

SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*.png"))
LABELS = ["cat", "umbrella", "ein Schneemann"]
TEXTS = ["a cat", "an umbrella on a rainy day", "ein Schneemann"]


def encoded(backend: str) -> dict[str, Any]:
    """What the encoder gives; batches of three leave a smaller one at the end."""
    encoder = triclip.load(EMBEDDED_NAME, backend, device="cpu")
    images, texts = encoder.encode_images(SAMPLES, batch_size=3), encoder.encode_texts(TEXTS, batch_size=2)
    return {
        "images": images,
        "texts": texts,
        "image features": encoder.encode_images(SAMPLES, normalize=False),
        "text features": encoder.encode_texts(TEXTS, normalize=False),
        "logits": encoder.logits(images, texts),
        "head": encoder.encode_labels(LABELS, triclip.SIMPLE_IMAGENET_TEMPLATES, batch_size=4),
        "digest": encoder.digest(),
        "bfloat16": triclip.load(EMBEDDED_NAME, backend, "cpu", "bfloat16").encode_images(SAMPLES[:2]),
        "float16": triclip.load(EMBEDDED_NAME, backend, "cpu", "float16").encode_texts(TEXTS),
    }


def computed(backend: str) -> dict[str, Any]:
    """What the model's own methods give."""
    model_class = getattr(import_module(BACKENDS[backend].package), f"{BACKENDS[backend].class_prefix}CLIPModel")
    model = model_class.from_pretrained(EMBEDDED_NAME)
    processor = CLIPProcessor.from_pretrained(EMBEDDED_NAME)
    kind = BACKENDS[backend].tensor_type
    images = [load_image(path) for path in SAMPLES]
    inputs = processor(images=images, text=TEXTS, padding=True, return_tensors=kind)
    features = {
        "image features": model.get_image_features(inputs["pixel_values"]),
        "text features": model.get_text_features(inputs["input_ids"], attention_mask=inputs["attention_mask"]),
        "logits": model(**inputs).logits_per_image,
    }
    tokenizer = processor.tokenizer
    head = triclip.ZeroShotHead.build(model, tokenizer, LABELS, triclip.SIMPLE_IMAGENET_TEMPLATES, batch_size=5)
    return {"head": head.vectors, "digest": head.digest} | {
        name: value.detach() if backend == "torch" else value for name, value in features.items()
    }


if __name__ == "__main__":
    name, results = sys.argv[1:]
    model = {f"model's {key}": np.asarray(value) for key, value in computed(name).items()}
    np.savez(results, **encoded(name), **model)
