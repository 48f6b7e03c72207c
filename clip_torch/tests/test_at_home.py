"""What a PyTorch user does with a module; the numbers themselves are the conformance suite's."""

import copy
import io
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from clip_core.config import CLIPTextConfig
from clip_core.errors import InputError, InputTypeError
from clip_core.initialization import draw_weights
from clip_core.interpolation import position_matrix
from clip_core.outputs import CLIPOutput
from clip_core.tests.sizes import DISTINCT
from clip_torch import CLIPModel, CLIPTextModel, CLIPVisionModelWithProjection
from clip_torch.positions import exported_matrix

DYNAMIC = torch.export.Dim.DYNAMIC


@pytest.fixture(scope="module")
def model():
    return CLIPModel(DISTINCT, seed=3).eval()


@pytest.fixture(scope="module")
def inputs():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 58, (3, 9), generator=generator)
    ids[:, 6] = DISTINCT.text_config.eos_token_id
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    pixels = torch.randn(4, 3, 30, 30, generator=generator)
    return {"input_ids": ids, "pixel_values": pixels, "attention_mask": mask}


def flat(output):
    """The tensors of an output, in order."""
    if isinstance(output, torch.Tensor):
        return [output]
    return [leaf for value in output for leaf in flat(value)]


def assert_same(output, expected, atol=1e-5):
    assert type(output) is type(expected)
    for got, wanted in zip(flat(output), flat(expected), strict=True):
        torch.testing.assert_close(got, wanted, atol=atol, rtol=1e-4)


@pytest.mark.parametrize("flags", [{}, {"output_attentions": True, "output_hidden_states": True}])
def test_compiles_without_a_graph_break(model, inputs, flags):
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert_same(compiled(**inputs, **flags), model(**inputs, **flags))


def test_compiles_with_interpolated_positions_of_changing_sizes():
    tower = CLIPVisionModelWithProjection(DISTINCT.vision_config, seed=3)
    compiled = torch.compile(tower, fullgraph=True, dynamic=True)  # as torch itself compiles it for the second size
    for size in ((44, 23), (35, 51), (30, 30)):
        images = torch.randn(2, 3, *size)
        with torch.no_grad():
            assert_same(compiled(images, interpolate_pos_encoding=True), tower(images, interpolate_pos_encoding=True))


def test_exports_with_interpolated_positions_and_gives_them_a_gradient(model):
    images = torch.randn(2, 3, 44, 23)
    options = {"interpolate_pos_encoding": True}
    tower = CLIPVisionModelWithProjection(DISTINCT.vision_config, seed=3)
    program = torch.export.export(tower, (images,), options)
    output = tower(images, **options)
    assert_same(program.module()(images, **options), output)
    output.image_embeds.sum().backward()
    assert tower.vision_model.embeddings.position_embedding.weight.grad.abs().min() > 0


@pytest.mark.parametrize(("side", "rows", "columns"), [(4, 6, 3), (24, 7, 9), (16, 37, 5), (4, 4, 4)])
def test_exported_programs_resample_as_the_core_does(side, rows, columns):
    matrix = exported_matrix(side, rows, columns).numpy()
    np.testing.assert_allclose(matrix, position_matrix(side, rows, columns), atol=1e-7, rtol=0)


def test_exported_programs_need_no_operator_of_triclip_and_take_any_image_size():
    tower = CLIPVisionModelWithProjection(DISTINCT.vision_config, seed=3).eval()
    options, any_size = {"interpolate_pos_encoding": True}, {0: DYNAMIC, 2: DYNAMIC, 3: DYNAMIC}
    shapes = {"pixel_values": any_size, "interpolate_pos_encoding": None}
    program = torch.export.export(tower, (torch.randn(2, 3, 44, 23),), options, dynamic_shapes=shapes)
    assert "triclip" not in str(program.graph)
    for size in ((3, 3, 51, 35), (2, 3, 30, 30)):  # the second is the trained one
        images = torch.randn(size)
        with torch.no_grad():
            assert_same(program.module()(images, **options), tower(images, **options))


