import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clip_core.checkpoint.directory import StoredWeights
from clip_core.checkpoint.saving import save_checkpoint
from clip_core.config import CLIPConfig, CLIPTextConfig
from clip_core.errors import CheckpointError, CLIPError, InputError, MissingExtraError
from clip_core.initialization import draw_weights
from clip_core.tests.sizes import DISTINCT
from weights_convert import conversion as conversion_module
from weights_convert import convert, diff, inspect
from weights_convert.tests import checkpoints


@pytest.mark.parametrize("to", checkpoints.FORMATS)
@pytest.mark.parametrize("given", checkpoints.FORMATS)
def test_every_conversion_keeps_every_bit_and_the_configuration(source, in_format, tmp_path, given, to):
    done = convert(in_format[given], checkpoints.destination(tmp_path, to), to=to)
    assert (done.source_format, done.destination_format, done.verified) == (given, to, True)
    found = diff(source, checkpoints.destination(tmp_path, to))
    assert found.same
    assert found.identical == done.weights == len(checkpoints.weights())
    assert done.sha256 == done.source_sha256 == inspect(source).sha256


@pytest.mark.parametrize("dtype", ["mixed", "float16", "bfloat16"])
def test_a_chain_through_all_formats_keeps_every_dtype(tmp_path, dtype):
    path = checkpoints.save(tmp_path / "start", dtype)
    expected = checkpoints.weights(dtype)
    for to in (*checkpoints.FORMATS, "hf"):
        following = checkpoints.destination(tmp_path, to, f"after_{path.stem}_")
        convert(path, following, to=to)
        path = following
    stored = StoredWeights(path)
    assert {name: stored[name].dtype for name in stored} == {name: value.dtype for name, value in expected.items()}
    for name, value in expected.items():
        assert stored[name].tobytes() == value.tobytes()


@pytest.mark.parametrize("to", ["open_clip", "keras", "keras-hub", "nnx", "hf-flax"])
def test_heads_and_mlps_of_any_width_pass_where_the_format_can_say_so(tmp_path, to):
    save_checkpoint(tmp_path / "in", DISTINCT, dict(draw_weights(DISTINCT, seed=0)), architecture="CLIPModel")
    convert(tmp_path / "in", tmp_path / to, to=to)
    assert diff(tmp_path / "in", tmp_path / to).same


def test_dtype_changes_weights_and_says_so(source, tmp_path):
    done = convert(source, tmp_path / "out", to="hf", dtype="float16")
    assert done.sha256 != done.source_sha256
    stored = StoredWeights(tmp_path / "out")
    for name, value in checkpoints.weights().items():
        np.testing.assert_array_equal(stored[name], value.astype(np.float16))
    assert json.loads((tmp_path / "out/config.json").read_text())["dtype"] == "float16"


def test_values_beyond_float16_are_refused(tmp_path):
    given = checkpoints.weights()
    given["text_model.final_layer_norm.bias"][3] = 1e6
    with pytest.raises(InputError, match="final_layer_norm.bias: holds values beyond the range of float16"):
        convert(checkpoints.save(tmp_path / "in", given=given), tmp_path / "out", to="hf", dtype="float16")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("projection", [False, True])
@pytest.mark.parametrize("to", ["hf", "hf-flax", "keras", "nnx"])
def test_a_single_tower_converts_too(tmp_path, to, projection):
    config = CLIPTextConfig(**{**CONFIG_OF_TEXT, "projection_dim": 18})
    weights = dict(draw_weights(config, seed=0, projection=projection))
    save_checkpoint(tmp_path / "in", config, weights, architecture="CLIPTextModel")
    convert(tmp_path / "in", tmp_path / "out", to=to)
    assert diff(tmp_path / "in", tmp_path / "out").same


CONFIG_OF_TEXT = {"vocab_size": 61, "hidden_size": 24, "intermediate_size": 52, "num_attention_heads": 3,
                  "num_hidden_layers": 2, "max_position_embeddings": 11}  # fmt: skip


def test_dry_run_writes_nothing(source, tmp_path):
    done = convert(source, tmp_path / "out", to="hf-tf", dry_run=True)
    assert done.sha256 is None
    assert not list(tmp_path.iterdir())


