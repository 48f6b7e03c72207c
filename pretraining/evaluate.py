"""Zero-shot scores on OpenMoji, the art style that the model never saw: which of the 1,914 names fits a drawing?

`python -m pretraining.evaluate --backend torch` prints the scores and keeps the similarities; run it for each backend,
then `--compare` says whether they agree and writes ``evaluation.json`` beside the model card.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from clip_core.backends import BACKENDS
from clip_core.checkpoint.files import write_text_atomically
from clip_core.image.processor import CLIPImageProcessor
from clip_core.tokenizer.clip import CLIPTokenizer
from pretraining.concepts import Concept, load_concepts
from pretraining.fetch import CACHE
from pretraining.icons import TEST_STYLE
from pretraining.render import Drawings, load_drawings

CHECKPOINT = Path(__file__).parents[1] / "clip_core" / "embedded" / "triclip-emoji"
TEMPLATE = "{}"
CHUNK = 256


def similarities(checkpoint: Path, backend: str, drawings: Drawings, names: list[str]) -> np.ndarray:
    """Cosines ``[drawing, name]`` by one backend."""
    package, prefix = BACKENDS[backend].package, BACKENDS[backend].class_prefix
    model = getattr(importlib.import_module(package), f"{prefix}CLIPModel").from_pretrained(checkpoint)
    tokenizer = CLIPTokenizer.from_pretrained(checkpoint)
    processor = CLIPImageProcessor.from_pretrained(checkpoint)
    tokens = tokenizer(names, padding=True, truncation=True, return_tensors="np")
    images = on_white(drawings.pixels)
    chunks = [images[i : i + CHUNK] for i in range(0, len(images), CHUNK)]
    pixels = [processor(images=list(chunk), return_tensors="np")["pixel_values"] for chunk in chunks]
    image_embeds = np.concatenate([as_numpy(model.get_image_features(tensor(backend, chunk))) for chunk in pixels])
    text_embeds = as_numpy(
        model.get_text_features(
            input_ids=tensor(backend, tokens["input_ids"]), attention_mask=tensor(backend, tokens["attention_mask"])
        )
    )
    return unit_length(image_embeds) @ unit_length(text_embeds).T


def tensor(backend: str, array: np.ndarray) -> Any:
    return importlib.import_module("torch").from_numpy(array) if backend == "torch" else array


def as_numpy(features: Any) -> np.ndarray:
    return np.asarray(features.detach() if hasattr(features, "detach") else features, dtype=np.float32)


def unit_length(embeds: np.ndarray) -> np.ndarray:
    return embeds / np.linalg.norm(embeds, axis=-1, keepdims=True)


def on_white(pixels: np.ndarray) -> np.ndarray:
    """RGBA drawings on white: ``[drawing, height, width, RGB]`` uint8."""
    alpha = pixels[..., 3:].astype(np.float32) / 255
    return np.rint(pixels[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def scores(similarity: np.ndarray, shown: np.ndarray, concepts: tuple[Concept, ...]) -> dict[str, Any]:
    """Percentages of drawings whose own name is among the best 1, 5, 10 of all names; overall and by group."""
    own = np.take_along_axis(similarity, shown[:, None].astype(np.int64), axis=1)
    ranks = (similarity > own).sum(axis=1) + 1
    groups = np.array([concepts[i].group for i in shown])
    parts = {"all": groups != "", "without flags": groups != "Flags"}
    parts |= {group: groups == group for group in dict.fromkeys(concept.group for concept in concepts)}
    return {name: summary(ranks[part]) for name, part in parts.items() if part.any()}


def summary(ranks: np.ndarray) -> dict[str, float]:
    percent = {f"top {k}": round(100 * float((ranks <= k).mean()), 2) for k in (1, 5, 10)}
    return {"drawings": len(ranks), **percent, "median rank": float(np.median(ranks))}


def compare(folder: Path, drawings: Drawings, concepts: tuple[Concept, ...]) -> dict[str, Any]:
    """The scores of every backend that has run, and how far their similarities are apart."""
    runs = {path.stem: np.load(path) for path in sorted(folder.glob("*.npy"))}
    by_backend = {backend: scores(similarity, drawings.concepts, concepts) for backend, similarity in runs.items()}
    first = next(iter(by_backend))
    return {
        "names": len(concepts),
        "style": TEST_STYLE,
        "template": TEMPLATE,
        "backends": sorted(runs),
        "equal scores": all(result == by_backend[first] for result in by_backend.values()),
        "largest difference of a cosine": max(float(np.abs(runs[first] - other).max()) for other in runs.values()),
        "scores": by_backend[first],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--backend", choices=BACKENDS, default="torch")
    parser.add_argument("--compare", action="store_true", help="compare the backends that have run")
    arguments = parser.parse_args()
    folder, concepts = CACHE / "evaluation", load_concepts()
    drawings = load_drawings(TEST_STYLE, ("plain",))
    if arguments.compare:
        result = compare(folder, drawings, concepts)
        write_text_atomically(arguments.checkpoint / "evaluation.json", json.dumps(result, indent=2) + "\n")
        print(json.dumps(result, indent=2))
        return
    names = [TEMPLATE.format(concept.name) for concept in concepts]
    similarity = similarities(arguments.checkpoint, arguments.backend, drawings, names)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{arguments.backend}.npy", similarity)
    print(json.dumps(scores(similarity, drawings.concepts, concepts), indent=2))


if __name__ == "__main__":
    main()
