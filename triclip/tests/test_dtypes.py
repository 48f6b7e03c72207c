"""Narrow dtypes of `triclip.load`: what they lose, measured on the embedded checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import triclip
from clip_core.errors import InputError, InputTypeError, NonFiniteError

PICTURES = sorted(str(path) for path in (Path(triclip.__file__).parent / "samples").glob("*.png"))
LABELS = [Path(path).stem for path in PICTURES]


def encode(dtype: str) -> tuple[triclip.Encoder, np.ndarray, np.ndarray]:
    encoder = triclip.load("triclip-emoji", "torch", "cpu", dtype)
    return encoder, encoder.encode_images(PICTURES), encoder.encode_texts(LABELS)


@pytest.mark.parametrize(("dtype", "least"), [("int8", 0.995), ("bfloat16", 0.999)])
def test_the_embedded_checkpoint_sees_the_same(dtype: str, least: float) -> None:
    exact, images, texts = encode("float32")
    narrow, narrow_images, narrow_texts = encode(dtype)
    assert narrow.dtype == dtype
    assert (images * narrow_images).sum(axis=1).min() >= least
    assert (texts * narrow_texts).sum(axis=1).min() >= least
    best, narrow_best = (encoder.logits(PICTURES, LABELS).argmax(axis=1) for encoder in (exact, narrow))
    assert best.tolist() == narrow_best.tolist()
    assert narrow.digest() != exact.digest()


def test_rounding_hides_no_nan(checkpoint: str, tmp_path: Path) -> None:
    from clip_torch import CLIPModel

    model = CLIPModel.from_pretrained(checkpoint)
    model.vision_model.encoder.layers[0].layer_norm1.weight.data[3] = np.nan
    model.save_pretrained(tmp_path)
    for file in Path(checkpoint).iterdir():
        if not (tmp_path / file.name).exists():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(NonFiniteError, match="layer_norm1.weight"):
        triclip.load(tmp_path, "torch", "cpu", "int8").encode_images(PICTURES[:1])


@pytest.mark.parametrize("backend", ["tf", "flax"])
def test_int8_where_there_is_none_is_an_error(checkpoint: str, backend: str) -> None:
    with pytest.raises(InputTypeError, match=f"int8 is computed by the backends torch and onnx, got '{backend}'"):
        triclip.load(checkpoint, backend, dtype="int8")


def test_int8_on_another_device_is_an_error(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triclip.engines.torch._devices", lambda: ["gpu:0", "cpu:0"])
    with pytest.raises(InputError, match="int8 is computed on a CPU, got device 'cuda'"):
        triclip.load(checkpoint, "torch", "cuda", "int8")
    assert triclip.load(checkpoint, "torch", dtype="int8").device == "cpu:0"
