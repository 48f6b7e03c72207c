import json

import pytest
from click.testing import CliRunner

from clip_core.commands import printable
from weights_convert import convert, inspect
from weights_convert.__main__ import main
from weights_convert.tests import checkpoints


def triclip(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_convert_prints_the_digest_that_inspect_prints(source, tmp_path):
    digest = inspect(source).sha256
    converted = triclip("convert", source, tmp_path / "out", "--to", "keras-hub")
    assert converted.exit_code == 0, converted.output
    inspected = triclip("inspect", tmp_path / "out", "--tensors")
    assert inspected.exit_code == 0
    for output in (converted.output, inspected.output):
        assert digest in output
    assert "Keras Hub" in inspected.output
    assert "vision: 3 layers, width 128, 2 heads, quick_gelu" in inspected.output
    assert "\n  logit_scale float32 scalar " in inspected.output


def test_json_is_one_object(source, tmp_path):
    converted = json.loads(triclip("convert", source, tmp_path / "out", "--to", "hf", "--json").output)
    assert (converted["destination_format"], converted["verified"]) == ("hf", True)
    assert json.loads(triclip("inspect", tmp_path / "out", "--json").output)["sha256"] == converted["sha256"]


def test_diff_says_what_differs_and_exits_with_1(source, tmp_path):
    changed = checkpoints.weights()
    changed["logit_scale"] += 1
    checkpoints.save(tmp_path / "other", given=changed)
    found = triclip("diff", source, tmp_path / "other")
    assert found.exit_code == 1
    assert "! logit_scale: differs by up to 1\n" in found.output
    assert triclip("diff", source, source).exit_code == 0


def test_dry_run_and_refusals(source, tmp_path):
    assert "nothing was written" in triclip("convert", source, tmp_path / "out", "--to", "nnx", "--dry-run").output
    refused = triclip("convert", source, source, "--to", "hf")
    assert refused.exit_code == 2
    assert "--overwrite" in refused.stderr
    assert triclip("inspect", tmp_path / "none.pt").exit_code == 2


def test_verify_runs_a_backend(source):
    pytest.importorskip("torch", reason="the command needs one framework, and this test is of the command")
    found = triclip("verify", source, "--backend", "torch")
    assert found.exit_code == 0, found.output
    assert "all is well" in found.output


def test_verify_without_any_framework_checks_the_files(source, monkeypatch):
    monkeypatch.setattr("clip_core.backends.find_spec", lambda name: None)
    found = triclip("verify", source)
    assert found.exit_code == 0, found.output
    assert "no framework was run: nothing to compare" in found.output
    assert triclip("verify", source, "--backend", "torch").exit_code == 2


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_weights_that_are_not_finite_are_counted(tmp_path, dtype):
    changed = checkpoints.weights(dtype)
    changed["text_model.final_layer_norm.bias"][:3] = float("nan")
    changed["visual_projection.weight"][0] = float("-inf")
    path = checkpoints.save(tmp_path / "in", given=changed)
    note = "not finite: 131 values of text_model.final_layer_norm.bias (3), visual_projection.weight (128)"
    assert note in inspect(path).notes
    assert f"  {note}\n" in triclip("inspect", path).output
    assert f"  {note}\n" in triclip("convert", path, tmp_path / "out", "--to", "nnx").output


def test_verify_says_what_is_wrong_and_exits_with_1(tmp_path):
    changed = checkpoints.weights()
    changed["text_model.final_layer_norm.bias"][1] = float("nan")
    checkpoints.save(tmp_path / "other", given=changed)
    found = triclip("verify", tmp_path / "other", "--backend", "torch")
    assert found.exit_code == 1
    assert "final_layer_norm.bias: 1 values are not finite" in found.output
    (tmp_path / "other/model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    assert triclip("verify", tmp_path / "other", "--backend", "torch").exit_code == 1


def test_names_of_tensors_and_files_do_not_reach_the_terminal_raw(tmp_path):
    evil = "\x1b]0;owned\x07\u202e\x9b"
    path = checkpoints.save(tmp_path / evil)
    found = triclip("inspect", path)
    assert found.exit_code == 0
    checkpoints.rewrite(path / "model.safetensors", lambda stored: {**stored, evil: stored["logit_scale"]})
    for command in (("inspect", path), ("verify", path), ("diff", path, path), ("inspect", path, "--json")):
        found = triclip(*command)
        assert found.exit_code in (1, 2)
        assert "\\u001b]0;owned\\u0007\\u202e\\u009b" in found.output
        assert printable(found.output) == found.output


def test_a_file_in_the_working_directory_is_inspected(source, tmp_path, monkeypatch):
    convert(source, tmp_path / "model.pt", to="openai")
    monkeypatch.chdir(tmp_path)
    assert triclip("inspect", "model.pt").exit_code == 0
    (tmp_path / "loop").symlink_to("loop")
    assert "loop: cannot be opened: Too many levels of symbolic links." in triclip("inspect", "loop").stderr
