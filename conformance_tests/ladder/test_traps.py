"""What CLIP ports are known to get wrong and no comparison of ordinary outputs shows."""

import dataclasses
import json
import pickle
import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from clip_core.errors import CheckpointFormatError, ConfigError, InputError, InputTypeError
from conformance_tests.adapter import config_of, flat, specs_of
from conformance_tests.cases import full_inputs, pixel_inputs, text_inputs

TOKENS = "text_model.embeddings.token_embedding.weight"
FLAGS = {"output_hidden_states": True, "output_attentions": True}


def test_one_bright_patch_moves_one_token(backend, vit_base, model_of):
    """Order of patches, layout of pixels, and padding of the convolution."""
    config = vit_base.config.vision_config
    side, patch = config.patches_per_side, config.patch_size
    dark = np.zeros((1, config.num_channels, config.image_size, config.image_size), np.float32)
    before = backend.to_array(backend.call(model_of(vit_base), "vision_model.embeddings", dark))
    for row, column in [(0, 0), (0, side - 1), (side - 1, 0), (side // 2, side - 1)]:
        bright = dark.copy()
        bright[:, 1, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] = 1
        moved = backend.to_array(backend.call(model_of(vit_base), "vision_model.embeddings", bright)) - before
        tokens = np.flatnonzero(np.abs(moved).max((0, 2)) > 0)
        assert tokens.tolist() == [1 + row * side + column], f"patch in row {row}, column {column}"


def test_padding_token_and_mask_do_not_reach_the_pooled_output(backend, base, model_of, compare):
    """Attention is causal, so what follows the end cannot matter to the end; later rows do differ."""
    config = base.config.text_config
    inputs = text_inputs(config, 3)
    other_padding = np.where(inputs["attention_mask"] == 1, inputs["input_ids"], 5)
    calls = [
        backend.call(model_of(base), "text_model", inputs["input_ids"]),
        backend.call(model_of(base), "text_model", inputs["input_ids"], inputs["attention_mask"]),
        backend.call(model_of(base), "text_model", other_padding, inputs["attention_mask"]),
    ]
    first = {"pooler_output": backend.to_array(calls[0].pooler_output)}
    for other in calls[1:]:
        compare.close("traps", "padding", {"pooler_output": backend.to_array(other.pooler_output)}, first)
    rows = [backend.to_array(call.last_hidden_state) for call in calls]
    padding = inputs["attention_mask"] == 0
    assert np.abs(rows[0] - rows[1])[padding].max() > 1e-3
    assert np.abs(rows[1] - rows[2])[padding].max() > 1e-3


def test_full_length_text(backend, base, model_of, compare):
    inputs = text_inputs(base.config.text_config, 3, full=True)
    got = backend.call(model_of(base), "get_text_features", **inputs)
    expected = base.oracle.text(*inputs.values())["text_embeds"]
    compare.close("traps", "full length", {"text_embeds": backend.to_array(got)}, {"text_embeds": expected})


MEANINGLESS = {  # what is wrong: input, place, value (of the configuration, or itself), message
    "left padding": ("attention_mask", (1, 0), 0, "begins with padding"),
    "nothing but padding": ("attention_mask", (1, ...), 0, "has no token"),
    "id out of range": ("input_ids", (0, 1), "vocab_size", "input_ids: expected 0 to"),
    "negative id": ("input_ids", (0, 1), -1, "input_ids: expected 0 to"),
    "no end": ("input_ids", ..., 0, "expected the end-of-text id"),
    "position out of range": ("position_ids", (0, 1), "max_position_embeddings", "position_ids: expected 0 to"),
}


NO_LOOKUP = "CUDA answers a lookup out of range by refusing all that comes after it in the process"


def on_device(backend):
    """Whether what it computes with does not lie in host memory, where values are checked."""
    return getattr(backend, "ON_DEVICE", False)


@pytest.mark.parametrize("what", MEANINGLESS)
def test_meaningless_text_is_an_error(backend, base, model_of, what):
    """Each would otherwise give a number that means nothing, another one in each framework."""
    config = base.config.text_config
    name, place, value, message = MEANINGLESS[what]
    inputs = text_inputs(config, 3, positions=True)
    inputs[name][place] = getattr(config, value) if isinstance(value, str) else value
    if what == "no end" and config.eos_token_id == 2:  # the rule of such a checkpoint needs none
        assert np.isfinite(backend.to_array(backend.call(model_of(base), "get_text_features", **inputs))).all()
        return
    if not on_device(backend):
        with pytest.raises(InputError, match=message):
            backend.call(model_of(base), "get_text_features", **inputs)
        return
    if message.endswith("expected 0 to"):
        pytest.skip(NO_LOOKUP)
    bad = np.isnan(backend.to_array(backend.call(model_of(base), "get_text_features", **inputs))).all(axis=1)
    assert bad.tolist() == ([True] * 3 if what == "no end" else [False, True, False])


def test_meaningless_images_are_errors(backend, base, model_of):
    config = base.config.vision_config
    pixels = pixel_inputs(config, 2)
    wrong = {
        "Resize the images, or pass interpolate_pos_encoding": pixel_inputs(
            config, 2, size=(config.image_size + config.patch_size, config.image_size)
        ),
        "transpose to": np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)),
        r"expected shape \[batch, channel, height, width\]": pixels[0],
    }
    for message, value in wrong.items():
        with pytest.raises(InputError, match=message):
            backend.call(model_of(base), "get_image_features", pixel_values=value)
    with pytest.raises(InputTypeError, match="expected floating-point numbers"):
        backend.call(model_of(base), "get_image_features", pixel_values=(pixels * 9).astype(np.uint8))


