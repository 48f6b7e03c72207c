"""Zero-shot classifiers of models, with PyTorch; the other backends are in test_encoder."""

from typing import Any

import numpy as np
import pytest
import torch

import triclip
from clip_core import CLIPTokenizer, CLIPTokenizerFast
from clip_core.errors import InputError, InputTypeError, NonFiniteError
from clip_torch import CLIPModel, CLIPTextModel
from triclip import build_zero_shot_classifier
from triclip.tests.conftest import CONTEXT

LABELS = ["cat", "small dog", "bird"]
TEMPLATES = ("a {}", "{}, a {}!")


@pytest.fixture(scope="module")
def model(checkpoint: str) -> CLIPModel:
    return CLIPModel.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def tokenizer(checkpoint: str) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(checkpoint)


def features(model: CLIPModel, tokenizer: CLIPTokenizer, texts: list[str]) -> np.ndarray:
    """Unit vectors, texts padded to the whole context, as they are computed elsewhere."""
    inputs = tokenizer(texts, padding="max_length", max_length=CONTEXT, return_tensors="pt")
    with torch.inference_mode():
        found = model.get_text_features(inputs["input_ids"], inputs["attention_mask"]).numpy()
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_a_row_is_the_normalised_mean_of_unit_vectors(model: CLIPModel, tokenizer: CLIPTokenizer) -> None:
    head = build_zero_shot_classifier(model, tokenizer, LABELS, TEMPLATES, batch_size=4)
    assert (head.dtype, head.shape) == (np.float32, (3, 24))
    for label, row in zip(LABELS, head, strict=True):
        mean = features(model, tokenizer, [template.replace("{}", label) for template in TEMPLATES]).mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)


def test_each_label_may_have_texts_of_its_own(model: CLIPModel, tokenizer: CLIPTokenizer) -> None:
    own = {"bird": "a {} in the air", "cat": ["it purrs"], "dog": ["it barks", "a {}", "woof"]}
    head = build_zero_shot_classifier(model, tokenizer, ["cat", "dog", "bird"], own, batch_size=2)
    for row, texts in zip(head, (["it purrs"], ["it barks", "a dog", "woof"], ["a bird in the air"]), strict=True):
        mean = features(model, tokenizer, texts).mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)


def test_a_label_that_comes_twice_has_two_rows(model: CLIPModel, tokenizer: CLIPTokenizer) -> None:
    head = build_zero_shot_classifier(model, tokenizer, ["cat", "dog", "cat"])
    np.testing.assert_array_equal(head[0], head[2])
    assert abs(head[0] - head[1]).max() > 1e-3


def test_progress_counts_texts(model: CLIPModel, tokenizer: CLIPTokenizer) -> None:
    counts: list[int] = []
    build_zero_shot_classifier(model, tokenizer, LABELS, TEMPLATES, batch_size=4, advance=counts.append)
    assert counts == [4, 2]


def test_an_encoder_needs_no_tokenizer(checkpoint: str, model: CLIPModel, tokenizer: CLIPTokenizer) -> None:
    head = build_zero_shot_classifier(triclip.load(checkpoint, "torch", "cpu"), None, LABELS, TEMPLATES)
    np.testing.assert_allclose(head, build_zero_shot_classifier(model, tokenizer, LABELS, TEMPLATES), atol=1e-6)


def test_the_model_may_be_in_training_unless_it_drops(checkpoint: str, tokenizer: CLIPTokenizer) -> None:
    model = CLIPModel.from_pretrained(checkpoint).train()
    build_zero_shot_classifier(model, tokenizer, "cat")
    assert model.training
    dropping = CLIPModel.from_pretrained(checkpoint, text_config={"attention_dropout": 0.5}).train()
    with pytest.raises(InputError, match=r"Call model\.eval\(\)"):
        build_zero_shot_classifier(dropping, tokenizer, "cat")


LONG = "a" * 100


