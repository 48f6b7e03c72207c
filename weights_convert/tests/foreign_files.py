"""Lets one library load what Triclip wrote and write its own.

    python -m weights_convert.tests.foreign_files LIBRARY DIRECTORY

The directory holds the checkpoint in every format, by name. What the library saves is written to ``saved_*`` in it.
Each library runs in a process of its own.
"""

import os
import sys
from pathlib import Path

from weights_convert.tests import checkpoints


def torch(directory: Path) -> None:
    import torch
    from transformers import CLIPModel

    state = torch.jit.load(directory / "openai.pt").state_dict()
    torch.save(state, directory / "saved_archive.pt")
    torch.save(state, directory / "saved_stream.pt", _use_new_zipfile_serialization=False)
    # what a fused storage, a transposed view and a parameter look like
    whole = torch.cat([value.flatten() for value in state.values()])
    views = dict(zip(state, torch.split(whole, [value.numel() for value in state.values()]), strict=True))
    shared = {name: view.reshape(state[name].shape) for name, view in views.items()}
    shared["positional_embedding"] = torch._neg_view(-state["positional_embedding"])
    shared["visual.proj"] = torch.nn.Parameter(state["visual.proj"].T.contiguous()).T
    torch.save({"epoch": 3, "state_dict": shared, "optimizer": {"step": torch.zeros(())}}, directory / "saved_views.pt")
    script(state).save(directory / "saved_script.pt")
    model = CLIPModel.from_pretrained(directory / "hf")
    model.save_pretrained(directory / "saved_hf_bin", safe_serialization=False, max_shard_size="300KB")


def script(state: dict) -> "torch.jit.ScriptModule":
    """A TorchScript module with these weights, nested as their names say."""
    import torch

    root = torch.nn.Module()
    for name, value in state.items():
        place = root
        *owners, leaf = name.split(".")
        for owner in owners:
            if not hasattr(place, owner):
                place.add_module(owner, torch.nn.Module())
            place = getattr(place, owner)
        place.register_parameter(leaf, torch.nn.Parameter(value))
    root.register_buffer("input_resolution", torch.tensor(28))
    return torch.jit.script(root)


def tf(directory: Path) -> None:
    from transformers import TFCLIPModel

    for name in ("hf-tf", "hf-tf-shards"):
        model, report = TFCLIPModel.from_pretrained(directory / name, output_loading_info=True, use_safetensors=False)
        assert not any(report.values()), report
    model.save_pretrained(directory / "saved_tf")
    model.save_pretrained(directory / "saved_tf_shards", max_shard_size="300KB")
    model.save_pretrained(directory / "saved_tf_safetensors", safe_serialization=True)


def flax(directory: Path) -> None:
    from flax import nnx, serialization
    from transformers import FlaxCLIPModel as Upstream

    from clip_flax import FlaxCLIPModel

    Upstream.from_pretrained(directory / "hf-flax").save_pretrained(directory / "saved_flax")
    model = FlaxCLIPModel(checkpoints.CONFIG, seed=9)
    state = nnx.state(model, nnx.Param)
    content = (directory / "nnx/nnx_state.msgpack").read_bytes()
    nnx.replace_by_pure_dict(state, serialization.msgpack_restore(content))
    nnx.update(model, state)
    model.save_pretrained(directory / "saved_after_nnx")


def keras(directory: Path) -> None:
    from clip_tf import TFCLIPModel

    model = TFCLIPModel(checkpoints.CONFIG, seed=9)
    model.load_weights(directory / "keras/model.weights.h5")
    model.save_pretrained(directory / "saved_after_keras")
    model.save_weights(directory / "saved_keras.weights.h5")
    model.save_weights(directory / "saved_keras_shards.weights.json", max_shard_size=0.0012)


if __name__ == "__main__":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    globals()[sys.argv[1]](Path(sys.argv[2]))
