"""Heads that are saved come back whole, for their own model only."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import triclip
from clip_core import CLIPTokenizer
from clip_core.checkpoint.safetensors_file import SafetensorsFile, write_safetensors
from clip_core.errors import (
    CheckpointError,
    CheckpointFormatError,
    CheckpointNotFoundError,
    InputError,
    WeightMismatchError,
)
from clip_torch import CLIPModel
from triclip import ZeroShotHead
from triclip.model_digest import model_digest
from triclip.tests.conftest import changed_copy

LABELS = ["cat", "dög", "cat"]


@pytest.fixture(scope="module")
def model(checkpoint: str) -> CLIPModel:
    return CLIPModel.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def head(checkpoint: str, model: CLIPModel) -> ZeroShotHead:
    return ZeroShotHead.build(model, CLIPTokenizer.from_pretrained(checkpoint), LABELS, ("a {}", "{}!"))


@pytest.mark.parametrize("templates", [["a {}", "{}!"], {"cat": ["purrs"], "dög": ["bellt", "a {}"]}])
def test_a_head_comes_back_whole(checkpoint: str, model: CLIPModel, tmp_path: Path, templates: Any) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(checkpoint)
    made = ZeroShotHead.build(model, tokenizer, LABELS, templates)
    made.save(tmp_path / "new" / "head.safetensors")
    encoder = triclip.load(checkpoint, "torch", "cpu")
    for other in (model, encoder):
        found = ZeroShotHead.load(tmp_path / "new" / "head.safetensors", other)
        np.testing.assert_array_equal(found.vectors, made.vectors)
        assert (found.labels, found.templates, found.digest) == (LABELS, templates, made.digest)
    np.testing.assert_allclose(made.vectors, encoder.encode_labels(LABELS, templates), atol=1e-6)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["head.safetensors"]


def changed(checkpoint: str, name: str, value: float) -> CLIPModel:
    model = CLIPModel.from_pretrained(checkpoint)
    with torch.no_grad():
        dict(model.named_parameters())[name].view(-1)[0] = value
    return model


@pytest.mark.parametrize(
    "other",
    [
        lambda checkpoint: changed(checkpoint, "text_model.final_layer_norm.bias", 0.125),
        lambda checkpoint: changed(checkpoint, "visual_projection.weight", 0.125),
        lambda checkpoint: CLIPModel.from_pretrained(checkpoint, text_config={"hidden_act": "gelu"}),
        lambda checkpoint: CLIPModel.from_pretrained(checkpoint, vision_config={"layer_norm_eps": 1e-6}),
        lambda checkpoint: CLIPModel.from_pretrained(checkpoint, text_config={"num_attention_heads": 2}),
        lambda checkpoint: CLIPModel.from_pretrained(checkpoint, dtype="bfloat16"),
    ],
    ids=["text weight", "image weight", "activation", "eps", "heads", "dtype"],
)
def test_the_head_of_another_model_is_refused(checkpoint: str, head: ZeroShotHead, tmp_path: Path, other: Any) -> None:
    head.save(tmp_path / "h.safetensors")
    model = other(checkpoint)
    message = f"expected a head of this model, sha256 {model_digest(model)}, got one of the model sha256 {head.digest}"
    with pytest.raises(InputError, match=message):
        ZeroShotHead.load(tmp_path / "h.safetensors", model)


def test_what_no_vector_depends_on_changes_no_digest(checkpoint: str, head: ZeroShotHead, tmp_path: Path) -> None:
    settings = {"attention_dropout": 0.5, "initializer_range": 0.5, "output_attentions": True}
    assert model_digest(CLIPModel.from_pretrained(checkpoint, text_config=settings)) == head.digest
    assert model_digest(CLIPModel.from_pretrained(checkpoint, dtype="float64")) != head.digest
    CLIPModel.from_pretrained(checkpoint, dtype="bfloat16").save_pretrained(tmp_path)  # now the weights are rounded
    narrow, wide = (model_digest(CLIPModel.from_pretrained(tmp_path, dtype=dtype)) for dtype in ("bfloat16", "float32"))
    assert narrow == wide != head.digest


class Adapted(torch.nn.Linear):
    """As libraries of adapters wrap a layer: the weight is there, and more."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=False)
        self.weight = layer.weight
        self.adapter = torch.nn.Parameter(torch.ones(layer.out_features))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return super().forward(values) + self.adapter


def test_a_model_with_an_adapter_has_no_head_to_keep(checkpoint: str) -> None:
    model = CLIPModel.from_pretrained(checkpoint)
    model.text_projection = Adapted(model.text_projection)
    counts: list[int] = []
    with pytest.raises(
        WeightMismatchError, match=r"has no digest, since no.*\n.*adapter \[24\](.*\n)*.*Merge adapters"
    ):
        ZeroShotHead.build(model, CLIPTokenizer.from_pretrained(checkpoint), "cat", advance=counts.append)
    assert not counts


