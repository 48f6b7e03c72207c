"""Texts that are padded to the context give what they give without padding: a backend may leave out columns, but only
those behind every end of text, and only after it has looked at them."""

import numpy as np
import pytest

from clip_core.errors import InputError
from conformance_tests.cases import text_inputs
from conformance_tests.ladder.test_towers import CALLS
from conformance_tests.ladder.test_traps import NO_LOOKUP, on_device

LENGTHS = (3, 9, 2, 6)
"""Of the texts in a batch, with start and end."""


def padded_texts(config, behind):
    """Ids, mask and positions, ``[batch, context]``; the positions begin at 1."""
    inputs = text_inputs(config, len(LENGTHS), full=True, positions=True)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    end = config.vocab_size - 1 if config.eos_token_id == 2 else config.eos_token_id
    for row, length in enumerate(LENGTHS):
        ids[row, length - 1] = end
        if behind == "ends":
            ids[row, length:] = end
        elif behind == "zeros":
            ids[row, length:] = 0
        mask[row, length:] = 0
    inputs["position_ids"] = inputs["position_ids"] % config.max_position_embeddings
    return inputs


def check(backend, compare, model, case, what, inputs):
    got = {"text_embeds": backend.to_array(backend.call(model, "get_text_features", **inputs))}
    given = (inputs.get(name) for name in ("input_ids", "attention_mask", "position_ids"))
    compare.close("towers", f"padding: {what}", got, {"text_embeds": case.oracle.text(*given)["text_embeds"]})


@pytest.mark.parametrize("behind", ["ends", "zeros", "anything"])
def test_texts_of_many_lengths(backend, case, model_of, compare, behind):
    """What is behind an end is often another end; in other tokenizers 0, which is a word; or what was left there."""
    inputs = padded_texts(case.config.text_config, behind)
    check(backend, compare, model_of(case), case, f"{behind} behind", inputs)


@pytest.mark.parametrize("given", CALLS)
def test_with_and_without_mask_and_positions(backend, base, model_of, compare, given):
    inputs = padded_texts(base.config.text_config, "anything")
    inputs = {name: value for name, value in inputs.items() if name == "input_ids" or name in CALLS[given]}
    check(backend, compare, model_of(base), base, given, inputs)


@pytest.mark.parametrize("row", [1, 2])
def test_one_text(backend, base, model_of, compare, row):
    inputs = padded_texts(base.config.text_config, "zeros")
    one = {name: value if len(value) == 1 else value[row : row + 1] for name, value in inputs.items()}
    check(backend, compare, model_of(base), base, f"a text of {LENGTHS[row]}", one)


def test_mask_that_hides_what_an_end_sees(backend, base, model_of, compare):
    """A word in the middle, and the end itself."""
    inputs = padded_texts(base.config.text_config, "ends")
    inputs["attention_mask"][1, 4] = inputs["attention_mask"][3, 5] = 0
    check(backend, compare, model_of(base), base, "hidden words", inputs)


def test_mask_that_shows_padding(backend, base, model_of, compare):
    """As of open_clip's texts, which have no mask: all ones."""
    inputs = padded_texts(base.config.text_config, "zeros")
    inputs["attention_mask"][:] = 1
    check(backend, compare, model_of(base), base, "shown padding", inputs)


def test_end_at_the_first_and_at_the_last_place(backend, case, model_of, compare):
    """The largest id, the end in old configurations, may be behind an end of text."""
    config = case.config.text_config
    for place in (0, config.max_position_embeddings - 1):
        inputs = padded_texts(config, "zeros")
        inputs["input_ids"][2, place] = config.vocab_size - 1
        if config.eos_token_id != 2:
            inputs["input_ids"][2][inputs["input_ids"][2] == config.eos_token_id] = 0
            inputs["input_ids"][2, place] = config.eos_token_id
        check(backend, compare, model_of(case), case, f"end at {place}", inputs)


MEANINGLESS = {  # in the last column, which no end sees: input, value (of the configuration, or itself), message
    "id out of range": ("input_ids", "vocab_size", "input_ids: expected 0 to"),
    "negative id": ("input_ids", -1, "input_ids: expected 0 to"),
    "added mask": ("attention_mask", -10_000, "expected only 1"),
    "position out of range": ("position_ids", "max_position_embeddings", "position_ids: expected 0 to"),
}


@pytest.mark.parametrize("what", MEANINGLESS)
def test_meaningless_padding_is_an_error_all_the_same(backend, base, model_of, what):
    config = base.config.text_config
    name, value, message = MEANINGLESS[what]
    inputs = padded_texts(config, "zeros")
    inputs[name][0, -1] = getattr(config, value) if isinstance(value, str) else value
    if not on_device(backend):
        with pytest.raises(InputError, match=message):
            backend.call(model_of(base), "get_text_features", **inputs)
        return
    if message.endswith("expected 0 to"):
        pytest.skip(NO_LOOKUP)
    bad = np.isnan(backend.to_array(backend.call(model_of(base), "get_text_features", **inputs))).all(axis=1)
    assert bad.tolist() == [True, False, False, False]
