"""The encoder: in this process with PyTorch, and with each backend in a process of its own."""

import subprocess
import sys
import tarfile
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pytest
from PIL import Image

import triclip
from clip_core.backends import BACKENDS
from clip_core.errors import BackendError, CheckpointNotFoundError, ImageError, InputError, InputTypeError
from triclip import encoder as encoder_module
from triclip.tests.conftest import CONTEXT, draw_picture
from triclip.text_encoder import TextEncoder


@pytest.fixture(scope="module")
def encoder(checkpoint: str) -> triclip.Encoder:
    return triclip.load(checkpoint, "torch", device="cpu")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of each backend, what `encode_samples` writes."""
    directory = tmp_path_factory.mktemp("samples")
    for backend in BACKENDS:
        command = [sys.executable, "-m", "triclip.tests.encode_samples", backend, str(directory / f"{backend}.npz")]
        subprocess.run(command, check=True)
    return {backend: dict(np.load(directory / f"{backend}.npz")) for backend in BACKENDS}


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_backend_gives_its_models_own_features_and_logits(samples: dict[str, Any], backend: str) -> None:
    found = samples[backend]
    for kind in ("image", "text"):
        features, own = found[f"{kind} features"], found[f"model's {kind} features"]
        np.testing.assert_allclose(features, own, atol=1e-5)
        unit = own / np.linalg.norm(own, axis=-1, keepdims=True)
        np.testing.assert_allclose(found[f"{kind}s"], unit, atol=1e-5)
    np.testing.assert_allclose(found["logits"], found["model's logits"], atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_give_the_same_vectors(samples: dict[str, Any], backend: str) -> None:
    for name in ("images", "texts"):
        np.testing.assert_allclose(samples[backend][name], samples["torch"][name], atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_vectors_are_float32_of_unit_length_in_every_dtype(samples: dict[str, Any], backend: str) -> None:
    found = samples[backend]
    for name, exact in (("images", "images"), ("texts", "texts"), ("bfloat16", "images"), ("float16", "texts")):
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(found[name], axis=-1), 1, atol=1e-6)
        cosines = (found[name] * found[exact][: len(found[name])]).sum(axis=-1)
        assert cosines.min() > 0.999


def test_encoded_images_are_the_models_features_at_unit_length(
    encoder: triclip.Encoder, checkpoint: str, tmp_path: Path
) -> None:
    import torch

    from clip_core import CLIPProcessor
    from clip_torch import CLIPModel

    paths = [draw_picture(tmp_path / f"{seed}.png", seed) for seed in (1, 2, 3)]
    embeds = encoder.encode_images(paths)
    inputs = CLIPProcessor.from_pretrained(checkpoint)(
        images=[Image.open(path) for path in paths], text=["a cat", "dog"], padding=True, return_tensors="pt"
    )
    with torch.inference_mode():
        wanted = CLIPModel.from_pretrained(checkpoint)(**inputs)
    assert embeds.dtype == np.float32
    np.testing.assert_allclose(embeds, wanted.image_embeds.numpy(), atol=1e-6)
    text_embeds = encoder.encode_texts(["a cat", "dog"], batch_size=1)
    np.testing.assert_allclose(text_embeds, wanted.text_embeds.numpy(), atol=1e-6)
    logits = encoder.logits(embeds, text_embeds)
    np.testing.assert_allclose(logits, wanted.logits_per_image.numpy(), atol=1e-5)
    scale = np.exp(CLIPModel.from_pretrained(checkpoint).logit_scale.item())
    np.testing.assert_allclose(encoder.similarity(paths, ["a cat", "dog"]) * scale, logits, atol=1e-5)


def test_an_image_may_be_a_path_a_string_an_image_or_an_array(encoder: triclip.Encoder, tmp_path: Path) -> None:
    path = draw_picture(tmp_path / "p.png", 1)
    image = Image.open(path)
    pixels = np.asarray(image)
    one = encoder.encode_images(path)
    assert one.shape == (1, encoder.embed_dim)
    for given in (str(path), image, pixels, [path], (image,), pixels[None]):
        np.testing.assert_array_equal(encoder.encode_images(given), one)
    several = encoder.encode_images([path, str(path), image, pixels], batch_size=4)
    np.testing.assert_allclose(several, np.repeat(one, 4, axis=0), atol=1e-6)


def test_pictures_that_share_a_file_are_decoded_one_after_the_other(
    encoder: triclip.Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members of an archive move its place: in threads one would be read from the midst of another."""
    paths = [draw_picture(tmp_path / f"{seed}.png", seed) for seed in (1, 2, 3)]
    wanted = encoder.encode_images(paths)
    with tarfile.open(tmp_path / "pictures.tar", "w") as archive:
        for path in paths:
            archive.add(path, path.name)
    monkeypatch.setattr("clip_core.image.many.ThreadPoolExecutor", None)
    with tarfile.open(tmp_path / "pictures.tar") as archive:
        members = [Image.open(cast(IO[bytes], archive.extractfile(path.name))) for path in paths]
        np.testing.assert_allclose(encoder.encode_images(members), wanted, atol=1e-6)
    one = Image.open(paths[0])
    np.testing.assert_allclose(encoder.encode_images([one, one]), wanted[[0, 0]], atol=1e-6)