def rewritten(head: ZeroShotHead, path: Path, tensors: dict[str, Any], **metadata: str) -> None:
    head.save(path)
    kept = SafetensorsFile(path).metadata
    layout = {name: (value.dtype, value.shape) for name, value in tensors.items()}
    write_safetensors(path, layout, tensors.items(), {**kept, **metadata})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: {"label_embeds": np.where(v == v[1, 1], np.float32("nan"), v)}, "label 1, 'dög', has nan"),
        (lambda v: {"label_embeds": 2 * v}, "expected length 1, that of label 0, 'cat', has 2"),
        (lambda v: {"label_embeds": v[:2]}, r"expected float32 \[3, embed\], got float32 \[2, 24\]"),
        (lambda v: {"label_embeds": v.astype(np.float16)}, r"expected float32 \[3, embed\], got float16"),
        (lambda v: {"label_embeds": np.eye(3, 25, dtype=np.float32)}, r"expected vectors \[3, 24\], got \[3, 25\]"),
        (lambda v: {"vectors": v}, "the tensor 'label_embeds' alone"),
        (lambda v: {"label_embeds": v, "more": v}, "the tensor 'label_embeds' alone"),
    ],
)
def test_vectors_that_cannot_be_are_refused(
    model: CLIPModel, head: ZeroShotHead, tmp_path: Path, change: Any, message: str
) -> None:
    rewritten(head, tmp_path / "h.safetensors", change(head.vectors))
    with pytest.raises(CheckpointFormatError, match=message):
        ZeroShotHead.load(tmp_path / "h.safetensors", model)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"labels": '["cat", "dog"]'}, r"expected float32 \[2, embed\], got float32 \[3, 24\]"),
        ({"labels": '["cat", "dog", ""]'}, "label 2 is empty"),
        ({"labels": '["cat", "dog", 3]'}, "labels: expected a string or a list of strings, got 3"),
        ({"labels": '"cat"'}, "expected a list of labels"),
        ({"labels": "[cat"}, "not a whole zero-shot head"),
        ({"labels": "[" * 100_000}, "not a whole zero-shot head"),
        ({"templates": '["a photo"]'}, "expected {} where the label goes"),
        ({"templates": '{"cat": ["x"]}'}, "got none for 'dög'"),
        ({"version": "2"}, "expected a head of version 1, got '2'"),
        ({"kind": "something else"}, "expected a zero-shot head, got a safetensors file that is none"),
    ],
)
def test_descriptions_that_cannot_be_are_refused(
    model: CLIPModel, head: ZeroShotHead, tmp_path: Path, metadata: dict[str, str], message: str
) -> None:
    rewritten(head, tmp_path / "h.safetensors", {"label_embeds": head.vectors}, **metadata)
    with pytest.raises(CheckpointFormatError, match=message):
        ZeroShotHead.load(tmp_path / "h.safetensors", model)


def test_a_file_that_is_cut_or_another_is_refused(
    checkpoint: str, model: CLIPModel, head: ZeroShotHead, tmp_path: Path
) -> None:
    file = tmp_path / "h.safetensors"
    head.save(file)
    content = file.read_bytes()
    for size in (0, 7, 100, len(content) - 1):
        file.write_bytes(content[:size])
        with pytest.raises(CheckpointFormatError, match="not a whole safetensors file"):
            ZeroShotHead.load(file, model)
    with pytest.raises(CheckpointFormatError, match="expected a zero-shot head, got a safetensors file that is none"):
        ZeroShotHead.load(Path(checkpoint) / "model.safetensors", model)
    with pytest.raises(CheckpointNotFoundError, match="no such file"):
        ZeroShotHead.load(tmp_path / "gone", model)


def test_a_head_is_replaced_and_nothing_else(checkpoint: str, head: ZeroShotHead, tmp_path: Path) -> None:
    head.save(tmp_path / "h.safetensors")
    replace(head, labels=["a", "b", "c"]).save(tmp_path / "h.safetensors")
    assert json.loads(SafetensorsFile(tmp_path / "h.safetensors").metadata["labels"]) == ["a", "b", "c"]
    weights = Path(shutil.copy(f"{checkpoint}/model.safetensors", tmp_path))
    before = weights.read_bytes()
    for place, message in ((weights, "is there and is no zero-shot head"), (tmp_path, "got a directory")):
        with pytest.raises(CheckpointError, match=message):
            head.save(place)
    with pytest.raises(CheckpointError, match="cannot be written: nothing can be made in"):
        head.save(weights / "below" / "h.safetensors")
    assert weights.read_bytes() == before


def test_a_head_whose_labels_were_changed_replaces_nothing(head: ZeroShotHead, tmp_path: Path) -> None:
    head.save(tmp_path / "h.safetensors")
    before = (tmp_path / "h.safetensors").read_bytes()
    changed = replace(head, labels=list(head.labels))
    changed.labels.append("d")
    with pytest.raises(InputError, match=r"vectors: expected float32 \[4, embed\], got float32 \[3, "):
        changed.save(tmp_path / "h.safetensors")
    assert (tmp_path / "h.safetensors").read_bytes() == before


def test_more_description_than_can_be_read_again_is_refused(head: ZeroShotHead, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected at most 9,000,000 bytes, got"):
        replace(head, labels=["a", "b", "c" * 9_000_000]).save(tmp_path / "h.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_changed_checkpoint_is_another_model(checkpoint: str, head: ZeroShotHead, tmp_path: Path) -> None:
    other = triclip.load(changed_copy(checkpoint, tmp_path / "other", {"logit_scale": 1.0}), "torch", "cpu")
    assert other.digest() != head.digest


def test_a_model_of_transformers_over_ours_is_the_same_model(checkpoint: str, head: ZeroShotHead) -> None:
    from clip_torch import hf

    tokenizer = CLIPTokenizer.from_pretrained(checkpoint)
    found = ZeroShotHead.build(hf.CLIPModel.from_pretrained(checkpoint), tokenizer, LABELS, ("a {}", "{}!"))
    np.testing.assert_allclose(found.vectors, head.vectors, atol=1e-6)
    assert found.digest == head.digest
