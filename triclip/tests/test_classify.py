"""`triclip classify`, in this process with PyTorch, and as a command of its own with each backend."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from triclip import SIMPLE_IMAGENET_TEMPLATES, ZeroShotHead, classify, load
from triclip.cli import main
from triclip.tests.conftest import changed_copy, draw_picture

LABELS = ["a cat", "dög", "日本"]
LABEL_OPTIONS = [part for label in LABELS for part in ("--label", label)]


def run(*arguments: str | Path) -> Result:
    """`triclip classify` with PyTorch."""
    return CliRunner().invoke(main, ["classify", *map(str, arguments)])


def objects(result: Result) -> list[dict[str, Any]]:
    """What ``--json`` printed."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def command(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    words = [sys.executable, "-m", "triclip", "classify", *arguments]
    return subprocess.run(words, capture_output=True, text=True, encoding="utf-8", **options)


def test_json_tells_path_labels_model_and_backend(checkpoint: str, folder: Path) -> None:
    result = run(folder, *LABEL_OPTIONS, "--model", checkpoint, "--backend", "torch", "--json")
    skipped = "Note: files in folders left out, having no picture's name: 1 (1 .txt).\n"
    assert (result.exit_code, result.stderr) == (0, skipped)
    lines = objects(result)
    assert [line["path"] for line in lines] == [f"{folder}/a.JPG", f"{folder}/b.png", f"{folder}/below/猫.png"]
    for line in lines:
        assert list(line) == ["path", "labels", "model", "backend"]
        assert (line["model"], line["backend"]) == (checkpoint, "torch")
        assert sorted(row["label"] for row in line["labels"]) == LABELS
        logits = np.array([row["logit"] for row in line["labels"]])
        assert (np.diff(logits) <= 0).all()
        probabilities = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose([row["probability"] for row in line["labels"]], probabilities, rtol=1e-12)


def test_the_table_has_the_best_label_first(checkpoint: str, tmp_path: Path) -> None:
    picture = draw_picture(tmp_path / "p.png", 1)
    arguments = [picture, *LABEL_OPTIONS, "--model", checkpoint]
    (line,) = objects(run(*arguments, "--json"))
    rows = [f"  {row['probability']:7.2%}  {row['label']}" for row in line["labels"]]
    assert run(*arguments).stdout.splitlines() == [str(picture), *rows]


def test_top_limits_labels_but_not_what_probabilities_are_over(checkpoint: str, folder: Path) -> None:
    arguments = [folder / "b.png", *LABEL_OPTIONS, "--model", checkpoint, "--json", "--top"]
    (everything,), (best,) = objects(run(*arguments, "9")), objects(run(*arguments, "1"))
    assert len(everything["labels"]) == 3
    assert best["labels"] == everything["labels"][:1]


def test_logits_are_those_of_the_model(checkpoint: str, folder: Path) -> None:
    from clip_core import CLIPProcessor
    from clip_core.image.loading import load_image
    from clip_torch import CLIPModel

    prompts = [f"a photo of a {label}" for label in LABELS]
    inputs = CLIPProcessor.from_pretrained(checkpoint)(
        images=load_image(folder / "b.png"), text=prompts, padding=True, return_tensors="pt"
    )
    wanted = CLIPModel.from_pretrained(checkpoint)(**inputs).logits_per_image[0].detach().numpy()
    (line,) = objects(run(folder / "b.png", *LABEL_OPTIONS, "--model", checkpoint, "--json"))
    logits = {row["label"]: row["logit"] for row in line["labels"]}
    np.testing.assert_allclose([logits[label] for label in LABELS], wanted, atol=1e-5)


def test_several_templates_are_the_mean_of_unit_vectors(checkpoint: str, folder: Path) -> None:
    from clip_torch import CLIPModel

    templates = ["{}", "a photo of a {}", "{} {}!"]
    options = [part for template in templates for part in ("--template", template)]
    (line,) = objects(run(folder / "b.png", *LABEL_OPTIONS, *options, "--model", checkpoint, "--json"))
    encoder = load(checkpoint, "torch")
    image = encoder.encode_images(folder / "b.png")
    scale = np.exp(CLIPModel.from_pretrained(checkpoint).logit_scale.item())
    for row in line["labels"]:
        prompts = [template.replace("{}", row["label"]) for template in templates]
        mean = encoder.encode_texts(prompts, batch_size=8).mean(axis=0)
        cosine = float(image[0] @ mean) / float(np.linalg.norm(mean))
        assert row["logit"] == pytest.approx(scale * cosine, abs=1e-4)