@pytest.mark.parametrize("device", ["cpu", "/CPU:0"])
def test_weights_of_torch_stay_in_their_file_on_the_cpu(checkpoint: str, device: str) -> None:
    model = triclip.load(checkpoint, "torch", device)._engine.model
    assert len(model.mapped.held()) == len(list(model.parameters()))


def test_a_single_text_gives_one_row(encoder: triclip.Encoder) -> None:
    one = encoder.encode_texts("a cat")
    assert one.shape == (1, encoder.embed_dim)
    np.testing.assert_allclose(one, encoder.encode_texts(["a cat", "a longer text"])[:1], atol=1e-6)


def test_features_are_what_unit_vectors_are_made_of(encoder: triclip.Encoder) -> None:
    features = encoder.encode_texts(["a cat", "dog"], normalize=False)
    lengths = np.linalg.norm(features, axis=-1, keepdims=True)
    assert abs(lengths - 1).min() > 0.01
    np.testing.assert_allclose(features / lengths, encoder.encode_texts(["a cat", "dog"]), atol=1e-6)


def test_vectors_of_any_length_have_the_same_logits(encoder: triclip.Encoder) -> None:
    images, texts = np.random.default_rng(0).standard_normal((2, 5, encoder.embed_dim), np.float32)
    np.testing.assert_allclose(encoder.logits(3 * images, texts), encoder.logits(images, texts / 2), atol=1e-5)
    assert encoder.similarity(images[0], texts).shape == (1, 5)
    assert abs(encoder.similarity(images, images).diagonal() - 1).max() < 1e-6


