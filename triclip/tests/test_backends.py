import subprocess
import sys

import numpy as np
import pytest

from clip_core.errors import InputError, MissingExtraError
from triclip import backends
from triclip.tests.conftest import CONTEXT, draw_picture


def _hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda name: None if name in modules else object())


@pytest.mark.parametrize(
    ("hidden", "found"),
    [
        ((), ["torch", "flax", "tf"]),
        (("torch",), ["flax", "tf"]),
        (("jax",), ["torch", "tf"]),
        (("keras",), ["torch", "flax"]),
    ],
)
def test_backends_whose_frameworks_are_there(
    monkeypatch: pytest.MonkeyPatch, hidden: tuple[str, ...], found: list[str]
) -> None:
    _hide(monkeypatch, *hidden)
    assert backends.installed_backends() == found
    assert backends.choose_backend(None) == found[0]


@pytest.mark.parametrize(("name", "module"), [("torch", "torch"), ("tf", "keras"), ("flax", "flax")])
def test_a_missing_framework_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    _hide(monkeypatch, module)
    with pytest.raises(MissingExtraError, match=rf"'{module}'.*pip install 'triclip\[{name}\]'"):
        backends.choose_backend(name)


def test_no_framework_at_all_names_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "torch", "tensorflow", "jax")
    with pytest.raises(MissingExtraError, match=r"pip install 'triclip\[torch\]'"):
        backends.choose_backend(None)


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(InputError, match="expected one of torch, flax, tf, got 'mlx'"):
        backends.choose_backend("mlx")


def test_finding_backends_imports_none() -> None:
    code = (
        "import sys; from triclip.backends import choose_backend, installed_backends; "
        "assert installed_backends(); choose_backend(None); "
        "assert not {'torch', 'tensorflow', 'keras', 'jax', 'flax'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def encoder(checkpoint: str) -> backends.Encoder:
    return backends.load_encoder(checkpoint, "torch")


def test_encoded_images_are_the_models_features_at_unit_length(
    encoder: backends.Encoder, checkpoint: str, tmp_path
) -> None:
    import torch
    from PIL import Image

    from clip_core import CLIPProcessor
    from clip_torch import CLIPModel

    paths = [draw_picture(tmp_path / f"{seed}.png", seed) for seed in (1, 2, 3)]
    pixels = np.stack([encoder.prepare_image(str(path)) for path in paths])
    embeds = encoder.encode_images(pixels)
    inputs = CLIPProcessor.from_pretrained(checkpoint)(
        images=[Image.open(path) for path in paths], text=["a cat", "dog"], padding=True, return_tensors="pt"
    )
    with torch.inference_mode():
        wanted = CLIPModel.from_pretrained(checkpoint)(**inputs)
    assert embeds.dtype == np.float32
    np.testing.assert_allclose(embeds, wanted.image_embeds.numpy(), atol=1e-6)
    text_embeds = encoder.encode_texts(encoder.prepare_texts(["a cat", "dog"]), batch_size=1)
    np.testing.assert_allclose(text_embeds, wanted.text_embeds.numpy(), atol=1e-6)
    np.testing.assert_allclose(encoder.logits(embeds, text_embeds), wanted.logits_per_image.numpy(), atol=1e-5)


def test_texts_beyond_the_context_are_cut_and_counted(encoder: backends.Encoder) -> None:
    texts = encoder.prepare_texts(["cat", "a" * 100, "dog", "b" * 60])
    assert texts.cut == [1, 3]
    assert texts.input_ids.shape == texts.attention_mask.shape == (4, CONTEXT)
    assert texts.input_ids[1, -1] == encoder.config.text_config.eos_token_id


def test_frameworks_are_quiet_unless_something_goes_wrong() -> None:
    code = """
import os
from triclip.backends import quiet_framework
with quiet_framework():
    os.write(2, b"greeting ")
os.write(2, b"after ")
try:
    with quiet_framework():
        os.write(2, b"reason ")
        raise RuntimeError
except RuntimeError:
    os.write(2, b"end")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr == "after reason end"
