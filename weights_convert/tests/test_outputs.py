import numpy as np
import pytest

from clip_core import backends
from clip_core.config import CLIPTextConfig
from clip_core.errors import CheckpointError, InputError, MissingExtraError
from weights_convert import convert, open_source, outputs
from weights_convert.tests import checkpoints


def test_differences_are_those_of_each_output():
    first = {"a": np.array([1.0, 2.0]), "b": np.array([300.0])}
    second = {"a": np.array([1.0, 2.0001]), "b": np.array([300.01])}
    assert outputs.compared(first, second) == pytest.approx({"a": 1e-4, "b": 1e-2})


@pytest.mark.parametrize("value", [2.1, float("nan")])
def test_a_difference_beyond_the_noise_is_an_error_that_names_the_output(value):
    with pytest.raises(CheckpointError, match="The outputs differ: logits by"):
        outputs.compared({"logits": np.array([2.0])}, {"logits": np.array([value])})


@pytest.mark.parametrize("end", [2, 60, 17])
def test_every_fixed_text_has_its_end(end):
    config = CLIPTextConfig(vocab_size=61, eos_token_id=end, hidden_size=24, num_attention_heads=3)
    ids = outputs.fixed_inputs(config)["input_ids"]
    assert ((ids == (60 if end == 2 else end)).sum(axis=1) >= 1).all()
    assert ids.max() < 61


def test_backends_are_chosen_among_the_installed(monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: name in ("torch", "jax"))
    assert outputs.choose_backends(()) == ("torch",)
    with pytest.raises(MissingExtraError, match=r"triclip\[flax\]"):
        outputs.choose_backends(["flax"])
    with pytest.raises(InputError, match="expected one of torch, tf, flax"):
        outputs.choose_backends(["mxnet"])


def test_a_result_that_computes_something_else_is_not_kept(source, tmp_path, monkeypatch):
    answers = iter([{"logits": np.zeros(1)}, {"logits": np.ones(1)}])
    monkeypatch.setattr(outputs, "run_model", lambda model, backend: next(answers))
    with pytest.raises(CheckpointError, match="The outputs differ"):
        convert(source, tmp_path / "out", to="hf", verify="outputs")
    assert not list(tmp_path.iterdir())


def test_a_python_file_beside_a_checkpoint_is_not_run(in_format, tmp_path, monkeypatch):
    for name in ("numpy.py", "torch.py", "weights_convert.py"):
        (tmp_path / name).write_text("raise SystemExit('executed')")
    monkeypatch.chdir(tmp_path)
    assert outputs.run_model(open_source(in_format["hf"]).model, "torch")


def test_a_change_of_dtype_is_run_from_the_source_and_has_no_limit(source, tmp_path, monkeypatch):
    ran = []

    def answer(model, backend):
        ran.append(next(iter(model.weights.values())).dtype.name)
        return {"logits": np.full(1, 0.1 * len(ran))}

    monkeypatch.setattr(outputs, "run_model", answer)
    monkeypatch.setattr(backends, "find_spec", lambda name: name in ("torch", "jax", "flax"))
    done = convert(source, tmp_path / "out", to="hf", dtype="float16", verify="outputs")
    assert ran == ["float32", "float16"]
    assert done.output_differences == {"torch-flax": {"logits": pytest.approx(0.1)}}


def test_a_dtype_that_outputs_do_not_survive_is_an_error(source, tmp_path, monkeypatch):
    answers = iter([{"logits": np.ones(1)}, {"logits": np.full(1, np.nan)}])
    monkeypatch.setattr(outputs, "run_model", lambda model, backend: next(answers))
    with pytest.raises(CheckpointError, match="not finite: logits"):
        convert(source, tmp_path / "out", to="hf", dtype="float16", verify="outputs")
    assert not list(tmp_path.iterdir())


def test_a_model_runs_in_a_process_of_its_own(in_format):
    found = outputs.run_model(open_source(in_format["nnx"]).model, "torch")
    assert found["logits_per_image"].shape == (3, 3)
    assert checkpoints.CONFIG.projection_dim == found["text_embeds"].shape[1]
