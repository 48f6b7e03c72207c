import pickle

import pytest

from clip_core.outputs import (
    BaseModelOutputWithPooling,
    CLIPOutput,
    CLIPTextModelOutput,
    ImageClassifierOutput,
    ModelOutput,
)

TOWER = {"last_hidden_state": 1, "pooler_output": 2, "hidden_states": None, "attentions": (5, 6)}


def test_absent_fields_are_no_elements_and_read_as_none():
    out = BaseModelOutputWithPooling.of(TOWER)
    assert isinstance(out, BaseModelOutputWithPooling)
    assert out.keys() == ("last_hidden_state", "pooler_output", "attentions")
    assert len(out) == 3
    assert out.hidden_states is None
    assert "attentions" in out
    assert "hidden_states" not in out
    assert 2 in out
    assert out[2] == out["attentions"] == out.attentions == (5, 6)
    assert dict(out.items())["pooler_output"] == 2


def test_an_absent_or_unknown_name_says_what_is_there():
    out = BaseModelOutputWithPooling.of(TOWER)
    with pytest.raises(KeyError, match="hidden_states.*last_hidden_state, pooler_output, attentions"):
        out["hidden_states"]
    with pytest.raises(AttributeError, match="no field 'pooled'"):
        _ = out.pooled


def test_the_first_element_is_the_loss_if_there_is_one():
    tower = BaseModelOutputWithPooling.of(TOWER)
    fields = dict.fromkeys(CLIPOutput.FIELDS, 0) | {"text_model_output": tower, "logits_per_image": 7, "loss": 3}
    assert CLIPOutput.of(fields)[0] == 3
    assert CLIPOutput.of(fields | {"loss": None})[0] == 7
    assert CLIPOutput.of(fields).to_tuple()[5] == (1, 2, (5, 6))
    assert not isinstance(CLIPOutput.of(fields).to_tuple()[5], ModelOutput)


def test_pickle_keeps_type_and_fields():
    out = BaseModelOutputWithPooling.of(TOWER)
    loaded = pickle.loads(pickle.dumps(out))
    assert type(loaded) is type(out)
    assert loaded == out


def test_an_output_is_rebuilt_from_an_iterable_as_from_values():
    output = CLIPTextModelOutput.of(
        {"text_embeds": 1, "last_hidden_state": 2, "hidden_states": (3, 4), "attentions": None}
    )
    doubled = type(output)(value * 2 for value in output)
    assert doubled == (2, 4, (3, 4, 3, 4))
    assert doubled.hidden_states == (3, 4, 3, 4)
    assert type(output)(*output) == type(output)(output) == output
    assert type(output)(1, hidden_states=(3, 4), last_hidden_state=2) == type(output)(**dict(output.items())) == output
    for wrong in ((), (1, 2), ([1, 2],), (1, 2, 3, 4)):
        with pytest.raises(TypeError, match="expected values for text_embeds, last_hidden_state, hidden_states, got"):
            type(output)(*wrong)
    with pytest.raises(TypeError, match=r"got 1 \['loss'\]"):
        type(output)(1, loss=2)


def test_get_is_that_of_a_dict():
    output = BaseModelOutputWithPooling.of(
        {"last_hidden_state": 1, "pooler_output": 2, "hidden_states": None, "attentions": None}
    )
    assert (output.get("pooler_output"), output.get("attentions"), output.get("loss", 5)) == (2, None, 5)


def test_an_output_of_one_field_is_rebuilt_from_its_value_whatever_that_is():
    output = ImageClassifierOutput.of({"loss": None, "logits": (2, 3), "hidden_states": None, "attentions": None})
    assert output.logits == (2, 3)
    assert type(output)(*output) == type(output)(value for value in output) == output
    assert type(output)([4]).logits == [4]  # Keras collects the outputs of batches in lists
    assert pickle.loads(pickle.dumps(output)) == output
