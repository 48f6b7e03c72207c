"""Loads a converted checkpoint in somebody else's library: ``python FILE LIBRARY DIRECTORY``, in its own environment.

Reads ``converted`` (a file or a directory) and ``inputs.npz`` in the directory, writes ``logits.npy`` of shape
``[image, text]``, and lets the library save the model as ``saved_*``. Imports nothing of Triclip, so that the
environment needs nothing but the library.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np


def transformers(directory: Path, input_ids: Any, pixel_values: Any) -> Any:
    import torch
    from transformers import CLIPModel, CLIPTextModelWithProjection, CLIPVisionModel

    converted = directory / "converted"
    model = CLIPModel.from_pretrained(converted)
    model.save_pretrained(directory / "saved_model")
    model.save_pretrained(directory / "saved_model_in_shards", max_shard_size="1MB")
    for tower in (CLIPTextModelWithProjection, CLIPVisionModel):
        tower.from_pretrained(converted).save_pretrained(directory / f"saved_tower_{tower.__name__}")
    with torch.no_grad():
        inputs = {"input_ids": torch.from_numpy(input_ids), "pixel_values": torch.from_numpy(pixel_values)}
        return model(**inputs).logits_per_image.numpy()


def open_clip(directory: Path, input_ids: Any, pixel_values: Any) -> Any:
    import open_clip
    import torch
    from safetensors.torch import save_file

    model = open_clip.create_model(f"local-dir:{directory / 'converted'}").eval()
    state = model.state_dict()
    in_parallel = {f"module.{name}": value for name, value in state.items()}
    torch.save({"epoch": 1, "name": "run", "state_dict": in_parallel}, directory / "saved_epoch_1.pt")
    save_file(state, directory / "saved_open_clip.safetensors")
    with torch.no_grad():
        image, text, scale = model(torch.from_numpy(pixel_values), torch.from_numpy(input_ids))
        return (scale * image @ text.T).numpy()


def openai(directory: Path, input_ids: Any, pixel_values: Any) -> Any:
    import clip
    import torch

    model, _ = clip.load(str(directory / "converted"), device="cpu")
    torch.save(model.state_dict(), directory / "saved_state.pt")
    with torch.no_grad():
        return model(torch.from_numpy(pixel_values), torch.from_numpy(input_ids))[0].numpy()


def keras_hub(directory: Path, input_ids: Any, pixel_values: Any) -> Any:
    import keras_hub

    backbone = keras_hub.models.CLIPBackbone.from_preset(str(directory / "converted"))
    backbone.save_to_preset(str(directory / "saved_preset"))
    backbone.save_weights(directory / "saved_backbone.weights.h5")
    inputs = {"images": np.moveaxis(pixel_values, 1, -1), "token_ids": input_ids.astype("int32")}
    return np.asarray(backbone(inputs)["vision_logits"])


def main(library: str, directory: Path) -> None:
    run = {"transformers": transformers, "open_clip": open_clip, "openai": openai, "keras-hub": keras_hub}[library]
    with np.load(directory / "inputs.npz") as inputs:
        np.save(directory / "logits.npy", run(directory, **inputs))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