def test_tuple_has_the_order_of_the_fields(backend, base, model_of):
    """With and without ``return_dict``; a field that was not asked for takes no place."""
    inputs = full_inputs(base.config, 3, 3)
    output = backend.call(model_of(base), "", **inputs, **FLAGS, return_loss=True)
    assert output.keys() == (
        *("loss", "logits_per_image", "logits_per_text", "text_embeds", "image_embeds"),
        *("text_model_output", "vision_model_output"),
    )
    assert output.text_model_output.keys() == ("last_hidden_state", "pooler_output", "hidden_states", "attentions")
    plain = backend.call(model_of(base), "", **inputs, **FLAGS, return_loss=True, return_dict=False)
    assert type(plain) is type(plain[5]) is tuple
    by_name, by_place = (list(flat(value, backend.to_array).values()) for value in (output, plain))
    assert len(by_name) == len(by_place)
    assert all(np.array_equal(left, right) for left, right in zip(by_name, by_place, strict=True))
    unasked = backend.call(model_of(base), "", **inputs, return_dict=False)
    assert len(unasked) == 6  # no loss, so the logits come first
    np.testing.assert_allclose(backend.to_array(unasked[0]), backend.to_array(output.logits_per_image), atol=2e-4)


def test_meaningless_texts_are_nan_where_nothing_can_be_raised(backend, base, model_of):
    """Compiled, with one mistake per row; the first row is right and stays so."""
    inputs = full_inputs(base.config, 5, 5)
    before = backend.to_array(backend.compiled(model_of(base), inputs).text_embeds)
    ids, mask = inputs["input_ids"].copy(), inputs["attention_mask"].copy()
    mask[1, 0] = 0
    mask[2] = 0
    mask[3, -1] = -10_000
    ids[4][ids[4] == base.config.text_config.eos_token_id] = 5
    try:
        output = backend.compiled(model_of(base), {**inputs, "input_ids": ids, "attention_mask": mask})
    except InputError:
        return  # a backend whose compiled form still sees values says more
    after = backend.to_array(output.text_embeds)
    assert np.isfinite(before).all()
    np.testing.assert_allclose(after[0], before[0], atol=1e-6)
    assert np.isnan(after[1:]).all()
    assert np.isnan(backend.to_array(output.logits_per_image)[:, 1:]).all()


def test_an_id_out_of_range_is_nan_or_an_error_in_compiled_code(backend, base, model_of):
    """torch's compiler checks the index of a lookup itself; others take another row of the table."""
    if on_device(backend):
        pytest.skip(NO_LOOKUP)
    inputs = full_inputs(base.config, 5, 5)
    inputs["input_ids"][3, 1] = -1
    try:
        embeds = backend.to_array(backend.compiled(model_of(base), inputs).text_embeds)
    except (RuntimeError, InputError) as error:
        if not re.search("index out of (bounds|range)|expected 0 to", str(error)):
            raise
    else:
        assert np.isnan(embeds).any(axis=1).tolist() == [False, False, False, True, False]


def test_output_reads_by_name_and_place(backend, base, model_of):
    output = backend.call(model_of(base), "", **full_inputs(base.config, 3, 3))
    for place, name in enumerate(output.keys()):
        assert output[place] is output[name] is getattr(output, name)
    assert output.loss is None
    assert output.text_model_output.hidden_states is None
    with pytest.raises(KeyError, match="loss"):
        output["loss"]


