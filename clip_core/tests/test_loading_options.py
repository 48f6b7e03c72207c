"""Keywords of `from_pretrained`: each has its effect, or is refused, or is said to have none."""

import shutil

import numpy as np
import pytest

from clip_core import CLIPConfig, CLIPImageProcessor, CLIPProcessor, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig
from clip_core.errors import (
    CheckpointNotFoundError,
    ConfigError,
    InputError,
    InputTypeError,
    WeightMismatchError,
)
from clip_core.labels import LABEL_FIELDS
from clip_core.loading_options import REFUSED, WITHOUT_EFFECT, Location
from clip_core.tests.array_model import WEIGHTS, ArrayModel, TextArrayModel, assert_same
from clip_core.tests.sizes import DISTINCT

LOADERS = (ArrayModel, CLIPConfig, CLIPImageProcessor, CLIPTokenizer, CLIPProcessor)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Weights in three files that differ in their logit scale, and a processor."""
    directory = tmp_path_factory.mktemp("checkpoint")
    for file, scale in (("model.fp16.safetensors", 2.0), ("model.safetensors", 1.0)):
        weights = WEIGHTS | {"logit_scale": np.array(scale, np.float32)}
        ArrayModel(DISTINCT, weights=weights, dtype=np.float16 if scale == 2.0 else None).save_pretrained(directory)
        if file != "model.safetensors":
            shutil.move(directory / "model.safetensors", directory / file)
    CLIPProcessor(CLIPImageProcessor(), CLIPTokenizer.from_merges(40)).save_pretrained(directory)
    return directory


@pytest.mark.parametrize("kind", LOADERS)
def test_a_misspelt_keyword_is_an_error_with_the_nearest_name(checkpoint, kind):
    with pytest.raises(
        InputTypeError, match=rf"{kind.__name__}.from_pretrained: unknown keyword 'revison'.*'revision'"
    ):
        kind.from_pretrained(checkpoint, revison="main")


@pytest.mark.parametrize("kind", LOADERS)
def test_keywords_without_effect_are_taken_and_those_that_would_have_another_are_not(checkpoint, kind):
    kind.from_pretrained(checkpoint, **dict.fromkeys(WITHOUT_EFFECT, True), **dict.fromkeys(REFUSED))
    for name, advice in REFUSED.items():
        own = LABEL_FIELDS if kind is CLIPConfig else ("dtype", "torch_dtype") if kind is ArrayModel else ()
        if name in own:
            continue
        with pytest.raises(InputError) as error:
            kind.from_pretrained(checkpoint, **{name: 1})
        assert str(error.value) == f"{kind.__name__}.from_pretrained: {name}=1 has no meaning here. {advice}"


@pytest.mark.parametrize("kind", LOADERS)
def test_the_location_may_be_said_in_transformers_words_or_left_open(checkpoint, kind):
    kind.from_pretrained(pretrained_model_name_or_path=checkpoint, revision=None, subfolder=None, cache_dir=None)
    kind.from_pretrained(checkpoint.parent, subfolder=checkpoint.name, token=False, force_download=True)
    with pytest.raises(InputTypeError, match="which are one"):
        kind.from_pretrained(checkpoint, pretrained_model_name_or_path=checkpoint)
    with pytest.raises(InputTypeError, match="expected the name or path of a checkpoint, got none"):
        kind.from_pretrained()


def test_a_location_hands_all_of_itself_on(monkeypatch):
    seen = {}
    monkeypatch.setattr("clip_core.loading_options.resolve_checkpoint", lambda name, **given: seen.update(given))
    given = {"subfolder": "a", "revision": "b", "cache_dir": "c", "token": "d"}
    Location(**given, local_files_only=True, force_download=True).directory("x")
    assert {name: seen[name] for name in given} == given
    assert seen["local_files_only"]
    assert seen["force_download"]


def test_a_variant_is_read_or_missed_but_never_replaced(checkpoint, tmp_path):
    load = ArrayModel.from_pretrained
    assert load(checkpoint).logit_scale == 1.0
    assert load(checkpoint, variant="fp16", dtype="auto").logit_scale == np.float16(2.0)
    with pytest.raises(CheckpointNotFoundError, match=r"expected model.fp32.safetensors, .*fp16.safetensors.*variant="):
        load(checkpoint, variant="fp32")
    with pytest.raises(CheckpointNotFoundError, match=r"expected pytorch_model.bin or .*use_safetensors="):
        load(checkpoint, use_safetensors=False)
    with pytest.raises(InputTypeError, match="variant: expected a word"):
        load(checkpoint, variant="../x")
    shutil.copy(checkpoint / "config.json", tmp_path)
    shutil.copy(checkpoint / "model.fp16.safetensors", tmp_path)
    with pytest.raises(CheckpointNotFoundError, match="say variant='fp16'"):
        load(tmp_path)


def test_fields_of_the_configuration_are_changed_and_checked(checkpoint):
    model = ArrayModel.from_pretrained(checkpoint, text_config={"attention_dropout": 0.25}, output_attentions=True)
    assert model.config == DISTINCT.changed({"text_config": {"attention_dropout": 0.25}, "output_attentions": True})
    assert model.config.text_config.hidden_size == 24
    assert TextArrayModel.from_pretrained(checkpoint, hidden_act="gelu").config.hidden_act == "gelu"
    with pytest.raises(ConfigError, match="hidden_act: expected one of"):
        TextArrayModel.from_pretrained(checkpoint, hidden_act="relu")
    with pytest.raises(
        WeightMismatchError, match=r"(?s)- text_projection.weight \[19, 24\].*\+ text_projection.*18, 24"
    ):
        ArrayModel.from_pretrained(checkpoint, projection_dim=19)
    with pytest.raises(InputTypeError, match="'hidden_act' is no keyword of it. Say for which tower: text_config="):
        ArrayModel.from_pretrained(checkpoint, hidden_act="gelu")


def test_a_configuration_comes_with_the_keywords_that_it_did_not_know(checkpoint):
    load = CLIPVisionConfig.from_pretrained
    config, rest = load(checkpoint, return_unused_kwargs=True, patch_size=6, foo=[3], trust_remote_code=True)
    assert (config.patch_size, config.hidden_size, rest) == (6, 20, {"foo": [3]})
    assert load(checkpoint, patch_size=6) == config
    with pytest.raises(InputTypeError, match="unknown keyword 'foo'"):
        load(checkpoint, foo=[3])


def test_another_configuration_may_be_named_by_its_checkpoint(checkpoint, tmp_path):
    DISTINCT.changed({"output_hidden_states": True}).save_pretrained(tmp_path)
    assert ArrayModel.from_pretrained(checkpoint, config=str(tmp_path)).config.output_hidden_states


def test_a_state_dict_stands_in_for_the_weights(checkpoint):
    state = WEIGHTS | {"logit_scale": np.array(5.0, np.float16)}
    assert_same(ArrayModel.from_pretrained(checkpoint, state_dict=state).named_weights(), state)
    text, info = TextArrayModel.from_pretrained(
        config=DISTINCT.text_config, state_dict=state, output_loading_info=True, dtype="auto"
    )
    assert text.text_model.final_layer_norm.gamma.dtype == np.float32
    assert "logit_scale" in info["unexpected_keys"]
    with pytest.raises(WeightMismatchError, match=r"from_pretrained\(state_dict=\)(?s:.*)- logit_scale \[\]: missing"):
        ArrayModel.from_pretrained(checkpoint, state_dict={k: v for k, v in state.items() if k != "logit_scale"})


def test_loading_info_tells_what_the_checkpoint_has_besides(checkpoint):
    model, info = TextArrayModel.from_pretrained(checkpoint, output_loading_info=True)
    assert info == {
        "missing_keys": [],
        "unexpected_keys": sorted(set(WEIGHTS) - set(model.named_weights())),
        "mismatched_keys": [],
        "error_msgs": [],
    }


def test_torch_dtype_is_dtype(checkpoint):
    assert ArrayModel.from_pretrained(checkpoint, torch_dtype="float16").logit_scale.dtype == np.float16
    with pytest.raises(InputTypeError, match="dtype='float32' and torch_dtype='float16', which are one"):
        ArrayModel.from_pretrained(checkpoint, dtype="float32", torch_dtype="float16")


def test_a_processor_gives_each_part_its_own(checkpoint):
    processor = CLIPProcessor.from_pretrained(checkpoint, size=32, model_max_length=9, do_resize=None)
    assert processor.image_processor.size == {"shortest_edge": 32}
    assert processor.tokenizer.model_max_length == 9
    assert processor.image_processor.do_resize


def test_max_length_of_a_tokenizer_is_its_model_max_length(checkpoint):
    assert CLIPTokenizer.from_pretrained(checkpoint, max_length=9, use_fast=True).model_max_length == 9
    with pytest.raises(InputTypeError, match="which are one"):
        CLIPTokenizer.from_pretrained(checkpoint, max_length=9, model_max_length=10)


def test_fields_that_are_none_stay(checkpoint):
    assert CLIPTextConfig.from_pretrained(checkpoint, hidden_size=None).hidden_size == 24
