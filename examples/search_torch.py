"""Searches pictures by text: each picture is embedded once, a search is one product with a vector; PyTorch."""

import argparse
from pathlib import Path

import torch
from PIL import Image
from torch.nn.functional import normalize

from clip_core import CLIPProcessor
from clip_torch import CLIPModel


@torch.inference_mode()
def embed_pictures(model: CLIPModel, processor: CLIPProcessor, paths: list[Path], batch_size: int) -> torch.Tensor:
    """Embeddings of length 1, [image, embed]."""
    batches = []
    for start in range(0, len(paths), batch_size):
        images = [Image.open(path) for path in paths[start : start + batch_size]]
        inputs = processor(images=images, return_tensors="pt").to(model.device)
        batches.append(normalize(model.get_image_features(**inputs), dim=1))
    return torch.cat(batches)


@torch.inference_mode()
def embed_texts(model: CLIPModel, processor: CLIPProcessor, texts: list[str]) -> torch.Tensor:
    """Embeddings of length 1, [text, embed]."""
    inputs = processor(text=texts, padding=True, truncation=True, return_tensors="pt").to(model.device)
    return normalize(model.get_text_features(**inputs), dim=1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Search pictures by text.")
    parser.add_argument("queries", nargs="*", default=["fruit", "a guitar", "a vehicle"])
    parser.add_argument("--pictures", type=Path, default=Path("triclip/samples"), help="directory of .png and .jpg")
    parser.add_argument("--checkpoint", default="triclip-emoji", help="directory, or name with the extra [hub]")
    given = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = CLIPModel.from_pretrained(given.checkpoint).to(device)
    processor = CLIPProcessor.from_pretrained(given.checkpoint)
    paths = sorted(path for path in given.pictures.iterdir() if path.suffix.lower() in {".png", ".jpg", ".jpeg"})
    if not paths:
        raise SystemExit(f"{given.pictures}: no .png or .jpg here")

    pictures = embed_pictures(model, processor, paths, batch_size=64)
    similarities = embed_texts(model, processor, given.queries) @ pictures.T  # cosines, [text, image]
    for query, row in zip(given.queries, similarities, strict=True):
        best = row.topk(min(3, len(paths)))
        found = (f"{paths[i].name} ({cosine:.2f})" for cosine, i in zip(*map(torch.Tensor.tolist, best), strict=True))
        print(f"{query}: {', '.join(found)}")


if __name__ == "__main__":
    main()
