"""Loading ViT-B/32, a file of 605 MB that lies in the page cache, in a process that has imported its library.

A library may map the file and read it when the weights are first used, so the second case also reads every weight.
Memory is the peak above what was resident before, pages of a mapped file included.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.row import Case, Row, Side
from benchmarks.towers import import_triton


def _side(case: Case, load: Callable[[], Any], weights: Callable[[Any], Iterable[Any]]) -> Callable[[], Any]:
    """Loads; reading gives the sum of absolute values, which is compared."""
    if case["then"] == "nothing":
        return lambda: load() and None
    return lambda: float(sum(float(abs(weight).sum()) for weight in weights(load())))


def _torch_weights(model: Any) -> Any:
    return (parameter.detach() for parameter in model.parameters())


def _arrays(model: Any) -> Any:
    return (weight.numpy() for weight in model.weights)


def transformers_torch(folder: Path, case: Case) -> Any:
    from transformers import CLIPModel

    return _side(case, lambda: CLIPModel.from_pretrained(folder / "hf"), _torch_weights)


def transformers_tf(folder: Path, case: Case) -> Any:
    """From the same file, which it reads with torch."""
    import_triton()
    from transformers import TFCLIPModel

    return _side(case, lambda: TFCLIPModel.from_pretrained(folder / "hf", from_pt=True), _arrays)


def transformers_flax(folder: Path, case: Case) -> Any:
    import jax
    from transformers import FlaxCLIPModel

    def load() -> Any:
        return FlaxCLIPModel.from_pretrained(folder / "hf", from_pt=True)

    return _side(case, load, lambda model: jax.tree.leaves(model.params))


def open_clip(folder: Path, case: Case) -> Any:
    import open_clip as library

    name = f"local-dir:{folder.absolute() / 'open_clip'}"
    return _side(case, lambda: library.create_model(name), _torch_weights)


def keras_hub(folder: Path, case: Case) -> Any:
    import keras_hub as library

    load = library.models.CLIPBackbone.from_preset
    return _side(case, lambda: load(str(folder / "keras_hub")), _arrays)


def triclip_torch(folder: Path, case: Case) -> Any:
    from clip_torch import CLIPModel

    return _side(case, lambda: CLIPModel.from_pretrained(folder / "hf"), _torch_weights)


def triclip_tf(folder: Path, case: Case) -> Any:
    from clip_tf import TFCLIPModel

    return _side(case, lambda: TFCLIPModel.from_pretrained(folder / "hf"), _arrays)


def triclip_flax(folder: Path, case: Case) -> Any:
    import jax
    from flax import nnx

    from clip_flax import FlaxCLIPModel

    def weights(model: Any) -> Any:
        return jax.tree.leaves(nnx.state(model, nnx.Param))

    def load() -> Any:
        model = FlaxCLIPModel.from_pretrained(folder / "hf")
        jax.block_until_ready(weights(model))  # or it would come back before it has copied
        return model

    return _side(case, load, weights)


def triclip_onnx(folder: Path, case: Case) -> Any:
    """A session holds no weights that could be asked for."""
    import triclip

    for module in ("onnxruntime", "triclip.encoder"):
        import_module(module)
    return (lambda: triclip.load(folder / "hf", "onnx") and None) if case["then"] == "nothing" else None


def limit_read(folder: Path, case: Case) -> Any:
    """The file read into memory."""
    import numpy as np

    path = folder / "hf" / "model.safetensors"

    def read() -> None:
        np.fromfile(path, np.uint8)

    return read


def limit_memory(folder: Path, case: Case) -> Any:
    """As many bytes copied from memory to memory."""
    import numpy as np

    source = np.ones((folder / "hf" / "model.safetensors").stat().st_size, np.uint8)
    target = np.zeros_like(source)
    target.fill(1)
    return lambda: np.copyto(target, source)


def limit_cp(folder: Path, case: Case) -> Any:
    """The file copied to another one."""

    def copy() -> None:
        with tempfile.NamedTemporaryFile(dir=folder) as target:
            shutil.copyfile(folder / "hf" / "model.safetensors", target.name)

    return copy


KERAS = {"KERAS_BACKEND": "tensorflow"}
ROW = Row(
    name="load",
    title="Loading ViT-B/32 (605 MB)",
    cases=[{"then": "nothing"}, {"then": "every weight read"}],
    sides={
        "transformers torch": Side(function="transformers_torch"),
        "transformers TF": Side(function="transformers_tf"),
        "transformers Flax": Side(function="transformers_flax"),
        "open_clip": Side(function="open_clip"),
        "keras-hub": Side(function="keras_hub", environment=KERAS),
        "triclip torch": Side(function="triclip_torch"),
        "triclip tf": Side(function="triclip_tf"),
        "triclip flax": Side(function="triclip_flax"),
        "triclip onnx": Side(function="triclip_onnx"),
        "limit: the file read into memory": Side(function="limit_read"),
        "limit: a copy in memory": Side(function="limit_memory"),
        "limit: cp": Side(function="limit_cp"),
    },
    materials=("hf", "open_clip", "keras_hub"),
    within=1e-3,
    fresh=True,
    cores=(1,),
    memory=True,
)