def test_what_is_there_stays_unless_overwriting_is_asked_for(source, tmp_path):
    convert(source, tmp_path / "out", to="hf")
    with pytest.raises(InputError, match="is there already"):
        convert(source, tmp_path / "out", to="hf-flax")
    convert(source, tmp_path / "out", to="hf-flax", overwrite=True)
    assert inspect(tmp_path / "out").format == "hf-flax"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_cannot_be_put_in_place_leaves_what_was_there(source, tmp_path, monkeypatch):
    convert(source, tmp_path / "out", to="keras")
    moves = iter([True, False])
    replace = os.replace

    def failing(a, b):
        if next(moves, True):
            replace(a, b)
        else:
            raise OSError("no space left")

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(CheckpointError, match="cannot be written: no space left"):
        convert(source, tmp_path / "out", to="hf", overwrite=True)
    assert inspect(tmp_path / "out").format == "keras"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_result_that_reads_back_differently_is_not_kept(source, tmp_path, monkeypatch):
    monkeypatch.setattr(conversion_module, "weights_manifest", lambda *_: conversion_module.Manifest())
    with pytest.raises(CheckpointError, match="reads back differently"):
        convert(source, tmp_path / "out", to="hf")
    assert not list(tmp_path.iterdir())


IMPOSSIBLE = [{"to": "nonsense"}, {"to": "hf", "dtype": "int8"}, {"to": "nnx", "max_shard_size": 9}]


@pytest.mark.parametrize("options", IMPOSSIBLE)
def test_options_that_are_not_possible(source, tmp_path, options):
    with pytest.raises(InputError, match="expected|one file"):
        convert(source, tmp_path / "out", **options)


def test_stopped_at_any_tensor_it_leaves_the_old_checkpoint(source, tmp_path, monkeypatch):
    convert(source, tmp_path / "out", to="keras")
    for moment in (0, 7, 40):
        reads = iter(range(10_000))

        def failing(reads=reads, moment=moment):
            def count(done):
                if next(reads) == moment:
                    raise KeyboardInterrupt

            return count

        with pytest.raises(KeyboardInterrupt):
            convert(source, tmp_path / "out", to="hf", overwrite=True, progress=lambda total: failing())
        assert inspect(tmp_path / "out").format == "keras"
        assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_memory_stays_at_the_largest_tensor(tmp_path):
    """Two hundred layers, each tensor small: the file is many times larger than what a conversion may take."""
    config = CLIPConfig.from_dict(
        {
            **checkpoints.CONFIG.to_dict(),
            "vision_config": {**checkpoints.CONFIG.vision_config.to_dict(), "num_hidden_layers": 200},
        }
    )
    weights = {name: np.zeros_like(value) for name, value in draw_weights(config, seed=0)}
    save_checkpoint(tmp_path / "in", config, weights, architecture="CLIPModel")
    size = (tmp_path / "in/model.safetensors").stat().st_size
    script = (
        "import resource, sys\nfrom weights_convert import convert\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "convert(sys.argv[1], sys.argv[2], to=sys.argv[3], verify='none')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    for to in ("hf-flax", "openai"):
        out = checkpoints.destination(tmp_path, to)
        arguments = [sys.executable, "-c", script, str(tmp_path / "in"), str(out), to]
        grown = int(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout) * 1024
        assert grown < size / 2, (to, grown, size)


def test_no_framework_is_imported(source, tmp_path):
    script = (
        "import sys\nfrom weights_convert import convert, inspect\n"
        f"convert({str(source)!r}, {str(tmp_path / 'out')!r}, to='hf-tf')\ninspect({str(tmp_path / 'out')!r})\n"
        "print(sorted({'torch', 'tensorflow', 'keras', 'jax', 'flax', 'msgpack'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


def test_only_errors_of_triclip_come_out(tmp_path):
    (tmp_path / "empty.pt").write_bytes(b"")
    for path in (tmp_path / "empty.pt", tmp_path / "none.pt", tmp_path):
        with pytest.raises(CLIPError):
            convert(path, Path(tmp_path, "out"), to="hf")


@pytest.mark.parametrize("to", ["hf-tf", "keras-hub", "keras"])
def test_without_h5py_nothing_is_begun(source, tmp_path, monkeypatch, to):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match="needs 'h5py'"):
        convert(source, tmp_path / "out", to=to, dry_run=True)


def test_a_dry_run_checks_every_option(source, tmp_path):
    with pytest.raises(InputError, match="max_shard_size"):
        convert(source, tmp_path / "out", to="hf", max_shard_size="banana", dry_run=True)
