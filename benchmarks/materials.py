"""What the sides work on: checkpoints of ViT-B/32's sizes with random weights, captions, pictures.

Each material is made once, in a process of its own, below a folder that is named after this file's contents: a change
of how they are made makes them anew.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

CAPTIONS, PICTURES, JPEGS = 5000, 64, 200
END_OF_TEXT = 49407
VIT_L_14: dict[str, Any] = {
    "text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "projection_dim": 768},
    "vision_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "patch_size": 14,
        "projection_dim": 768,
    },
    "projection_dim": 768,
}


def material_folder(base: Path) -> Path:
    """Where the materials lie that this file makes."""
    return base / hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]


def make(names: Iterable[str], folder: Path, python: str) -> None:
    """Makes what is not there yet."""
    for name in names:
        if not (folder / name).exists():
            print(f"making {folder / name}", file=sys.stderr, flush=True)
            command = [python, "-W", "ignore", "-m", "benchmarks.materials", name, str(folder)]
            subprocess.run(command, check=True, stdout=sys.stderr)


def read_captions(folder: Path) -> list[str]:
    """The captions, one of which in 50 has a curly quote."""
    found: list[str] = json.loads((folder / "captions" / "captions.json").read_text())
    return found


def _hf(target: Path) -> None:
    """A checkpoint of transformers' layout, as both libraries read it: 605 MB."""
    from clip_core import CLIPConfig, CLIPProcessor
    from clip_core.checkpoint.saving import save_checkpoint
    from clip_core.image.processor import CLIPImageProcessor
    from clip_core.initialization import draw_weights
    from clip_core.tokenizer.clip import CLIPTokenizer

    config = CLIPConfig()
    weights = dict(draw_weights(config, seed=0))
    weights["text_model.embeddings.token_embedding.weight"] *= 10  # or all texts would have nearly one vector
    save_checkpoint(target, config, weights, architecture="CLIPModel")
    CLIPProcessor(CLIPImageProcessor(), CLIPTokenizer()).save_pretrained(target)


def _vit_l_14(target: Path) -> None:
    """A checkpoint of ViT-L/14's sizes: 1.7 GB."""
    from clip_core import CLIPConfig
    from clip_core.checkpoint.saving import save_checkpoint
    from clip_core.initialization import draw_weights

    config = CLIPConfig(**VIT_L_14)
    save_checkpoint(target, config, dict(draw_weights(config, seed=0)), architecture="CLIPModel")


def _converted(to: str) -> Callable[[Path], None]:
    def write(target: Path) -> None:
        from weights_convert import convert

        convert(target.parent / "hf", target, to=to, overwrite=True)

    return write


def _onnx(target: Path) -> None:
    """Transformers' towers as ``torch.onnx.export`` writes them, and with weights in int8."""
    import torch
    import transformers
    from onnxruntime.quantization import QuantType, quantize_dynamic

    class Tower(torch.nn.Module):
        def __init__(self, method: str) -> None:
            super().__init__()
            self.model = transformers.CLIPModel.from_pretrained(target.parent / "hf").eval()
            self.method = method

        def forward(self, value: torch.Tensor) -> torch.Tensor:
            features: torch.Tensor = getattr(self.model, self.method)(value)
            return features

    ids = torch.full((2, 77), END_OF_TEXT)
    towers: dict[str, tuple[str, torch.Tensor, dict[int, str]]] = {
        "image": ("get_image_features", torch.zeros(2, 3, 224, 224), {0: "batch"}),
        "text": ("get_text_features", ids, {0: "batch", 1: "token"}),
    }
    for name, (method, value, sizes) in towers.items():
        path = target / f"{name}.onnx"
        shapes = {"value": sizes}
        torch.onnx.export(Tower(method), (value,), path, dynamic_shapes=shapes, dynamo=True, external_data=False)
        quantize_dynamic(path, target / f"{name}-int8.onnx", weight_type=QuantType.QInt8)


def _captions(target: Path) -> None:
    """Texts of 6 to 16 words by Zipf's law, drawn from the vocabulary, rare ones included; some with punctuation."""
    import numpy as np

    from clip_core.tokenizer.bpe import builtin_table

    generator = np.random.default_rng(0)
    vocabulary, _ = builtin_table()
    words = [token[:-4] for token in vocabulary if token.endswith("</w>") and token[:-4].isalpha() and token.isascii()]
    shares = 1 / np.arange(1, len(words) + 1)
    drawn = iter(generator.choice(words, size=CAPTIONS * 17, p=shares / shares.sum()).tolist())
    texts = []
    for number, length in enumerate(generator.integers(6, 17, CAPTIONS).tolist()):
        text = " ".join(next(drawn) for _ in range(length)).capitalize()
        text = text.replace(" ", ", ", 1) if number % 5 == 0 else text
        texts.append(f"{text}{'’s' if number % 50 == 0 else ''}{'.' if number % 2 else ''}")
    (target / "captions.json").write_text(json.dumps(texts))


def picture(number: int, width: int, height: int) -> Any:
    """A picture with large shapes and fine grain, whose JPEG is of a photograph's size."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(number)
    layers = np.zeros((height, width, 3))
    for side, weight in ((4, 120), (16, 60), (64, 25), (256, 12)):
        coarse = generator.integers(0, 256, (side, side, 3)).astype(np.uint8)
        layers += weight * (np.asarray(Image.fromarray(coarse).resize((width, height), 3)) / 255 - 0.5)
    layers += generator.normal(scale=4, size=layers.shape)
    return Image.fromarray(np.clip(128 + layers, 0, 255).astype(np.uint8))


def _pictures(count: int, width: int, height: int) -> Callable[[Path], None]:
    def write(target: Path) -> None:
        for number in range(count):
            picture(number, width, height).save(target / f"{number:04}.jpg", quality=90)

    return write


MAKERS: dict[str, Callable[[Path], None]] = {
    "hf": _hf,
    "vit_l_14": _vit_l_14,
    "open_clip": _converted("open_clip"),
    "keras_hub": _converted("keras-hub"),
    "onnx": _onnx,
    "captions": _captions,
    "pictures": _pictures(PICTURES, 640, 480),
    "jpegs": _pictures(JPEGS, 500, 375),
}


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        unfinished = Path(temporary, name)
        unfinished.mkdir()
        if name in ("open_clip", "keras_hub", "onnx"):
            (Path(temporary) / "hf").symlink_to(folder.absolute() / "hf")
        MAKERS[name](unfinished)
        unfinished.rename(folder / name)


if __name__ == "__main__":
    main()
