"""The keywords of `from_pretrained` that only torch has."""

import pytest
import torch

from clip_core.errors import InputError, InputTypeError, WeightMismatchError
from clip_core.tests.sizes import DISTINCT
from clip_torch import CLIPModel, CLIPTextModel


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    directory = tmp_path_factory.mktemp("checkpoint")
    CLIPModel(DISTINCT, seed=3).save_pretrained(directory)
    return directory


@pytest.mark.parametrize("device_map", ["cpu", torch.device("cpu"), {"": "cpu"}, {"": torch.device("cpu")}, "auto"])
def test_a_device_map_of_one_device_places_the_model(checkpoint, device_map):
    model = CLIPModel.from_pretrained(checkpoint, device_map=device_map, torch_dtype=torch.float16)
    expected = torch.accelerator.current_accelerator() if device_map == "auto" else None
    assert model.device.type == (expected or torch.device("cpu")).type
    assert model.dtype == torch.float16
    assert not model.training


def test_a_device_map_goes_before_the_default_device(checkpoint):
    with torch.device("meta"):
        assert CLIPModel.from_pretrained(checkpoint, device_map="cpu").device.type == "cpu"


@pytest.mark.parametrize(
    ("device_map", "error", "message"),
    [
        ({"text_model": "cpu", "vision_model": "cpu"}, InputTypeError, "expected one device, got {'text_model'"),
        (True, InputTypeError, "expected one device"),
        ("balanced", InputError, "device_map: got 'balanced'.*one device: 'cpu'"),
        ("meta", InputError, "'meta' holds no weights"),
        ("cuda:99", InputError, "device_map: got 'cuda:99'"),
    ],
)
def test_other_device_maps_are_refused(checkpoint, device_map, error, message):
    with pytest.raises(error, match=message):
        CLIPModel.from_pretrained(checkpoint, device_map=device_map)


def test_eager_attention_is_one_operation_after_the_other_and_sdpa_is_not(checkpoint, monkeypatch):
    ids = torch.randint(0, 58, (3, 9), generator=torch.Generator().manual_seed(0))
    ids[:, 6] = DISTINCT.text_config.eos_token_id
    fused = CLIPTextModel.from_pretrained(checkpoint, attn_implementation="sdpa")
    eager = CLIPTextModel.from_pretrained(checkpoint, attn_implementation="eager")
    with torch.no_grad():
        expected = fused(ids, output_attentions=True)
        torch.testing.assert_close(fused(ids)[0], expected[0])
        monkeypatch.delattr("torch.nn.functional.scaled_dot_product_attention")
        assert torch.equal(eager(ids)[0], expected[0])
        assert eager(ids).attentions is None
        assert torch.equal(eager(ids, output_attentions=True).attentions[1], expected.attentions[1])
        with pytest.raises(AttributeError, match="scaled_dot_product_attention"):
            fused(ids)
    with pytest.raises(InputError, match="expected 'sdpa' or 'eager', got 'flash_attention_2'"):
        CLIPTextModel.from_pretrained(checkpoint, attn_implementation="flash_attention_2")


def test_a_state_dict_of_tensors_stands_in_for_the_weights(checkpoint):
    state = CLIPModel(DISTINCT, seed=5, dtype="bfloat16").state_dict()
    model = CLIPModel.from_pretrained(checkpoint, state_dict=state, dtype="auto")
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
    with pytest.raises(InputTypeError, match="expected a mapping from names to NumPy arrays, got list"):
        CLIPModel.from_pretrained(checkpoint, state_dict=[1])


def test_a_state_dict_is_resampled_as_a_checkpoint_is(checkpoint):
    vision = DISTINCT.vision_config
    size = vision.image_size + vision.patch_size
    state = CLIPModel.from_pretrained(checkpoint).state_dict()
    from_state = CLIPModel.from_pretrained(checkpoint, state_dict=state, image_size=size).state_dict()
    from_file = CLIPModel.from_pretrained(checkpoint, image_size=size).state_dict()
    assert all(torch.equal(value, from_file[name]) for name, value in from_state.items())
    with pytest.raises(WeightMismatchError, match=r"To resample their positions, pass image_size= or"):
        CLIPModel.from_pretrained(checkpoint, vision_config={"image_size": size})
