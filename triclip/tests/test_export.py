"""`triclip export`, and the backend that runs without a framework."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner, Result

import clip_onnx
import triclip
from clip_core import resolve_checkpoint
from triclip.cli import main
from triclip.tests.encode_samples import SAMPLES, TEXTS

MODEL = "triclip-emoji"


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def test_a_file_answers_as_the_encoder_does(tmp_path: Path) -> None:
    path = tmp_path / "new" / "clip.onnx"
    result = run(MODEL, path, "--to", "onnx")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == f"  both towers of {MODEL}, weights in float32"
    encoder = triclip.load(MODEL, "onnx")
    tokens = encoder.processor(text=TEXTS, padding=True, return_tensors="np")
    pixels = np.stack([encoder.prepare_image(sample) for sample in SAMPLES[:2]])
    session = onnxruntime.InferenceSession(path)
    logits = session.run(["logits_per_image"], {**tokens, "pixel_values": pixels})[0]
    np.testing.assert_allclose(logits, encoder.logits(SAMPLES[:2], TEXTS), atol=2e-4)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["config.json"])["projection_dim"] == encoder.embed_dim
    assert json.loads(about["preprocessor_config.json"])["image_mean"]


def test_how_pictures_are_prepared_is_in_the_file_from_where_transformers_5_keeps_it_too(tmp_path: Path) -> None:
    directory, path = tmp_path / "checkpoint", tmp_path / "clip.onnx"
    shutil.copytree(resolve_checkpoint(MODEL), directory)
    options = json.loads((directory / "preprocessor_config.json").read_text())
    (directory / "preprocessor_config.json").unlink()
    (directory / "processor_config.json").write_text(json.dumps({"image_processor": options}))
    assert run(directory, path).exit_code == 0
    about = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert json.loads(about["processor_config.json"])["image_processor"] == options


@pytest.mark.parametrize("architecture", ["CLIPTextModel", "CLIPTextModelWithProjection"])
def test_a_checkpoint_of_one_tower_gives_that_one(tmp_path: Path, architecture: str) -> None:
    whole = clip_onnx.CLIPModel.from_pretrained(MODEL)
    config = dataclasses.replace(whole.config.text_config, projection_dim=whole.config.projection_dim)
    wanted = ("text_model.", "text_projection.") if architecture.endswith("Projection") else ("text_model.",)
    weights = {name: value for name, value in whole.named_weights().items() if name.startswith(wanted)}
    getattr(clip_onnx, architecture)(config, weights=weights).save_pretrained(tmp_path / "text")
    result = run(tmp_path / "text", tmp_path / "text.onnx")
    assert result.output.splitlines()[-1] == f"  the text tower of {tmp_path / 'text'}, weights in float32"
    ids = triclip.load(MODEL, "onnx").processor(text=TEXTS, padding=True, return_tensors="np")
    session = onnxruntime.InferenceSession(tmp_path / "text.onnx")
    output = "text_embeds" if architecture.endswith("Projection") else "pooler_output"
    found = session.run([output], dict(ids))[0]
    wanted_output = whole.get_text_features(**ids) if output == "text_embeds" else whole.text_model(**ids).pooler_output
    np.testing.assert_allclose(found, wanted_output, atol=1e-5)
    result = run(tmp_path / "text", tmp_path / "other.onnx", "--tower", "image")
    assert "holds the text tower alone" in str(result.output) + str(result.exception)


def test_a_tower_in_a_smaller_dtype_is_smaller(tmp_path: Path) -> None:
    sizes = []
    for dtype in ("float32", "float16", "int8"):
        path = tmp_path / f"{dtype}.onnx"
        assert run(MODEL, path, "--dtype", dtype, "--tower", "image").exit_code == 0
        sizes.append(path.stat().st_size)
        assert [value.name for value in onnxruntime.InferenceSession(path).get_inputs()] == ["pixel_values"]
    assert sizes[0] > 1.9 * sizes[1] > 1.9 * 1.5 * sizes[2]


def test_what_is_there_is_replaced_only_if_it_is_onnx_and_somebody_says_so(tmp_path: Path) -> None:
    path = tmp_path / "clip.onnx"
    path.write_text("a diary")
    for arguments, message in (
        ((MODEL, path), "is there already. Say --overwrite"),
        ((MODEL, path, "--overwrite"), "is no ONNX file, and nothing else is replaced"),
        ((MODEL, tmp_path), "is a directory; expected the name of a file"),
        (("./nowhere", tmp_path / "other.onnx"), "no such directory"),
    ):
        result = run(*arguments)
        assert (result.exit_code, message in result.output) == (2, True), result.output
    assert path.read_text() == "a diary"
    path.unlink()
    assert run(MODEL, path).exit_code == run(MODEL, path, "--overwrite").exit_code == 0


def test_int8_gives_the_same_answers_nearly() -> None:
    exact, narrow = triclip.load(MODEL, "onnx"), triclip.load(MODEL, "onnx", dtype="int8")
    assert narrow.dtype == "int8"
    for left, right in (
        (exact.encode_images(SAMPLES), narrow.encode_images(SAMPLES)),
        (exact.encode_texts(TEXTS), narrow.encode_texts(TEXTS)),
    ):
        assert (left * right).sum(axis=1).min() > 0.99
    assert narrow.digest() != exact.digest()


def test_a_device_that_it_does_not_use_is_an_error() -> None:
    with pytest.raises(triclip.encoder.InputError, match="device: expected one that the framework finds here, cpu:0"):
        triclip.load(MODEL, "onnx", device="cuda")


def test_a_picture_is_classified_without_any_framework() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'tensorflow', 'keras', 'jax', 'flax', 'onnx'): sys.modules[name] = None\n"
        "from triclip.cli import main\n"
        f"main(['classify', {str(SAMPLES[0])!r}, '--label', {SAMPLES[0].stem!r}, '--label', 'a submarine', '--backend',"
        " 'onnx', '--json'], standalone_mode=False)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["labels"][0]["label"] == SAMPLES[0].stem
    assert done.stderr == ""
