"""The ResNet tower in PyTorch's own surroundings; its numbers are the ladder's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

from clip_core.errors import InputError
from clip_core.tests.sizes import RESNET
from clip_core.weights import weight_specs
from clip_torch import CLIPModel, CLIPVisionModel, CLIPVisionModelWithProjection, hf

VISION = RESNET.vision_config
SMALL = replace(VISION, stage_depths=(1, 1, 1, 1), hidden_size=64, num_attention_heads=2)
"""For what takes torch long to trace."""


def pixels(batch=2, size=(96, 96)):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """With statistics that are not those of a new model."""
    model = CLIPModel(RESNET, seed=3).train()
    with torch.no_grad():
        for _ in range(3):
            model.get_image_features(pixels())
    directory = tmp_path_factory.mktemp("resnet")
    model.save_pretrained(directory)
    return directory


def test_state_dict_has_the_names_of_the_table():
    assert set(CLIPModel(RESNET).state_dict()) == {spec.name for spec in weight_specs(RESNET)}


def test_what_is_loaded_evaluates_and_keeps_its_statistics(checkpoint):
    model = CLIPModel.from_pretrained(checkpoint)
    before = {name: value.clone() for name, value in model.named_buffers()}
    assert int(before["vision_model.layer4.2.bn3.num_batches_tracked"]) == 3
    model.get_image_features(pixels())
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())


def test_statistics_are_no_parameters():
    model = CLIPVisionModelWithProjection(VISION)
    specs = weight_specs(VISION, projection=True)
    assert {name for name, _ in model.named_parameters()} == {spec.name for spec in specs if spec.is_parameter}
    expected = sum(int(np.prod(spec.shape)) for spec in specs if spec.is_parameter)
    assert model.num_parameters() == model.num_parameters(only_trainable=True) == expected
    positions = model.vision_model.attnpool.positional_embedding
    assert model.num_parameters(exclude_embeddings=True) == expected - positions.numel()


def test_input_layer_is_the_first_convolution():
    model = CLIPVisionModel(VISION)
    assert model.get_input_embeddings() is model.vision_model.conv1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_trains_and_its_statistics_are_float32(checkpoint, dtype):
    """Also after ``half()``, which narrows them, and which PyTorch's own kernels would refuse or mix."""
    exact = CLIPVisionModel.from_pretrained(checkpoint).train()
    exact(pixels())
    kept = CLIPVisionModel.from_pretrained(checkpoint, dtype=dtype).train()
    narrow = CLIPVisionModel.from_pretrained(checkpoint).to(dtype).train()
    for model in (kept, narrow):
        model(pixels()).pooler_output.sum().backward()
        assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
        for name, value in model.named_buffers():
            expected = exact.get_buffer(name)
            if name.endswith("num_batches_tracked"):
                assert value.dtype == torch.int64
                assert value == expected == 4
            else:
                assert value.dtype == (torch.float32 if model is kept else dtype)
                assert (value - expected).abs().max() < 0.1 * expected.abs().max(), name


def test_what_was_saved_in_half_precision_is_what_is_loaded(checkpoint, tmp_path):
    model = CLIPModel.from_pretrained(checkpoint, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path)
    loaded = CLIPModel.from_pretrained(tmp_path, dtype="auto")
    assert loaded.dtype == torch.bfloat16
    for name, value in model.state_dict().items():
        assert loaded.state_dict()[name].dtype == value.dtype
        assert torch.equal(loaded.state_dict()[name], value)


def test_both_ways_of_attention_agree(checkpoint):
    model = CLIPVisionModel.from_pretrained(checkpoint)
    fused = model(pixels()).pooler_output
    model.set_attn_implementation("eager")
    assert not model.vision_model.attnpool.fused_attention
    torch.testing.assert_close(model(pixels()).pooler_output, fused, rtol=1e-5, atol=1e-6)


def test_an_export_takes_images_of_any_number_and_size():
    model = CLIPVisionModelWithProjection(SMALL).eval()
    open_axes = dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO)
    program = torch.export.export(
        model,
        (),
        {"pixel_values": pixels(3, (128, 160)), "interpolate_pos_encoding": True},
        dynamic_shapes={"pixel_values": open_axes, "interpolate_pos_encoding": None},
    )
    for batch, size in ((2, (96, 96)), (4, (160, 97)), (1, (200, 64))):
        images = pixels(batch, size)
        expected = model(images, interpolate_pos_encoding=True).image_embeds
        got = program.module()(pixel_values=images, interpolate_pos_encoding=True).image_embeds
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("recomputed", [False, True])
def test_a_compiled_model_trains_its_statistics(recomputed):
    eager, compiled = (CLIPVisionModel(SMALL).train() for _ in range(2))
    if recomputed:
        compiled.gradient_checkpointing_enable()
    eager(pixels()).pooler_output.sum().backward()
    torch.compile(compiled, backend="aot_eager")(pixels()).pooler_output.sum().backward()
    for name, value in eager.named_buffers():
        torch.testing.assert_close(compiled.get_buffer(name), value, rtol=1e-4, atol=1e-5, msg=name)
    for name, value in eager.named_parameters():
        scale = float(value.grad.abs().max()) or 1.0
        assert (compiled.get_parameter(name).grad - value.grad).abs().max() <= 1e-3 * scale, name


def test_torch_makes_its_statistics_those_of_all_processes(checkpoint):
    model = CLIPVisionModel.from_pretrained(checkpoint)
    expected = model(pixels()).pooler_output
    synchronised = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert isinstance(synchronised.vision_model.bn1, torch.nn.SyncBatchNorm)
    torch.testing.assert_close(synchronised(pixels()).pooler_output, expected, rtol=1e-5, atol=1e-6)
    assert set(synchronised.named_weights()) == {spec.name for spec in weight_specs(VISION)}


def test_classes_for_transformers_refuse_it(checkpoint):
    theirs = transformers.CLIPVisionConfig.from_dict(VISION.to_dict())
    for load in (lambda: hf.CLIPModel.from_pretrained(checkpoint), lambda: hf.CLIPVisionModel(theirs)):
        with pytest.raises(InputError, match=r"transformers has no ResNet towers .* Load it with clip_torch\.CLIP"):
            load()
