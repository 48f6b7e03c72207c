"""Fields and shapes of every class's output, with and without the optional ones."""

import pytest

from conformance_tests.adapter import config_of, flat
from conformance_tests.cases import full_inputs, pixel_inputs, text_inputs

FIELDS = {
    "text": ("last_hidden_state", "pooler_output", "hidden_states", "attentions"),
    "text_projection": ("text_embeds", "last_hidden_state", "hidden_states", "attentions"),
    "vision": ("last_hidden_state", "pooler_output", "hidden_states", "attentions"),
    "vision_projection": ("image_embeds", "last_hidden_state", "hidden_states", "attentions"),
}


def shapes(output, to_array):
    return {name: value.shape for name, value in flat(output, to_array).items()}


def expected_shapes(case, kind, inputs):
    """Of every field of a tower's output, from the sizes of the configuration."""
    config = config_of(kind, case.config)
    batch = len(next(iter(inputs.values())))
    if getattr(config, "is_resnet", False):
        return expected_of_resnet(case, config, batch)
    tokens = inputs["input_ids"].shape[1] if "input_ids" in inputs else config.patches_per_side**2 + 1
    heads, layers = config.num_attention_heads, config.num_hidden_layers
    return {
        "last_hidden_state": (batch, tokens, config.hidden_size),
        "pooler_output": (batch, config.hidden_size),
        "text_embeds": (batch, case.config.projection_dim),
        "image_embeds": (batch, case.config.projection_dim),
        **{f"hidden_states.{i}": (batch, tokens, config.hidden_size) for i in range(layers + 1)},
        **{f"attentions.{i}": (batch, heads, tokens, tokens) for i in range(layers)},
    }


def expected_of_resnet(case, config, batch):
    side, hidden = config.patches_per_side, config.hidden_size
    sizes = [8 * side, 8 * side, 4 * side, 2 * side, side]
    channels = [hidden // 32, hidden // 8, hidden // 4, hidden // 2, hidden]
    return {
        "last_hidden_state": (batch, side**2, hidden),
        "pooler_output": (batch, hidden),
        "image_embeds": (batch, case.config.projection_dim),
        **{
            f"hidden_states.{i}": (batch, count, size, size)
            for i, (count, size) in enumerate(zip(channels, sizes, strict=True))
        },
        "attentions.0": (batch, config.num_attention_heads, 1, side**2 + 1),
    }


def inputs_of(case, kind):
    if kind.startswith("text"):
        return text_inputs(case.config.text_config, 3)
    return {"pixel_values": pixel_inputs(case.config.vision_config, 2)}


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("kind", FIELDS)
def test_tower(backend, case, part_of, kind, everything):
    inputs = inputs_of(case, kind)
    output = backend.call(
        part_of(case, kind), "", **inputs, output_hidden_states=everything, output_attentions=everything
    )
    fields = FIELDS[kind] if everything else FIELDS[kind][:2]
    expected = {
        name: shape for name, shape in expected_shapes(case, kind, inputs).items() if name.split(".")[0] in fields
    }
    assert tuple(output.keys()) == fields
    assert shapes(output, backend.to_array) == expected


@pytest.mark.parametrize("everything", [False, True])
def test_model(backend, case, model_of, everything):
    texts, images, embed = 3, 2, case.config.projection_dim
    inputs = full_inputs(case.config, texts, images)
    output = backend.call(model_of(case), "", **inputs, output_hidden_states=everything, output_attentions=everything)
    expected = {
        "logits_per_image": (images, texts),
        "logits_per_text": (texts, images),
        "text_embeds": (texts, embed),
        "image_embeds": (images, embed),
    }
    for kind in ("text", "vision"):
        fields = FIELDS[kind] if everything else FIELDS[kind][:2]
        for name, shape in expected_shapes(case, kind, inputs_of(case, kind)).items():
            if name.split(".")[0] in fields:
                expected[f"{kind}_model_output.{name}"] = shape
    assert shapes(output, backend.to_array) == expected
