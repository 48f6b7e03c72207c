"""The four tower classes: masks, positions, both end-of-text rules, images of other sizes."""

import numpy as np
import pytest

from conformance_tests.adapter import flat
from conformance_tests.cases import pixel_inputs, text_inputs

CALLS = {  # of the text tower: what it is given besides ids
    "ids": (),
    "ids and mask": ("attention_mask",),
    "ids and positions": ("position_ids",),
    "all": ("attention_mask", "position_ids"),
}


def check(backend, compare, kind, what, output, expected):
    """A tower's output has its first two fields: those that are there unasked."""
    own = "image_embeds" if kind.startswith("vision") else "text_embeds"
    fields = (own, "last_hidden_state") if kind.endswith("projection") else ("last_hidden_state", "pooler_output")
    compare.close("towers", what, flat(output, backend.to_array), {name: expected[name] for name in fields})


@pytest.mark.parametrize("given", CALLS)
@pytest.mark.parametrize("kind", ["text", "text_projection"])
def test_text(backend, case, part_of, compare, kind, given):
    everything = text_inputs(case.config.text_config, 3, positions=True)
    inputs = {name: value for name, value in everything.items() if name == "input_ids" or name in CALLS[given]}
    expected = case.oracle.text(*(inputs.get(name) for name in ("input_ids", "attention_mask", "position_ids")))
    check(backend, compare, kind, f"{kind} of {given}", backend.call(part_of(case, kind), "", **inputs), expected)


@pytest.mark.parametrize("kind", ["vision", "vision_projection"])
def test_vision(backend, case, part_of, compare, kind):
    pixels = pixel_inputs(case.config.vision_config, 2)
    check(backend, compare, kind, kind, backend.call(part_of(case, kind), "", pixels), case.oracle.vision(pixels))


@pytest.mark.parametrize(
    ("more_rows", "more_columns", "left_over"),
    [(0, 0, 0), (2, 2, 0), (-1, -1, 1), (2, -1, 0), (-1, 4, 2)],
    ids=["trained size", "up", "down", "rectangular", "rectangular, pixels left over"],
)
def test_interpolation(backend, each_tower, part_of, compare, more_rows, more_columns, left_over):
    config = each_tower.config.vision_config
    side, patch = config.patches_per_side, config.patch_size
    size = (patch * (side + more_rows) + left_over, patch * (side + more_columns) + left_over)
    pixels = pixel_inputs(config, 2, size=size)
    output = backend.call(part_of(each_tower, "vision"), "", pixels, interpolate_pos_encoding=True)
    check(backend, compare, "vision", f"interpolated to {size}", output, each_tower.oracle.vision(pixels))


def test_pooling_ends_at_the_first_end(backend, case, part_of):
    """A second end-of-text id, as padding, is not the end; nor is the last token."""
    config = case.config.text_config
    inputs = text_inputs(config, 3, seed=8)
    output = backend.call(part_of(case, "text"), "", inputs["input_ids"])
    end = config.vocab_size - 1 if config.eos_token_id == 2 else config.eos_token_id
    first = [row.index(end) for row in inputs["input_ids"].tolist()]
    states = backend.to_array(output.last_hidden_state)
    pooled = backend.to_array(output.pooler_output)
    np.testing.assert_array_equal(pooled, states[np.arange(3), first])
