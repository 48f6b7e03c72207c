"""Models whose weights lie in mapped files."""

import copy
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from clip_core.errors import CheckpointError
from clip_core.tests.sizes import DISTINCT
from clip_torch import CLIPModel, CLIPTextModel
from clip_torch.mapped import MappedWeights

IDS = torch.tensor([[5, 7, DISTINCT.text_config.eos_token_id]])


@pytest.fixture
def directory(tmp_path):
    CLIPModel(DISTINCT, seed=3).save_pretrained(tmp_path)
    os.utime(tmp_path / "model.safetensors", (0, 0))
    return tmp_path


def of(directory, seed):
    CLIPModel(DISTINCT, seed=seed).save_pretrained(directory / "other")
    return directory / "other/model.safetensors"


def features(model):
    with torch.no_grad():
        return model.get_text_features(IDS)


def same(result, expected):
    """But for the last bit: kernels round differently where memory is aligned differently."""
    torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-6)


def is_mapped(model):
    return len(model.mapped.held())


def test_weights_stay_in_the_file_while_a_model_only_computes(directory):
    model, expected = CLIPModel.from_pretrained(directory), CLIPModel(DISTINCT, seed=3).eval()
    assert is_mapped(model) == len(expected.state_dict())
    same(features(model), features(expected))
    assert is_mapped(model)
    assert not is_mapped(CLIPModel.from_pretrained(directory, disable_mmap=True))
    assert not is_mapped(CLIPModel.from_pretrained(directory, dtype="bfloat16"))


@pytest.mark.parametrize(
    "use", [lambda model: model.get_text_features(IDS), lambda model: model.train(), lambda model: model.state_dict()]
)
def test_before_it_trains_or_is_handed_out_they_get_memory_of_their_own(directory, use):
    model = CLIPModel.from_pretrained(directory)
    parameters = list(model.parameters())
    use(model)
    assert not is_mapped(model)
    shutil.copyfile(of(directory, 4), directory / "model.safetensors")
    assert all(new is old for new, old in zip(model.parameters(), parameters, strict=True))
    same(features(model), features(CLIPModel(DISTINCT, seed=3).eval()))


def written_over(directory):
    shutil.copyfile(of(directory, 4), directory / "model.safetensors")


def cut(directory):
    os.truncate(directory / "model.safetensors", 5000)


@pytest.mark.parametrize("change", [written_over, cut])
@pytest.mark.parametrize(
    "use",
    [
        features,
        lambda model: model.get_text_features(IDS),
        lambda model: features(model) if model.text_model.encoder(torch.zeros(1, 3, 24)) else None,
        lambda model: model.state_dict(),
        lambda model: model.train(),
        lambda model: model.save_pretrained("/nowhere"),
        copy.deepcopy,
        lambda model: copy.deepcopy(model.text_model),
        pickle.dumps,
        lambda model: model.double(),
    ],
)
def test_a_file_that_is_written_to_in_place_is_an_error_each_time(directory, change, use):
    model = CLIPModel.from_pretrained(directory)
    features(model)
    change(directory)
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"model\.safetensors: written to in place while a model computes"):
            use(model)


def test_a_save_over_the_directory_that_a_model_lies_in_is_whole(directory):
    model = CLIPModel.from_pretrained(directory)
    with torch.no_grad():
        model.logit_scale.add_(1)
    expected = features(model)
    model.save_pretrained(directory)
    again = CLIPModel.from_pretrained(directory)
    assert torch.equal(again.logit_scale, model.logit_scale)
    same(features(again), expected)
    assert torch.equal(features(model), expected)


def test_a_model_that_was_moved_away_does_not_mind(directory):
    model = CLIPModel.from_pretrained(directory).double()
    written_over(directory)
    features(model)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_has_its_weights_to_itself(directory, copied):
    model = copied(CLIPTextModel.from_pretrained(directory))
    assert not is_mapped(model)
    cut(directory)
    with torch.no_grad():
        model(IDS)


def in_inference_mode(model):
    with torch.inference_mode():
        model.state_dict()


def under_a_fake_mode(model):
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        model.get_text_features(mode.from_tensor(IDS))


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch's fused attention has no rule for vmap
@pytest.mark.parametrize(
    "first_use",
    [
        in_inference_mode,
        under_a_fake_mode,
        lambda model: torch.func.vmap(lambda ids: model.get_text_features(ids[None])[0])(IDS),
        lambda model: torch.func.grad(lambda scale: model.get_text_features(IDS).sum() * scale)(torch.ones(())),
    ],
)
def test_memory_of_their_own_is_plain_whatever_transforms_the_first_call(directory, first_use):
    model = CLIPModel.from_pretrained(directory)
    first_use(model)
    assert not is_mapped(model)
    assert {type(parameter.data) for parameter in model.parameters()} == {torch.Tensor}
    model.get_text_features(IDS).sum().backward()
    same(features(model), features(CLIPModel(DISTINCT, seed=3).eval()))


def test_two_that_copy_at_once_copy_once(directory, monkeypatch):
    """The later would undo what the earlier one has trained since."""
    model, copies, both = CLIPModel.from_pretrained(directory), [], threading.Barrier(2, timeout=30)
    copied = MappedWeights._copy
    monkeypatch.setattr(MappedWeights, "_copy", lambda self: (time.sleep(0.2), copies.append(copied(self))))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: (both.wait(), model.get_text_features(IDS)), range(2)))
    assert len(copies) == 1


def test_a_compiled_model_and_an_exported_one_are_the_same(directory):
    model = CLIPTextModel.from_pretrained(directory)
    with torch.no_grad():
        expected = model(IDS).pooler_output
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        same(compiled(IDS).pooler_output, expected)
        exported = torch.export.export(model, (IDS,)).module()
    same(exported(IDS).pooler_output, expected)


def compiled(model):
    code = torch.compile(model, backend="eager", fullgraph=True)
    code(IDS)
    return code


@pytest.mark.parametrize(
    "translated",
    [
        compiled,
        lambda model: torch.export.export(model, (IDS,)).module(),
        lambda model: torch.export.export(model, (IDS,), strict=True).module(),
    ],
)
def test_compiled_code_which_asks_nothing_has_its_weights_to_itself(directory, translated):
    model = CLIPTextModel.from_pretrained(directory)
    with torch.no_grad():
        expected = model(IDS).pooler_output
        code = translated(model)
        assert not is_mapped(model)
        written_over(directory)
        same(code(IDS).pooler_output, expected)


def test_loading_draws_no_initial_weights_and_imports_no_compiler(directory):
    code = f"import sys, clip_torch; clip_torch.CLIPModel.from_pretrained({str(directory)!r}); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "clip_torch.mapped" in loaded
    assert "torch._dynamo" not in loaded


def test_weights_are_handed_out_at_exit_when_no_thread_can_be_started(directory):
    code = (
        "import atexit, sys; from clip_torch import CLIPModel\n"
        "model = CLIPModel.from_pretrained(sys.argv[1])\n"
        "atexit.register(lambda: print(len(model.mapped.held()) > 0, len(model.state_dict()), model.mapped.held()))"
    )
    done = subprocess.run([sys.executable, "-c", code, directory], capture_output=True, text=True, check=True)
    expected = len(CLIPModel(DISTINCT).state_dict())
    assert (done.stdout.strip(), done.stderr) == (f"True {expected} []", "")