@pytest.mark.parametrize(
    ("labels", "templates", "error", "message"),
    [
        ([], "{}", InputError, "labels: expected at least one"),
        (["cat", " "], "{}", InputError, "labels: expected texts, label 1 is empty"),
        (["cat", 3], "{}", InputTypeError, "labels: expected a string or a list of strings, got 3"),
        ("cat", [], InputError, "templates: expected at least one"),
        ("cat", ["a {}", "a {c}"], InputError, r"template 'a \{c\}': expected \{\} where the label goes"),
        ("cat", ["a {}", "{}", "a {}"], InputError, r"templates: 'a \{\}' is there twice and would count double"),
        ("cat", [lambda label: f"a {label}"], InputTypeError, r"got a function.*template\('\{\}'\)"),
        (
            "cat",
            {"cat": ["mew"], "dog": ["woof"]},
            InputError,
            "for each of the labels and no others, got some for 'dog'",
        ),
        (["cat", "cow"], {"cat": ["mew"]}, InputError, "for each of the labels and no others, got none for 'cow'"),
        ("cat", {"cat": []}, InputError, "texts of 'cat': expected at least one"),
        ("cat", {"cat": ["mew", ""]}, InputError, "texts of 'cat': expected no empty text"),
        ("cat", {"cat": ["mew", "mew"]}, InputError, "texts of 'cat': 'mew' is there twice"),
        ("cat", {"cat": [1]}, InputTypeError, "texts of 'cat': expected a string or a list of strings"),
        (["cat", LONG], "a {}", InputError, f"texts: expected at most {CONTEXT} tokens, got .* in text 1, 'a aaa"),
    ],
)
def test_what_makes_no_head_is_an_error(
    model: CLIPModel, tokenizer: CLIPTokenizer, labels: Any, templates: Any, error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        build_zero_shot_classifier(model, tokenizer, labels, templates)


def test_texts_that_are_too_long_are_cut_if_they_may_be(model: CLIPModel, tokenizer: CLIPTokenizer) -> None:
    cut = build_zero_shot_classifier(model, tokenizer, LONG, "{}", truncate=True)
    np.testing.assert_allclose(
        cut, build_zero_shot_classifier(model, tokenizer, "a" * 60, "{}", truncate=True), atol=1e-6
    )


def test_what_is_no_model_or_tokenizer_is_an_error(checkpoint: str, model: CLIPModel, tokenizer: CLIPTokenizer) -> None:
    tower = CLIPTextModel(model.config.text_config)
    for other in (None, torch.nn.Linear(2, 3), tower):
        with pytest.raises(InputTypeError, match=f"or an Encoder, got a {type(other).__name__}"):
            build_zero_shot_classifier(other, tokenizer, "cat")
    with pytest.raises(InputTypeError, match="tokenizer: expected that of the model's checkpoint, got None"):
        build_zero_shot_classifier(model, None, "cat")
    encoder = triclip.load(checkpoint, "torch", "cpu")
    with pytest.raises(InputTypeError, match="expected None with an Encoder"):
        build_zero_shot_classifier(encoder, CLIPTokenizerFast.from_pretrained(checkpoint), "cat")


def test_a_model_that_makes_no_numbers_is_an_error(checkpoint: str, tokenizer: CLIPTokenizer) -> None:
    broken = CLIPModel.from_pretrained(checkpoint)
    with torch.no_grad():
        broken.text_projection.weight.fill_(torch.nan)
    with pytest.raises(NonFiniteError, match="768 of 768 numbers of the weight text_projection.weight"):
        build_zero_shot_classifier(broken, tokenizer, "cat")


def test_a_subclass_computes_as_itself(model: CLIPModel, tokenizer: CLIPTokenizer) -> None:
    class Half(CLIPModel):
        def get_text_features(self, *arguments: Any, **named: Any) -> Any:
            return torch.flip(super().get_text_features(*arguments, **named), (1,))

    half = Half(model.config)
    half.load_state_dict(model.state_dict())
    wanted = build_zero_shot_classifier(model, tokenizer, "cat")[:, ::-1]
    np.testing.assert_allclose(build_zero_shot_classifier(half, tokenizer, "cat"), wanted, atol=1e-6)