def test_labels_are_the_mean_of_their_templates(encoder: triclip.Encoder, tmp_path: Path) -> None:
    mean = encoder.encode_texts(["a photo of a cat", "cat!"]).mean(axis=0)
    labels = encoder.encode_labels(["dog", "cat"], ("a photo of a {}", "{}!"))
    np.testing.assert_allclose(labels[1], mean / np.linalg.norm(mean), atol=1e-6)
    picture = draw_picture(tmp_path / "p.png", 1)
    probabilities = encoder.classify([picture, picture], ["dog", "cat"], ("a photo of a {}", "{}!"))
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (2, 2))
    odds = np.exp(encoder.logits(picture, labels)[0])
    np.testing.assert_allclose(probabilities[0], odds / odds.sum(), atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_head_of_a_model_is_that_of_its_encoder_in_every_backend(samples: dict[str, Any], backend: str) -> None:
    found = samples[backend]
    np.testing.assert_allclose(found["model's head"], found["head"], atol=1e-6)
    np.testing.assert_allclose(found["head"], samples["torch"]["head"], atol=1e-5)
    assert found["digest"] == found["model's digest"] == samples["torch"]["digest"]


def test_texts_are_computed_in_the_order_of_their_lengths_and_given_in_their_own(encoder: triclip.Encoder) -> None:
    texts = ["a cat and a dog", "a", "cat on a mat", "b", "a dog"]
    shapes = []

    class Spy:
        def __getattr__(self, name: str) -> Any:
            return getattr(encoder._engine, name)

        def text_features(self, ids: Any, mask: Any) -> Any:
            shapes.append(ids.shape)
            assert (ids[:, -1] == encoder.config.text_config.eos_token_id).any()
            assert mask is None
            return encoder._engine.text_features(ids, mask)

    vectors = TextEncoder(Spy(), encoder.processor.tokenizer).encode(texts, batch_size=2)
    assert [rows for rows, _ in shapes] == [2, 2, 1]
    lengths = [length for _, length in shapes]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > lengths[-1]
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_allclose(vector, encoder.encode_texts(text)[0], atol=1e-6)


def test_a_text_has_the_same_vector_when_it_is_padded_to_the_whole_context(encoder: triclip.Encoder) -> None:
    texts = ["a", "a cat", "a cat and a dog"]
    whole = encoder.processor.tokenizer(texts, padding="max_length", max_length=CONTEXT, return_tensors="np")
    padded = encoder._engine.text_features(whole["input_ids"], whole["attention_mask"])
    unmasked = encoder._engine.text_features(whole["input_ids"], np.ones_like(whole["attention_mask"]))
    for features in (padded, unmasked):
        np.testing.assert_allclose(encoder.encode_texts(texts, normalize=False), features, atol=1e-6)


def test_a_text_beyond_the_context_is_refused_unless_it_may_be_cut(encoder: triclip.Encoder) -> None:
    texts = ["cat", "a" * 100, "dog", "b" * 60]
    assert encoder.too_long(texts) == [1, 3]
    with pytest.raises(InputError, match=rf"at most {CONTEXT} tokens, got \d+ in text 1, 'aaa.*truncate=True"):
        encoder.encode_texts(texts)
    cut = encoder.encode_texts(texts, truncate=True)
    np.testing.assert_allclose(cut[1:2], encoder.encode_texts("a" * 60, truncate=True), atol=1e-6)
    ids, mask = encoder.text_encoder.tokenize(texts, True)
    assert ids.shape == mask.shape == (4, CONTEXT)
    assert ids[1, -1] == encoder.config.text_config.eos_token_id


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda e: e.encode_images([]), InputError, "images: expected at least one"),
        (lambda e: e.encode_images(["gone.png"]), ImageError, "image 0: gone.png: no such file"),
        (lambda e: e.encode_images([np.zeros((9, 9, 3), np.uint8), 3]), InputTypeError, "image 1: .*got int"),
        (lambda e: e.encode_images([np.zeros((2, 9, 9, 3), np.uint8)]), InputError, "expected one image, got 2"),
        (lambda e: e.encode_images(None), InputTypeError, "got NoneType"),
        (lambda e: e.encode_texts([]), InputError, "texts: expected at least one"),
        (lambda e: e.encode_texts(["cat", 3]), InputTypeError, "texts: expected a string or a list of strings, got 3"),
        (lambda e: e.encode_texts("cat", batch_size=0), InputError, "batch_size: expected 1 or more, got 0"),
        (lambda e: e.encode_labels([], "{}"), InputError, "labels: expected at least one"),
        (lambda e: e.encode_labels("cat", []), InputError, "templates: expected at least one"),
        (lambda e: e.encode_labels("cat", ["{}", "{}"]), InputError, "templates: '{}' is there twice"),
        (lambda e: e.encode_labels("cat", "a photo"), InputError, r"expected \{\} where the label goes"),
        (lambda e: e.logits(np.ones((2, 3)), "cat"), InputError, r"images: expected vectors \[batch, 24\], got shape"),
        (lambda e: e.similarity(np.ones(24), np.zeros((1, 24))), InputError, "texts: .*not all 0"),
    ],
)
def test_what_cannot_be_encoded_is_an_error(encoder: triclip.Encoder, call: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call(encoder)


def test_it_shows_what_it_is(encoder: triclip.Encoder, checkpoint: str) -> None:
    assert (encoder.backend, encoder.device, encoder.dtype, encoder.embed_dim) == ("torch", "cpu:0", "float32", 24)
    place = "backend='torch', device='cpu:0', dtype='float32'"
    assert repr(encoder) == f"Encoder({checkpoint!r}, {place}, embed_dim=24)"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"backend": "mlx"}, InputError, "backend: expected one of torch, tf, flax, onnx, got 'mlx'"),
        ({"device": "abacus"}, InputError, r"device: expected one that the framework finds here, .*cpu:0.*'abacus'"),
        ({"dtype": "int4"}, InputTypeError, "dtype: expected float32, bfloat16, float16, int8 or auto, got 'int4'"),
        ({"name_or_path": "./gone"}, CheckpointNotFoundError, "no such directory"),
    ],
)
def test_what_cannot_be_loaded_is_an_error(
    checkpoint: str, arguments: dict[str, str], error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        triclip.load(**{"name_or_path": checkpoint, "backend": "torch", **arguments})


def test_auto_is_the_dtype_of_the_stored_weights(checkpoint: str) -> None:
    assert triclip.load(Path(checkpoint), "torch", dtype="auto").dtype == "float32"


def test_a_framework_that_cannot_be_imported_is_named(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise ImportError("libsomething.so: no such file")

    monkeypatch.setattr(encoder_module, "open_engine", broken)
    with pytest.raises(BackendError, match=r"torch is installed but cannot be imported: libsome.*'triclip\[torch\]'"):
        triclip.load(checkpoint, "torch")


def test_softmax_of_large_logits_is_finite() -> None:
    np.testing.assert_allclose(encoder_module.softmax(np.array([[1000, 1000]], np.float32)), [[0.5, 0.5]])