def test_an_exported_program_survives_a_file_and_takes_other_batch_sizes(model, inputs):
    text, image = torch.export.Dim("text", min=2), torch.export.Dim("image", min=2)
    shapes = {"input_ids": {0: text}, "pixel_values": {0: image}, "attention_mask": {0: text}}
    program = torch.export.export(model, (), inputs, dynamic_shapes=shapes)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    fewer = {name: value[:2] for name, value in inputs.items()}
    with torch.no_grad():
        output = loaded(**fewer)
        assert isinstance(output, CLIPOutput)
        assert_same(output, model(**fewer))


def test_autocast_and_dtypes(model, inputs):
    with torch.no_grad():
        expected = model(**inputs)
        with torch.autocast("cpu", torch.bfloat16):
            output = model(**inputs)
    assert output.logits_per_image.dtype == torch.float32
    torch.testing.assert_close(output[0], expected[0], atol=0.3, rtol=0.1)
    assert not torch.equal(output[0], expected[0])
    half = copy.deepcopy(model).to(torch.bfloat16)
    output = half(**inputs)
    assert half.dtype == torch.bfloat16
    assert output.text_embeds.dtype == torch.bfloat16
    assert output.logits_per_image.dtype == torch.float32  # logits and loss are float32 whatever the weights


def test_a_model_can_be_made_on_the_meta_device():
    with torch.device("meta"):
        assert CLIPModel(DISTINCT).device.type == "meta"


def test_pickle_and_deepcopy(model, inputs):
    with torch.no_grad():
        expected = model(**inputs)
        assert_same(pickle.loads(pickle.dumps(model))(**inputs), expected, atol=0)
        assert_same(copy.deepcopy(model)(**inputs), expected, atol=0)


def test_gradient_checkpointing_changes_no_gradient(inputs):
    gradients = []
    for enabled in (False, True):
        model = CLIPModel(DISTINCT, seed=3).train()
        if enabled:
            model.gradient_checkpointing_enable()
        assert model.text_model.encoder.gradient_checkpointing is enabled
        model(**(inputs | {"pixel_values": inputs["pixel_values"][:3]}), return_loss=True).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain, atol=0, rtol=0)


def test_attention_dropout_acts_in_training_only(inputs):
    config = replace(DISTINCT.text_config, attention_dropout=0.5)
    model = CLIPTextModel(config).eval()
    ids = inputs["input_ids"]
    for flags in ({}, {"output_attentions": True}):
        model.eval()
        torch.testing.assert_close(model(ids, **flags)[0], model(ids, **flags)[0], atol=0, rtol=0)
        model.train()
        assert not torch.equal(model(ids, **flags)[0], model(ids, **flags)[0])


def test_projections_are_separate_linear_layers(model):
    """The names that LoRA configurations target."""
    layers = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        assert sum(layer.endswith(f"self_attn.{name}") for layer in layers) == 5


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch: no batching rule for fused attention yet
def test_vmap_over_models_inputs(model, inputs):
    stacked = torch.stack([inputs["pixel_values"], inputs["pixel_values"].flip(0)])
    features = torch.func.vmap(model.get_image_features)(stacked)
    torch.testing.assert_close(features[1], model.get_image_features(stacked[1]), atol=1e-5, rtol=1e-4)


def test_loading_neither_needs_random_numbers_nor_changes_the_callers_arrays():
    state = torch.get_rng_state()
    weights = dict(draw_weights(DISTINCT, seed=3))
    before = {name: value.copy() for name, value in weights.items()}
    model = CLIPModel(DISTINCT, weights=weights)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert all(np.array_equal(value, before[name]) for name, value in weights.items())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_saved_model_is_loaded_in_its_dtype_or_another(tmp_path, dtype):
    model = CLIPModel(DISTINCT, seed=3, dtype=dtype)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    for name, parameter in CLIPModel.from_pretrained(tmp_path, dtype="auto").state_dict().items():
        assert torch.equal(parameter, model.state_dict()[name])
        assert parameter.dtype == getattr(torch, dtype)
    loaded = CLIPModel.from_pretrained(tmp_path)
    assert loaded.dtype == torch.float32
    assert not loaded.training


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.bfloat16])
def test_a_mask_may_have_any_dtype(model, inputs, dtype):
    with torch.no_grad():
        expected = model(**inputs)
        assert_same(model(**(inputs | {"attention_mask": inputs["attention_mask"].to(dtype)})), expected, atol=0)


