"""Loads a converted checkpoint in somebody else's library: ``python FILE LIBRARY DIRECTORY``, in its own environment.

Reads ``converted`` (a file or a directory) and ``inputs.npz`` in the directory, writes ``logits.npy`` of shape
``[image, text]``, and lets the library save the model as ``saved_*``. Where ``texts.json`` is in the directory, it also
lets the library's own tokenizer and preprocessor, loaded from ``converted``, prepare these texts and ``picture.png``:
``prepared.npz`` with ``input_ids`` and ``pixel_values`` (channels first). Imports nothing of Triclip, so that the
environment needs nothing but the library.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, Any]


def transformers(directory: Path, inputs: Arrays) -> Any:
    import torch
    from transformers import CLIPModel, CLIPTextModelWithProjection, CLIPVisionModel

    converted = directory / "converted"
    model = CLIPModel.from_pretrained(converted)
    model.save_pretrained(directory / "saved_model")
    model.save_pretrained(directory / "saved_model_in_shards", max_shard_size="1MB")
    for tower in (CLIPTextModelWithProjection, CLIPVisionModel):
        tower.from_pretrained(converted).save_pretrained(directory / f"saved_tower_{tower.__name__}")
    with torch.no_grad():
        tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
        return model(**tensors).logits_per_image.numpy()


def transformers_tf(directory: Path, inputs: Arrays) -> Any:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    from transformers import TFCLIPModel

    model = TFCLIPModel.from_pretrained(directory / "converted", use_safetensors=False)
    model.save_pretrained(directory / "saved_model")
    model.save_pretrained(directory / "saved_model_in_shards", max_shard_size="1MB")
    model.save_pretrained(directory / "saved_safetensors", safe_serialization=True)
    return model(**inputs).logits_per_image.numpy()


def transformers_flax(directory: Path, inputs: Arrays) -> Any:
    import jax
    from transformers import FlaxCLIPModel

    jax.config.update("jax_default_matmul_precision", "highest")
    model = FlaxCLIPModel.from_pretrained(directory / "converted")
    model.save_pretrained(directory / "saved_model")
    return np.asarray(model(**inputs).logits_per_image)


def transformers_prepared(directory: Path, texts: list[str]) -> Arrays:
    from PIL import Image
    from transformers import CLIPImageProcessor, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(directory / "converted")
    processor = CLIPImageProcessor.from_pretrained(directory / "converted")
    pixels = processor(Image.open(directory / "picture.png"), return_tensors="np")["pixel_values"]
    return {"input_ids": tokenizer(texts, padding=True, return_tensors="np")["input_ids"], "pixel_values": pixels}


def open_clip(directory: Path, inputs: Arrays) -> Any:
    import open_clip
    import torch
    from safetensors.torch import save_file

    converted = f"local-dir:{directory / 'converted'}"
    model = open_clip.create_model(converted).eval()
    state = model.state_dict()
    in_parallel = {f"module.{name}": value for name, value in state.items()}
    torch.save({"epoch": 1, "name": "run", "state_dict": in_parallel}, directory / "saved_epoch_1.pt")
    save_file(state, directory / "saved_open_clip.safetensors")
    custom = open_clip.create_model(converted, force_custom_text=True)
    torch.save(custom.state_dict(), directory / "saved_open_clip_custom_text.bin")
    with torch.no_grad():
        image, text, scale = model(*(torch.from_numpy(inputs[name]) for name in ("pixel_values", "input_ids")))
        return (scale * image @ text.T).numpy()


def open_clip_prepared(directory: Path, texts: list[str]) -> Arrays:
    import open_clip
    from PIL import Image

    converted = f"local-dir:{directory / 'converted'}"
    _, _, transform = open_clip.create_model_and_transforms(converted)
    pixels = transform(Image.open(directory / "picture.png"))[None].numpy()
    return {"input_ids": open_clip.get_tokenizer(converted)(texts).numpy(), "pixel_values": pixels}


def openai(directory: Path, inputs: Arrays) -> Any:
    import clip
    import torch

    model, _ = clip.load(str(directory / "converted"), device="cpu")
    torch.save(model.state_dict(), directory / "saved_state.pt")
    with torch.no_grad():
        images, texts = (torch.from_numpy(inputs[name]) for name in ("pixel_values", "input_ids"))
        return model(images, texts)[0].numpy()


def openai_prepared(directory: Path, texts: list[str]) -> Arrays:
    import clip
    from PIL import Image

    _, transform = clip.load(str(directory / "converted"), device="cpu")
    pixels = transform(Image.open(directory / "picture.png"))[None].numpy()
    return {"input_ids": clip.tokenize(texts).numpy(), "pixel_values": pixels}


def keras_hub(directory: Path, inputs: Arrays) -> Any:
    import keras_hub

    backbone = keras_hub.models.CLIPBackbone.from_preset(str(directory / "converted"))
    backbone.save_to_preset(str(directory / "saved_preset"))
    backbone.save_weights(directory / "saved_backbone.weights.h5")
    images = np.moveaxis(inputs["pixel_values"], 1, -1)
    return np.asarray(backbone({"images": images, "token_ids": inputs["input_ids"].astype("int32")})["vision_logits"])


def keras_hub_prepared(directory: Path, texts: list[str]) -> Arrays:
    import keras_hub
    from PIL import Image

    preprocessor = keras_hub.models.CLIPPreprocessor.from_preset(str(directory / "converted"))
    picture = np.asarray(Image.open(directory / "picture.png"))[None].repeat(len(texts), 0)
    found = preprocessor({"prompts": texts, "images": picture})
    return {
        "input_ids": np.asarray(found["token_ids"]),
        "pixel_values": np.moveaxis(np.asarray(found["images"])[:1], -1, 1),
    }


LIBRARIES = {
    "transformers": (transformers, transformers_prepared),
    "transformers-tf": (transformers_tf, transformers_prepared),
    "transformers-flax": (transformers_flax, transformers_prepared),
    "open_clip": (open_clip, open_clip_prepared),
    "openai": (openai, openai_prepared),
    "keras-hub": (keras_hub, keras_hub_prepared),
}


def main(library: str, directory: Path) -> None:
    compute, prepare = LIBRARIES[library]
    with np.load(directory / "inputs.npz") as inputs:
        np.save(directory / "logits.npy", compute(directory, dict(inputs)))
    if (directory / "texts.json").exists():
        np.savez(directory / "prepared.npz", **prepare(directory, json.loads((directory / "texts.json").read_text())))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
