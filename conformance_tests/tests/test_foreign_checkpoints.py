import sys

import pytest
from click.testing import CliRunner

from clip_core.checkpoint.saving import save_checkpoint
from clip_core.initialization import draw_weights
from conformance_tests.parity import foreign_checkpoints
from conformance_tests.parity.foreign_checkpoints import SMALL, differing, main


@pytest.mark.parametrize(("library", "saved"), [("transformers", 4), ("transformers-tf", 3), ("transformers-flax", 1)])
def test_transformers_of_this_environment_loads_computes_and_saves_the_same(library, saved):
    done = CliRunner().invoke(main, ["--python", sys.executable, library, "--checkpoint", "triclip-emoji"])
    print(done.output)
    assert done.exit_code == 0, done.output
    assert "tokenizer: our ids; largest difference of a picture 0.0e+00" in done.output
    assert done.output.count("read, the same bit for bit") == saved


def test_other_logits_and_other_weights_fail(monkeypatch):
    def answer_wrongly(python, library, directory):
        weights = dict(draw_weights(SMALL, seed=0))
        save_checkpoint(directory / "saved_model", SMALL, weights, architecture="CLIPModel")
        return foreign_checkpoints.run_model(foreign_checkpoints.open_source(directory / "saved_model").model, "torch")[
            "logits_per_image"
        ]

    monkeypatch.setattr(foreign_checkpoints, "run_library", answer_wrongly)
    done = CliRunner().invoke(main, ["--python", sys.executable, "transformers"])
    assert done.exit_code == 1
    assert "saved_model: " in done.output
    assert "weights differ" in done.output


def test_weights_that_differ_are_counted(tmp_path):
    for name, change in (("given", 0), ("changed", 1)):
        weights = {key: value + change * (key == "logit_scale") for key, value in draw_weights(SMALL, seed=0)}
        save_checkpoint(tmp_path / name, SMALL, weights, architecture="CLIPModel")
    assert differing(tmp_path / "given", tmp_path / "given", SMALL) == 0
    assert differing(tmp_path / "changed", tmp_path / "given", SMALL) == 1
