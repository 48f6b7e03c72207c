from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from triclip import demo
from triclip.demo import Answer

EXPECTED = {"a.png": "ape", "b.png": "bee"}


def _answer(ape: float, bee: float) -> Answer:
    scores = {"a.png": {"ape": ape, "bee": 1.0}, "b.png": {"ape": 2.0, "bee": bee}}
    return Answer(scores, scores, 1.0)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, in which the picture is drawn."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Answer]:
    given = {name: _answer(3.0, 2.5) for name in demo.FRAMEWORKS}
    monkeypatch.setattr(demo, "ask", lambda backend, model, samples: given[backend])
    monkeypatch.setattr(demo, "expected_labels", lambda samples: EXPECTED)
    monkeypatch.setattr(demo, "draw_sheet", lambda *answers: Image.new("RGB", (3, 5)))
    return given


def test_the_largest_difference_is_over_all_pairs_pictures_and_labels() -> None:
    assert demo.largest_difference([_answer(3.0, 4.0), _answer(3.5, 4.0), _answer(3.0, 3.25)]) == 0.75


def test_a_table_has_a_column_per_backend_and_marks_the_first_label() -> None:
    answers = {"torch": _answer(0.25, 0.0), "tf": _answer(0.5, 0.0)}
    assert demo.picture_table("b.png", "bee", answers, 2).splitlines() == [
        "b.png     torch        tf",
        "  ape   200.00%   200.00%   expected: bee",
        "  bee     0.00%     0.00%",
    ]
    assert "200.00%   200.00%   as expected" in demo.picture_table("b.png", "ape", answers, 1)


def test_backends_that_agree_are_exit_code_0(answers: dict[str, Answer]) -> None:
    result = CliRunner().invoke(demo.main)
    assert result.exit_code == 0, result.output
    assert "2 of 2 pictures" in result.output
    assert "torch, tf, flax: 0.0e+00 (allowed 1e-03); the first labels agree" in result.output


@pytest.mark.parametrize(("odd", "message"), [(_answer(3.002, 2.5), "2.0e-03"), (_answer(3.0, 1.5), "labels differ")])
def test_backends_that_disagree_are_exit_code_1(answers: dict[str, Answer], odd: Answer, message: str) -> None:
    answers["flax"] = odd
    result = CliRunner().invoke(demo.main)
    assert result.exit_code == 1
    assert message in result.output
    assert CliRunner().invoke(demo.main, ["--backend", "tf", "--backend", "torch"]).exit_code == 0


def test_a_backend_that_fails_is_exit_code_1_with_its_message(tmp_path) -> None:
    result = CliRunner().invoke(demo.main, ["--backend", "torch", "--model", str(tmp_path)])
    assert result.exit_code == 1
    assert "the backend torch failed: Error: " in result.stderr
    assert "config.json: no such file" in result.stderr


def test_the_picture_is_drawn_in_the_working_directory_or_where_one_says(
    answers: dict[str, Answer], directory: Path
) -> None:
    for words, name in ([], "demo.png"), (["--picture", "new/sheet.png"], "new/sheet.png"):
        result = CliRunner().invoke(demo.main, words)
        assert result.output.endswith(f"the first labels agree.\nPicture: {name}\n")
        with Image.open(directory / name) as picture:
            assert (picture.format, picture.size) == ("PNG", (3, 5))


def test_a_picture_that_cannot_be_written_is_exit_code_1_after_the_answers(
    answers: dict[str, Answer], directory: Path
) -> None:
    (directory / "file").touch()
    result = CliRunner().invoke(demo.main, ["--picture", "file/demo.png"])
    assert result.exit_code == 1
    assert "the first labels agree" in result.stdout
    assert "Error: expected to write the picture file/demo.png, got [Errno " in result.stderr


KNOWN_MISSES = {"car.png"}
"""A shaded car in perspective: chosen before training, and not exchanged because the checkpoint gets it wrong."""


def test_the_embedded_checkpoint_is_right_on_the_samples_in_every_backend_but_for_the_known_miss() -> None:
    result = CliRunner().invoke(demo.main)
    assert result.exit_code == 0, result.output
    expected = set(demo.expected_labels(demo.SAMPLES))
    assert Path("demo.png").stat().st_size > 10_000
    right = {line.split()[0] for line in result.output.split("\n\n") if "as expected" in line}
    assert right == expected - KNOWN_MISSES
    assert (
        f"{len(right)} of {len(expected)} pictures: the first label of triclip-emoji is the expected" in result.output
    )
