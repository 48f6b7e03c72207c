"""Runs OpenAI's own model code on a file in its layout: ``python FILE MODEL_PY DIRECTORY``, in its own environment.

``MODEL_PY`` is ``clip/model.py`` of the source distribution ``openai-clip``. Reads ``openai.pt`` and ``inputs.npz`` in
the directory as ``clip.load`` does on a CPU, and writes ``openai.npz``: features, logits and what every stage of the
image tower gives. With a third argument, the sizes of a model as JSON, it writes ``shapes.json`` instead: the shape of
every weight of that model, without making one. Imports nothing of Triclip.
"""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import torch

STAGES = ("avgpool", "layer1", "layer2", "layer3", "layer4")


def loaded(path):
    """The module, without the package, which needs more than the model does."""
    spec = importlib.util.spec_from_file_location("openai_model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outputs(openai, directory):
    """By name; stages as ``hidden_states.0`` and so on."""
    state_dict = torch.jit.load(str(directory / "openai.pt"), map_location="cpu").state_dict()
    model = openai.build_model(state_dict).float().eval()
    found = {}
    for number, stage in enumerate(STAGES):
        getattr(model.visual, stage).register_forward_hook(
            lambda module, inputs, output, number=number: found.update({f"hidden_states.{number}": output})
        )
    with np.load(directory / "inputs.npz") as given, torch.no_grad():
        images, texts = (torch.from_numpy(given[name]) for name in ("pixel_values", "input_ids"))
        found["image_features"], found["text_features"] = model.encode_image(images), model.encode_text(texts)
        found["logits_per_image"] = model(images, texts)[0]
    return {name: value.numpy() for name, value in found.items()}


def shapes(openai, sizes):
    """Of every weight of a model of these sizes."""
    with torch.device("meta"):
        model = openai.CLIP(**sizes)
    return {name: list(value.shape) for name, value in model.state_dict().items()}


def main(model_py, directory, sizes=None):
    openai = loaded(model_py)
    if sizes is None:
        np.savez(directory / "openai.npz", **outputs(openai, directory))
    else:
        (directory / "shapes.json").write_text(json.dumps(shapes(openai, json.loads(sizes))))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
