"""What people write to classify pictures with other libraries; prints a JSON object for each picture.

python -m benchmarks.by_hand transformers|open_clip FOLDER LABEL,LABEL FILE...
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

TEMPLATE = "a photo of a {}"
BATCH = 32


def transformers(folder: Path, labels: Sequence[str], files: Sequence[str]) -> Iterator[str]:
    """Its pipeline, in batches, with no more options."""
    from transformers import pipeline

    classify = pipeline("zero-shot-image-classification", model=str(folder / "hf"))
    for found in classify(list(files), candidate_labels=list(labels), hypothesis_template=TEMPLATE, batch_size=BATCH):
        yield found[0]["label"]


def open_clip(folder: Path, labels: Sequence[str], files: Sequence[str]) -> Iterator[str]:
    """The example of its documentation, in batches."""
    import open_clip as library
    import torch
    from PIL import Image

    name = f"local-dir:{folder.absolute() / 'open_clip'}"
    model, _, preprocess = library.create_model_and_transforms(name)
    model.eval()
    with torch.inference_mode():
        texts = model.encode_text(library.get_tokenizer(name)([TEMPLATE.format(label) for label in labels]))
        texts /= texts.norm(dim=-1, keepdim=True)
        for start in range(0, len(files), BATCH):
            pictures = torch.stack([preprocess(Image.open(file)) for file in files[start : start + BATCH]])
            images = model.encode_image(pictures)
            images /= images.norm(dim=-1, keepdim=True)
            for best in (100 * images @ texts.T).argmax(dim=-1).tolist():
                yield labels[best]


def main() -> None:
    library, folder, labels, *files = sys.argv[1:]
    program = {"transformers": transformers, "open_clip": open_clip}[library]
    for label in program(Path(folder), labels.split(","), files):
        print(json.dumps({"labels": [{"label": label}]}))


if __name__ == "__main__":
    main()