def test_wrong_inputs_are_refused(model, inputs):
    with pytest.raises(InputTypeError, match="expected a torch.Tensor, got ndarray.*return_tensors='pt'"):
        model(**(inputs | {"pixel_values": inputs["pixel_values"].numpy()}))
    with pytest.raises(InputTypeError, match="expected a CLIPVisionConfig, got CLIPTextConfig"):
        CLIPVisionModelWithProjection(CLIPTextConfig())
    with pytest.raises(InputTypeError, match="dtype: expected float32, bfloat16, float16 or float64, got 'int8'"):
        CLIPModel(DISTINCT, dtype="int8")
    with pytest.raises(InputError, match="as many images as texts"):
        model(**inputs, return_loss=True)
    with pytest.raises(InputError, match="input_ids: expected 0 to 60, got"):
        model(**(inputs | {"input_ids": inputs["input_ids"] + 1000}))


def test_parts_are_called_as_in_transformers(model, inputs):
    text, ids = model.text_model, inputs["input_ids"]
    expected = text(ids, output_attentions=True, output_hidden_states=True)
    embeds = text.embeddings(inputs_embeds=text.embeddings.token_embedding(ids))
    assert torch.equal(embeds, text.embeddings(input_ids=ids))
    added = torch.full((ids.shape[1], ids.shape[1]), torch.finfo(torch.float32).min).triu(1)[None, None]
    options = {"output_attentions": True, "output_hidden_states": True, "return_dict": True}
    output = text.encoder(inputs_embeds=embeds, causal_attention_mask=added, **options)
    assert_same(output.attentions, expected.attentions)
    assert_same(output.hidden_states, expected.hidden_states)
    assert_same(text.final_layer_norm(output[0]), expected[0])
    assert_same(text.encoder(embeds, causal_attention_mask=added)[0], output[0])  # fused
    vision = model.vision_model.embeddings
    assert (vision.num_patches, vision.num_positions, vision.image_size, vision.patch_size) == (16, 17, 30, 7)
    attention = text.encoder.layers[0].self_attn
    assert (attention.num_heads, attention.head_dim, attention.embed_dim, attention.scale) == (3, 8, 24, 8**-0.5)
    assert text.encoder.layers[0].mlp.activation_fn(torch.ones(())) == pytest.approx(1 / (1 + np.exp(-1.702)))


@pytest.mark.parametrize("kinds", [(torch.bool, torch.float32), (torch.float32, torch.bool), (torch.float32,) * 2])
def test_two_masks_of_an_encoder_both_hold(model, inputs, kinds):
    length, text = inputs["input_ids"].shape[1], model.text_model
    causal = torch.ones(length, length, dtype=torch.bool).tril()[None, None]
    tokens = inputs["attention_mask"].bool()[:, None, None]
    embeds = text.embeddings(inputs["input_ids"])
    expected = text.encoder(embeds, causal & tokens)[0][inputs["attention_mask"] == 1]
    forms = {torch.bool: lambda mask: mask, torch.float32: lambda mask: (mask.float() - 1) * 1e9}
    masks = [forms[kind](mask) for kind, mask in zip(kinds, (tokens, causal), strict=True)]
    output = text.encoder(embeds, attention_mask=masks[0], causal_attention_mask=masks[1])[0]
    assert_same(output[inputs["attention_mask"] == 1], expected)


def test_parts_refuse_what_they_would_take_for_something_else(model, inputs):
    text, ids = model.text_model, inputs["input_ids"]
    for wrong in (inputs["attention_mask"], inputs["attention_mask"][:, None, None]):
        with pytest.raises(InputError, match=r"attention_mask.*expected \[batch, 1, query, key\], booleans.*got \["):
            text.encoder(text.embeddings(ids), wrong)
    with pytest.raises(InputError, match="expected input_ids or inputs_embeds, one of them"):
        text.embeddings()
    with pytest.raises(InputError, match="expected at most 11 tokens, got 12"):
        text.embeddings(inputs_embeds=torch.zeros(1, 12, 24))


@pytest.mark.parametrize("name", ["input_ids", "attention_mask", "pixel_values"])
def test_inputs_without_values_are_refused(model, inputs, name):
    with pytest.raises(InputError, match=f"{name}: lies on the meta device, which holds no values, the model on cpu"):
        model(**(inputs | {name: inputs[name].to("meta")}))
