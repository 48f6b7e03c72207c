"""The image classifier beside that of transformers: files, numbers, losses, and what a checkpoint without one gives."""

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from clip_core.errors import InputError, WeightMismatchError
from clip_core.tests.sizes import DISTINCT
from clip_torch import CLIPForImageClassification, CLIPModel, CLIPVisionModel, hf

NAMES = {0: "crane", 1: "maillot", 2: "crane"}
PIXELS = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 3, 30, 30)).astype(np.float32))
LABELS = {
    "integers": ({}, torch.tensor([2, -100, 0, 1])),
    "several": ({}, torch.tensor([[0, 1.0, 0.5]] * 3 + [[1, 1, 0]])),
    "numbers": ({"problem_type": "regression"}, torch.arange(12.0).reshape(4, 3)),
    "one number": ({"num_labels": 1}, torch.arange(4.0)),
}


@pytest.fixture
def plain(tmp_path):
    """A checkpoint of a CLIP."""
    CLIPModel(DISTINCT, seed=3).save_pretrained(tmp_path / "plain")
    return tmp_path / "plain"


@pytest.mark.parametrize("labels", LABELS)
def test_transformers_reads_it_and_gives_the_same_logits_loss_and_gradients(labels, tmp_path):
    changes, given = LABELS[labels]
    config = DISTINCT.changed({"id2label": NAMES}).changed(changes)
    model = CLIPForImageClassification(config, seed=3)
    model.save_pretrained(tmp_path)
    theirs, info = transformers.CLIPForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert theirs.config.id2label == model.config.id2label
    output, expected = (each(PIXELS, labels=given) for each in (model, theirs))
    for name in ("logits", "loss"):
        np.testing.assert_allclose(output[name].detach(), expected[name].detach(), rtol=1e-5, atol=1e-6)
    output.loss.backward()
    expected.loss.backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in model.named_parameters():
        if "post_layernorm" in name:
            assert parameter.grad is gradients[name] is None
        else:
            np.testing.assert_allclose(parameter.grad, gradients[name], rtol=1e-4, atol=1e-6)


def test_it_reads_what_transformers_wrote(tmp_path):
    config = transformers.CLIPConfig(**DISTINCT.to_dict(), id2label=NAMES)
    theirs = transformers.CLIPForImageClassification(config).eval()
    theirs.save_pretrained(tmp_path)
    model = CLIPForImageClassification.from_pretrained(tmp_path)
    assert model.config.id2label == NAMES
    with torch.no_grad():
        np.testing.assert_allclose(model(PIXELS).logits, theirs(PIXELS).logits, rtol=1e-5, atol=1e-6)
    tower, info = CLIPVisionModel.from_pretrained(tmp_path, output_loading_info=True)
    assert info["unexpected_keys"] == ["classifier.bias", "classifier.weight"]
    assert torch.equal(tower(PIXELS).last_hidden_state, model.vision_model(PIXELS).last_hidden_state)


def test_the_dtype_of_the_first_labels_decides_nothing_for_the_next():
    model = CLIPForImageClassification(DISTINCT.changed({"id2label": NAMES}))
    for given in (LABELS["integers"][1], LABELS["several"][1], LABELS["integers"][1]):
        assert model(PIXELS, labels=given).loss.isfinite()
    assert model.config.problem_type is None


def test_a_classifier_is_new_only_where_its_labels_are_said(plain):
    with pytest.raises(
        WeightMismatchError, match="(?s)classifier.bias.*missing\nA CLIP without a classifier gets a new"
    ):
        CLIPForImageClassification.from_pretrained(plain)
    said = "classifier.weight, classifier.bias are new, drawn with seed 0. Train them."
    for labels in ({"num_labels": 2}, {"id2label": NAMES}, {"config": DISTINCT.changed({"num_labels": 3})}):
        with pytest.warns(UserWarning, match=said):
            model, info = CLIPForImageClassification.from_pretrained(plain, output_loading_info=True, **labels)
        assert info["missing_keys"] == ["classifier.weight", "classifier.bias"]
        assert torch.equal(model.classifier.weight, CLIPForImageClassification(model.config).classifier.weight)
    state = CLIPModel.from_pretrained(plain).state_dict()
    with pytest.warns(UserWarning, match=said):
        again = CLIPForImageClassification.from_pretrained(config=model.config, state_dict=state)
    assert torch.equal(again(PIXELS).logits, model(PIXELS).logits)
    model.save_pretrained(plain)
    with pytest.raises(WeightMismatchError, match=r"(?s)classifier.weight \[5, 20\].*pass state_dict= without"):
        CLIPForImageClassification.from_pretrained(plain, num_labels=5)


def test_other_models_have_no_labels(plain):
    for keyword in ({"num_labels": 3}, {"id2label": NAMES}):
        with pytest.raises(InputError, match="CLIPForImageClassification has labels; triclip classifies with texts"):
            CLIPModel.from_pretrained(plain, **keyword)


def test_a_pipeline_of_transformers_takes_it_and_tells_the_names(plain, tmp_path):
    with pytest.warns(UserWarning, match="are new"):
        model = hf.CLIPForImageClassification.from_pretrained(plain, id2label={0: "grey", 1: "red"})
    assert isinstance(model, transformers.CLIPForImageClassification)
    own = model.as_own()
    processor = hf.CLIPImageProcessor(size={"shortest_edge": 30}, crop_size=30)
    classify = transformers.pipeline("image-classification", model=model, image_processor=processor)
    image = Image.new("RGB", (40, 30), (90, 90, 90))
    found = classify(image)
    assert {each["label"] for each in found} == {"grey", "red"}
    pixels = processor(image, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = own(pixels).logits.softmax(-1)[0].max()
    assert abs(found[0]["score"] - float(expected)) < 1e-6
