"""Where texts are cut to what the pooled output needs, and where they stay whole; that it is equal is the ladder's."""

from dataclasses import replace

import pytest
import torch

from clip_core.tests.sizes import DISTINCT
from clip_torch import CLIPModel
from clip_torch.text import without_padding

END = DISTINCT.text_config.eos_token_id


@pytest.fixture
def model():
    return CLIPModel(DISTINCT, seed=3).eval()


def texts():
    """Two of four tokens, padded to eleven."""
    ids = torch.arange(22).reshape(2, 11)
    ids[:, 3:] = END
    return ids, (torch.arange(11) < 4).expand(2, 11).int()


def test_cut_to_the_last_end_without_a_mask_that_hides_only_padding(model):
    ids, mask = texts()
    positions = torch.arange(11)[None]
    cut_ids, no_mask, cut_positions = without_padding(model.text_model, ids, mask, positions)
    assert torch.equal(cut_ids, ids[:, :4])
    assert no_mask is None
    assert torch.equal(cut_positions, positions[:, :4])
    mask[0, 2] = 0
    assert torch.equal(without_padding(model.text_model, ids, mask, None)[1], mask[:, :4])


def dropping(model):
    model.text_model.config = replace(model.text_model.config, attention_dropout=0.5)
    model.train()


class OtherTower(CLIPModel(DISTINCT).text_model.__class__):
    def pool(self, last_hidden_state, input_ids):
        return last_hidden_state.mean(1)


def another_tower(model):
    model.text_model.__class__ = OtherTower


class OtherAttention(CLIPModel(DISTINCT).text_model.encoder.layers[0].self_attn.__class__):
    def forward(self, hidden_states, attention_mask=None, output_attentions=False):
        return super().forward(hidden_states, None, output_attentions)


def attention_to_all(model):
    model.text_model.encoder.layers[1].self_attn.__class__ = OtherAttention


def everything(length, attention_mask, device):
    return torch.ones(1, 1, length, length, dtype=torch.bool)


def mask_of_all(model):
    model.text_model.causal_mask = everything


WHOLE = {
    "another attention": attention_to_all,
    "another mask": mask_of_all,
    "another pooling": lambda model: setattr(model.text_model, "pool", lambda states, ids: states.mean(1)),
    "another forward": lambda model: setattr(model.text_model.encoder, "forward", model.text_model.encoder.forward),
    "dropout": dropping,
    "another tower": another_tower,
    "hook": lambda model: model.text_model.encoder.layers[1].mlp.register_forward_hook(lambda *_: None),
    "backward hook": lambda model: model.text_model.embeddings.register_full_backward_hook(lambda *_: None),
    "compiled part": lambda model: model.text_model.encoder.compile(backend="eager"),
}


@pytest.mark.parametrize("why", WHOLE)
def test_whole_where_somebody_could_tell(model, why):
    WHOLE[why](model)
    given = (*texts(), None)
    assert without_padding(model.text_model, *given) == given


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch's fused attention has no rule for vmap
def test_whole_in_a_graph_and_under_vmap(model):
    ids, mask = texts()
    expected = model.get_text_features(ids, mask)
    compiled = torch.compile(model.get_text_features, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(ids, mask), expected, atol=1e-6, rtol=1e-5)
    mapped = torch.func.vmap(lambda one: model.get_text_features(one[None])[0])(ids)
    torch.testing.assert_close(mapped, expected, atol=1e-6, rtol=1e-5)


def test_gradients_are_those_of_the_padded_texts(model):
    (ids, mask), gradients = texts(), []
    model.double()
    for features in (
        lambda: model.get_text_features(ids, mask),
        lambda: model.text_projection(model.text_model(ids, mask).pooler_output),
    ):
        model.zero_grad(set_to_none=False)
        features().square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.text_model.parameters()])
    torch.testing.assert_close(*gradients, atol=1e-10, rtol=1e-10)


def test_a_tower_that_is_compiled_by_itself_is_compiled_once(model):
    calls = []

    def backend(graph, _):
        calls.append(graph)
        return graph

    model.text_model = torch.compile(model.text_model, backend=backend)
    ids, _ = texts()
    for end in range(2, 9):
        ids[:, end] = END
        model.get_text_features(ids)
    assert len(calls) == 1


def test_a_mask_of_others_is_not_taken_for_the_causal_one(model):
    ids, _ = texts()
    causal = model.text_model(ids).pooler_output
    mask_of_all(model)
    found = model.text_model(ids).pooler_output
    assert not torch.allclose(found, causal)
    torch.testing.assert_close(found, model.text_model(ids, torch.ones_like(ids)).pooler_output)


def test_an_encoder_of_others_gets_what_it_always_got(model):
    class Whole(torch.nn.Module):
        def __init__(self, encoder):
            super().__init__()
            self.encoder = encoder

        def forward(self, hidden_states, attention_mask, output_attentions, output_hidden_states):
            return self.encoder(hidden_states, attention_mask, output_attentions, output_hidden_states)

    ids, mask = texts()
    expected = model.get_text_features(ids, mask)
    model.text_model.encoder = Whole(model.text_model.encoder)
    torch.testing.assert_close(model.get_text_features(ids, mask), expected)


def test_a_causal_mask_alone_is_told_to_the_kernel(model, monkeypatch):
    """And as one that also hides padding it is not."""
    told = []
    attention = torch.nn.functional.scaled_dot_product_attention

    def recorded(*args, attn_mask, is_causal, **options):
        told.append((attn_mask is None, is_causal))
        return attention(*args, attn_mask=attn_mask, is_causal=is_causal, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", recorded)
    ids, mask = texts()
    model.text_model(ids)
    assert set(told) == {(True, True)}
    told.clear()
    model.text_model(ids, mask)
    assert set(told) == {(False, False)}