def test_output_pickles(backend, base, model_of):
    output = backend.call(model_of(base), "", **full_inputs(base.config, 3, 3), return_loss=True)
    again = pickle.loads(pickle.dumps(output))
    assert type(again) is type(output)
    before, after = flat(output, backend.to_array), flat(again, backend.to_array)
    assert all(np.array_equal(value, after[name]) for name, value in before.items())


def test_flags_of_the_configuration(backend, base):
    """Asked for in the configuration, and overruled by the call."""
    config = dataclasses.replace(config_of("text", base.config), output_hidden_states=True, return_dict=False)
    given = {spec.name: base.weights[spec.name] for spec in specs_of("text", base.config)}
    model = backend.build("text", config, given)
    inputs = text_inputs(config, 3)
    assert len(backend.call(model, "", **inputs)) == 3
    overruled = backend.call(model, "", **inputs, output_hidden_states=False, return_dict=True)
    assert overruled.keys() == ("last_hidden_state", "pooler_output")
    whole = backend.build("model", dataclasses.replace(base.config, **FLAGS), base.weights)
    for output in backend.call(whole, "", **full_inputs(base.config, 3, 2))[-2:]:
        assert output.keys() == ("last_hidden_state", "pooler_output", "hidden_states", "attentions")


@pytest.mark.parametrize("flags", [{}, FLAGS], ids=["plain", "everything"])
def test_evaluation_is_without_dropout(backend, vit_base, compare, flags):
    """A configuration with dropout changes nothing until it trains, with attentions asked for or not."""
    towers = ("text_config", "vision_config")
    dropping = {name: dataclasses.replace(getattr(vit_base.config, name), attention_dropout=0.5) for name in towers}
    model = backend.build("model", dataclasses.replace(vit_base.config, **dropping), vit_base.weights)
    inputs = full_inputs(vit_base.config, 3, 2)
    expected = flat(vit_base.oracle.outputs(inputs), np.asarray)
    if not flags:
        expected = {
            name: value
            for name, value in expected.items()
            if not set(FLAGS) & {f"output_{part}" for part in name.split(".")}
        }
    got = flat(backend.call(model, "", **inputs, **flags), backend.to_array)
    compare.close("traps", "dropout in evaluation", got, expected)


def test_logit_scale_of_one_element_loads(backend, base, tmp_path):
    """TensorFlow checkpoints of transformers stored it as ``(1,)``."""
    backend.save(backend.build("model", base.config, base.weights), tmp_path)
    stored = {**base.weights, "logit_scale": base.weights["logit_scale"].reshape(1)}
    save_file(stored, tmp_path / "model.safetensors", {"format": "pt"})
    loaded = backend.weights(backend.load("model", tmp_path))["logit_scale"]
    assert loaded.shape == ()
    assert loaded == base.weights["logit_scale"]


def ending_at_2(base, vocab_size):
    ends = {"vocab_size": vocab_size, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    return dataclasses.replace(base.config, text_config=dataclasses.replace(base.config.text_config, **ends))


@pytest.mark.parametrize("kind", ["model", "text", "text_projection"])
def test_a_true_end_of_text_of_2_is_never_pooled_at_the_largest_id(backend, base, tmp_path, kind):
    """MetaCLIP 2, XLM-R, RoBERTa and LLaMA end texts at id 2, which in OpenAI's configurations means the largest."""
    for vocab_size in (901629, 250002, 50265, 32000):
        with pytest.raises(ConfigError, match=f"2 stands for the largest id.* has {vocab_size}.* MetaCLIP 2"):
            backend.build(kind, config_of(kind, ending_at_2(base, vocab_size)), None)
    config = ending_at_2(base, 3001)
    weights = {**base.weights, TOKENS: np.zeros((3001, config.text_config.hidden_size), np.float32)}
    config.save_pretrained(tmp_path)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match="has 3001.*If the largest id is the end, say which it is: eos_token_id=3000"):
        backend.load(kind, tmp_path)


def test_a_true_end_of_text_of_2_is_no_matter_of_the_vision_tower(backend, base, tmp_path):
    ending_at_2(base, 901629).save_pretrained(tmp_path)
    save_file(base.weights, tmp_path / "model.safetensors", {"format": "pt"})
    backend.load("vision", tmp_path)


def test_metaclip_2_is_another_kind_of_model(backend, base, tmp_path):
    described = {**base.config.to_dict(), "model_type": "metaclip_2"}
    (tmp_path / "config.json").write_text(json.dumps(described))
    save_file(base.weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointFormatError, match="model_type 'clip', got 'metaclip_2'"):
        backend.load("model", tmp_path)