@pytest.mark.parametrize("batch_size", ["1", "2"])
def test_results_do_not_depend_on_the_batch_size(checkpoint: str, folder: Path, batch_size: str) -> None:
    arguments = [folder, *LABEL_OPTIONS, "--model", checkpoint, "--json"]
    for one, other in zip(objects(run(*arguments)), objects(run(*arguments, "--batch-size", batch_size)), strict=True):
        assert one["path"] == other["path"]
        logits = [[row["logit"] for row in line["labels"]] for line in (one, other)]
        np.testing.assert_allclose(*logits, atol=1e-5)


def test_labels_of_options_and_file_are_joined_and_merged(checkpoint: str, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("# pets\n日本\n\na cat\n", encoding="utf-8")
    result = run(folder / "b.png", "--label", "a cat", "--labels", file, "--model", checkpoint, "--json")
    assert result.exit_code == 0
    assert "given more than once count once: a cat" in result.stderr
    assert sorted(row["label"] for row in objects(result)[0]["labels"]) == ["a cat", "日本"]


def test_labels_are_read_from_standard_input(checkpoint: str, folder: Path) -> None:
    arguments = ["classify", str(folder / "b.png"), "--labels", "-", "--model", checkpoint, "--json"]
    result = CliRunner().invoke(main, arguments, input="dög\na cat\n".encode())
    assert sorted(row["label"] for row in objects(result)[0]["labels"]) == ["a cat", "dög"]


def test_unreadable_pictures_are_reported_and_the_others_classified(checkpoint: str, folder: Path) -> None:
    (folder / "aa.png").write_bytes(b"no picture")
    whole = (folder / "b.png").read_bytes()
    (folder / "c.png").write_bytes(whole[: len(whole) // 2])
    result = run(folder, folder / "gone.png", *LABEL_OPTIONS, "--model", checkpoint, "--json", "--batch-size", "1")
    assert result.exit_code == 1
    lines = objects(result)
    assert [Path(line["path"]).name for line in lines] == ["a.JPG", "aa.png", "b.png", "猫.png", "c.png", "gone.png"]
    bad = {Path(line["path"]).name: line["error"] for line in lines if "error" in line}
    assert {name: message.split(": ", 1)[1][:12] for name, message in bad.items()} == {
        "aa.png": "not an image",
        "c.png": "cannot be re",
        "gone.png": "no such file",
    }
    for message in bad.values():
        assert f"Error: {message}\n" in result.stderr
    assert result.stderr.endswith("3 of 6 pictures could not be read.\n")


def test_skipped_files_are_counted_with_what_to_do(checkpoint: str, folder: Path) -> None:
    for name in ("p.HEIC", "q.heic", "r.jxl"):
        (folder / name).touch()
    result = run(folder, *LABEL_OPTIONS, "--model", checkpoint)
    assert result.exit_code == 0
    assert result.stderr == (
        "Note: files in folders left out, having no picture's name: 4 (2 .heic, 1 .jxl, 1 .txt). "
        "Pillow cannot read .heic or .jxl: convert them to JPEG.\n"
    )


def test_pictures_are_turned_upright_unless_they_shall_lie(checkpoint: str, tmp_path: Path) -> None:
    upright = Image.open(draw_picture(tmp_path / "upright.png", 1))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "phone.png", exif=exif)
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.png")
    arguments = [*LABEL_OPTIONS, "--model", checkpoint, "--json"]

    def labels(name: str, *options: str) -> list[dict[str, Any]]:
        return objects(run(tmp_path / name, *arguments, *options))[0]["labels"]

    assert labels("phone.png") == labels("upright.png") != labels("lying.png")
    assert labels("phone.png", "--no-exif-rotation") == labels("lying.png")


def test_a_pipe_is_no_picture_and_waited_for_by_nobody(checkpoint: str, folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    result = run(folder, os.devnull, *LABEL_OPTIONS, "--model", checkpoint)
    assert result.exit_code == 1
    assert f"Error: {folder}/pipe.png: cannot be opened: expected a regular file, got a named pipe\n" in result.stderr
    assert "got a character device\n2 of 5 pictures could not be read.\n" in result.stderr


def test_device_and_dtype_are_those_of_the_encoder(checkpoint: str, folder: Path) -> None:
    arguments = [folder / "b.png", *LABEL_OPTIONS, "--model", checkpoint, "--json"]
    (wide,), (narrow,) = (objects(run(*arguments, "--dtype", dtype)) for dtype in ("float32", "bfloat16"))
    logits = [{row["label"]: row["logit"] for row in line["labels"]} for line in (wide, narrow)]
    assert logits[0] != logits[1]
    assert logits[0] == pytest.approx(logits[1], abs=0.5)
    for option, message in ((["--device", "gpu:99"], "device: expected one"), (["--dtype", "int4"], "dtype: expected")):
        refused = run(*arguments, *option)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert message in refused.stderr


@pytest.mark.parametrize("bad", ["nan", "inf"])
def test_a_model_that_makes_no_numbers_is_an_error_and_no_json(
    checkpoint: str, folder: Path, tmp_path: Path, bad: str
) -> None:
    broken = changed_copy(checkpoint, tmp_path / "broken", {"visual_projection.weight": float(bad)})
    result = run(folder / "b.png", *LABEL_OPTIONS, "--model", broken, "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: vectors of images are NaN or infinite: so are 960 of 960 numbers of the weight vis" in result.stderr


def test_a_weights_file_is_answered_with_the_command_that_converts_it(checkpoint: str, folder: Path) -> None:
    file = Path(checkpoint) / "model.safetensors"
    result = run(folder / "b.png", *LABEL_OPTIONS, "--model", file)
    assert result.exit_code == 2
    assert f"convert it: triclip convert {file} NEW_DIRECTORY --to hf" in result.stderr


def test_many_labels_show_their_progress(
    checkpoint: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triclip.progress.SECONDS_BETWEEN_LINES", 0)
    (tmp_path / "labels.txt").write_text("\n".join(map(str, range(5))))
    result = run(folder / "b.png", "--labels", tmp_path / "labels.txt", "--model", checkpoint, "--batch-size", "2")
    assert result.stderr.splitlines() == ["2 of 5 label texts", "4 of 5 label texts", "5 of 5 label texts"]


def test_when_no_picture_can_be_read_the_exit_code_is_1(checkpoint: str, tmp_path: Path) -> None:
    result = run(tmp_path / "a*.png", tmp_path, *LABEL_OPTIONS, "--model", checkpoint)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no file matches this pattern" in result.stderr
    assert "no picture in this folder" in result.stderr


def test_long_labels_are_cut_with_a_note(checkpoint: str, folder: Path) -> None:
    long = "very " * 30 + "long"
    result = run(folder / "b.png", "--label", "cat", "--label", long, "--model", checkpoint)
    assert result.exit_code == 0
    assert "1 of 2 label texts are longer than the 20 tokens" in result.stderr
    assert f"a photo of a {long}" in result.stderr


def test_one_label_is_noted_as_pointless(checkpoint: str, folder: Path) -> None:
    result = run(folder / "b.png", "--label", "cat", "--model", checkpoint)
    assert result.exit_code == 0
    assert "only one label" in result.stderr
    assert "100.00%  cat" in result.stdout


def test_templates_are_a_set_a_file_or_texts_of_each_label(checkpoint: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("{}\n# and\n\ndraw a {}\n", encoding="utf-8")
    (tmp_path / "list.json").write_text('["{}", "draw a {}"]')
    (tmp_path / "own.json").write_text('{"cat": ["mew", "a {}"], "dog": "woof"}')
    encoder = load(checkpoint, "torch", "cpu")
    picture = encoder.encode_images(folder / "b.png")

    def check(labels: list[str], templates: Any, *options: str | Path) -> None:
        (line,) = objects(run(folder / "b.png", *options, "--model", checkpoint, "--json"))
        found = {row["label"]: row["logit"] for row in line["labels"]}
        wanted = encoder.logits(picture, encoder.encode_labels(labels, templates))[0]
        assert found == pytest.approx(dict(zip(labels, wanted, strict=True)), abs=1e-4)

    two, pair = ["cat", "dog"], ("--label", "cat", "--label", "dog")
    check(two, SIMPLE_IMAGENET_TEMPLATES, *pair, "--templates", "simple")
    for file in ("lines.txt", "list.json"):
        check(two, ["{}", "draw a {}"], *pair, "--templates", tmp_path / file)
    check(two, ["a {}", "{}", "draw a {}"], *pair, "--templates", tmp_path / "list.json", "--template", "a {}")
    own = {"cat": ["mew", "a cat"], "dog": ["woof"]}
    check(two, own, "--templates", tmp_path / "own.json")
    check(two, own, *pair, "--templates", tmp_path / "own.json")


def test_a_saved_head_gives_the_same_without_labels(checkpoint: str, folder: Path, tmp_path: Path) -> None:
    head, arguments = tmp_path / "h.safetensors", ["--model", checkpoint, "--json"]
    made = run(folder / "b.png", *LABEL_OPTIONS, "--templates", "simple", "--save-head", head, *arguments)
    assert (made.exit_code, made.stderr) == (0, f"Saved {head}: a head of 3 labels.\n")
    assert run(folder / "b.png", "--head", head, *arguments).stdout == made.stdout
    again = run("--labels", "imagenet", "--save-head", head, *arguments)
    assert (again.exit_code, again.stdout) == (0, "")
    assert "count once: missile, sunglasses" in again.stderr
    assert again.stderr.endswith(f"Saved {head}: a head of 998 labels.\n")
    assert len(ZeroShotHead.load(head, load(checkpoint, "torch", "cpu")).labels) == 998


def test_what_is_no_head_of_this_model_is_exit_code_2(checkpoint: str, folder: Path, tmp_path: Path) -> None:
    head, other = tmp_path / "h.safetensors", changed_copy(checkpoint, tmp_path / "other", {"logit_scale": 1.0})
    run(*LABEL_OPTIONS, "--save-head", head, "--model", checkpoint)
    weights = f"{checkpoint}/model.safetensors"
    for options, message in (
        (["--head", head, "--model", other], "expected a head of this model, sha256 "),
        (["--head", head, "--model", checkpoint, "--dtype", "bfloat16"], "expected a head of this model, sha256 "),
        (["--head", weights, "--model", checkpoint], "expected a zero-shot head, got a safetensors file that is none"),
        (["--head", tmp_path / "gone", "--model", checkpoint], "gone: no such file"),
        ([*LABEL_OPTIONS, "--save-head", weights, "--model", checkpoint], "is there and is no zero-shot head"),
    ):
        refused = run(folder / "b.png", *options)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert message in refused.stderr


def test_options_that_exclude_one_another_are_exit_code_2(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text('{"cat": ["mew"]}')
    own = ["--templates", f"{tmp_path}/own.json"]
    for options, message in (
        (["--head", "h", "--label", "cat"], "Expected --head or what a head is made of"),
        (["--head", "h", "--templates", "simple"], "Expected --head or what a head is made of"),
        (["--head", "h", "--save-head", "g"], "Expected --head or what a head is made of"),
        ([*own, "--template", "{}"], "Expected --template or a file with texts for each label"),
        ([*own, "--label", "dog"], "for each of the labels and no others, got none for 'dog'"),
        (["--label", "cat", "--templates", "nothing"], "'nothing': No such file"),
        (["--label", "cat", "--template", "{}", "--template", "{}"], "'{}' is there twice"),
    ):
        refused = run(folder / "b.png", *options)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert message in refused.stderr
    assert "Missing argument 'IMAGE...'" in run("--label", "cat").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "at least one label: --label TEXT or --labels FILE"),
        (["--label", " "], "Expected a text after --label"),
        (["--label", "cat", "--template", "a photo"], "expected {} where the label goes"),
        (["--label", "cat", "--labels", "gone.txt"], "'gone.txt': No such file"),
        (["--label", "cat", "--top", "0"], "0 is not in the range x>=1"),
        (["--label", "cat", "--top", "many"], "'many' is not a valid integer"),
        (["--label", "cat", "--batch-size", "-3"], "-3 is not in the range"),
        (["--label", "cat", "--backend", "mlx"], "'mlx' is not one of 'torch', 'tf', 'flax'"),
        (["--label", "cat", "--model", "./gone"], "./gone: no such directory"),
    ],
)
def test_what_cannot_run_is_exit_code_2(folder: Path, arguments: list[str], message: str) -> None:
    result = run(folder / "b.png", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_label_file_that_is_no_text_is_exit_code_2(folder: Path) -> None:
    result = run(folder / "b.png", "--labels", folder / "b.png")
    assert result.exit_code == 2
    assert "b.png: expected UTF-8 text" in result.stderr


def test_a_missing_backend_is_exit_code_2(monkeypatch: pytest.MonkeyPatch, checkpoint: str, folder: Path) -> None:
    monkeypatch.setattr("clip_core.backends.find_spec", lambda name: None)
    result = run(folder / "b.png", *LABEL_OPTIONS, "--model", checkpoint, "--backend", "tf")
    assert result.exit_code == 2
    assert "pip install 'triclip[tf]'" in result.stderr


def test_a_broken_checkpoint_is_exit_code_2(checkpoint: str, folder: Path, tmp_path: Path) -> None:
    for file in Path(checkpoint).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[: 100 if file.suffix == ".safetensors" else None])
    result = run(folder / "b.png", *LABEL_OPTIONS, "--model", tmp_path)
    assert result.exit_code == 2
    assert "model.safetensors: not a whole safetensors file" in result.stderr


@pytest.mark.parametrize("backend", ["torch", "tf", "flax"])
def test_each_backend_gives_the_same_and_prints_nothing_else(checkpoint: str, folder: Path, backend: str) -> None:
    (folder / "bad.png").write_bytes(b"no picture")
    arguments = [str(folder), *LABEL_OPTIONS, "--model", checkpoint, "--json"]
    result = command(*arguments, "--backend", backend, "--batch-size", "2")
    assert result.returncode == 1
    progress = re.compile(r"\d of 4 pictures")  # shown where the computer needs more than ten seconds
    assert [line for line in result.stderr.splitlines() if not progress.fullmatch(line)] == [
        "Note: files in folders left out, having no picture's name: 1 (1 .txt).",
        f"Error: {folder}/bad.png: not an image in a format that Pillow can read",
        "1 of 4 pictures could not be read.",
    ]
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    wanted = objects(run(*arguments))
    assert [line["path"] for line in lines] == [line["path"] for line in wanted]
    for line, reference in zip(lines, wanted, strict=True):
        assert line["backend"] == backend
        ours, theirs = ({row["label"]: row["logit"] for row in each.get("labels", [])} for each in (line, reference))
        assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize(("as_json", "wanted"), [(True, "日本"), (False, r"\u65e5\u672c")])
def test_a_terminal_without_the_letters_gets_escapes_but_json_is_utf8(
    checkpoint: str, folder: Path, as_json: bool, wanted: str
) -> None:
    arguments = [str(folder), *LABEL_OPTIONS, "--model", checkpoint, *(["--json"] if as_json else [])]
    words = [sys.executable, "-m", "triclip", "classify", *arguments]
    result = subprocess.run(words, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "cp1252"})
    assert result.returncode == 0
    assert wanted.encode() in result.stdout


def test_a_closed_pipe_ends_the_command_quietly(checkpoint: str, folder: Path) -> None:
    words = [sys.executable, "-m", "triclip", "classify", f"{folder}/b.png", *LABEL_OPTIONS, "--model", checkpoint]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as stdout:
        result = subprocess.run(words, stdout=stdout, stderr=subprocess.PIPE, text=True)
    assert (result.returncode, result.stderr) == (141, "")


def test_the_best_labels_of_equal_logits_keep_their_order() -> None:
    best = classify.best_labels(["a", "b", "c"], np.array([1.0, 2.0, 2.0]), 2)
    assert [row["label"] for row in best] == ["b", "c"]
