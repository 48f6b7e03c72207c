"""Keras Hub's CLIP beside ours in one process: converted both ways, trained, prepared for one another, stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
from keras import ops
from PIL import Image

from clip_core import CLIPConfig, CLIPProcessor
from clip_tf import TFCLIPModel
from conformance_tests.clients.checkpoints import tiny_checkpoint
from conformance_tests.clients.migration import try_section
from conformance_tests.clients.trial import trial
from weights_convert import convert

_WITHIN = 1e-5  # sums in another order; logits go to 14
_TEXTS = ["a photo of a cat", "Two dogs & 3 birds, at sea!", "don't walk"]
_RATE = 0.01


def _ours(directory: Path) -> Any:
    wide = {"num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 2}
    return TFCLIPModel.from_pretrained(tiny_checkpoint(directory / "clip", text=wide, vision={"hidden_size": 40}))


def _theirs(directory: Path, like: Any, preset: str = "preset") -> Any:
    like.save_pretrained(directory / "ours")
    CLIPProcessor.from_pretrained(directory / "clip").save_pretrained(directory / "ours")
    convert(directory / "ours", directory / preset, to="keras-hub")
    return keras_hub.models.CLIPBackbone.from_preset(str(directory / preset))


def _made_there() -> Any:
    """A backbone of random weights, as a script for Keras Hub makes it."""
    keras.utils.set_random_seed(0)
    shape = {"hidden_dim": 48, "num_layers": 2, "num_heads": 3, "intermediate_dim": 52}
    vision = keras_hub.models.CLIPVisionEncoder(patch_size=6, image_shape=(30, 30, 3), **shape)
    text = keras_hub.models.CLIPTextEncoder(
        vocabulary_size=600, embedding_dim=36, max_sequence_length=17, **shape | {"hidden_dim": 36, "num_layers": 4}
    )
    return keras_hub.models.CLIPBackbone(vision, text, projection_dim=28)


def _batch(vocab: int, *, tokens: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    ids = random.integers(0, vocab - 2, (4, tokens), np.int32)
    ids[:, tokens - 2 :] = vocab - 1
    return {"input_ids": ids, "pixel_values": random.normal(size=(4, 3, 30, 30)).astype(np.float32)}


def _there(batch: dict[str, Any]) -> dict[str, Any]:
    return {"images": np.moveaxis(batch["pixel_values"], 1, -1), "token_ids": batch["input_ids"]}


def _compared(model: Any, backbone: Any, batch: dict[str, Any]) -> Any:
    """Logits and features of both."""
    outputs, there = model(batch), _there(batch)
    logits = backbone(there)
    ours = [
        *(outputs.logits_per_image, outputs.logits_per_text),
        *(model.get_image_features(batch["pixel_values"]), model.get_text_features(batch["input_ids"])),
    ]
    return ours, [
        *(logits["vision_logits"], logits["text_logits"]),
        *(backbone.get_vision_embeddings(there["images"]), backbone.get_text_embeddings(there["token_ids"])),
    ]


@trial(
    "a CLIPBackbone made there, save_to_preset, convert, TFCLIPModel.from_pretrained: logits and features",
    within=_WITHIN,
)
def _(directory: Path) -> Any:
    backbone = _made_there()
    backbone.save_to_preset(str(directory / "preset"))
    convert(directory / "preset", directory / "converted", to="hf")
    return _compared(TFCLIPModel.from_pretrained(directory / "converted"), backbone, _batch(600, tokens=11))


@trial("TFCLIPModel, convert, CLIPBackbone.from_preset: logits and features", within=_WITHIN)
def _(directory: Path) -> Any:
    model = _ours(directory)
    return _compared(model, _theirs(directory, model), _batch(49408, tokens=11))


@trial("the same, back again: save_to_preset, convert: the weights")
def _(directory: Path) -> Any:
    model = _ours(directory)
    _theirs(directory, model).save_to_preset(str(directory / "again"))
    convert(directory / "again", directory / "converted", to="hf")
    again = TFCLIPModel.from_pretrained(directory / "converted")
    return [[ops.convert_to_numpy(weight) for weight in each.weights] for each in (again, model)]


def _contrastive(backbone: Any) -> Any:
    """A model that trains a backbone by the loss that ours has from the start."""

    class Contrastive(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone

        def call(self, inputs: Any) -> Any:
            return self.backbone(inputs)

        def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *_: Any, **__: Any) -> Any:
            pairs = ops.arange(ops.shape(y_pred["text_logits"])[0])
            both = [y_pred[name] for name in ("text_logits", "vision_logits")]
            each = [keras.losses.sparse_categorical_crossentropy(pairs, part, from_logits=True) for part in both]
            return ops.mean(ops.stack(each))

    return Contrastive()


@trial("three steps of fit with SGD, the loss there written by hand: losses and logits", within=_WITHIN)
def _(directory: Path) -> Any:
    model, batch = _ours(directory), _batch(49408, tokens=11)
    backbone = _theirs(directory, model)
    found = []
    for each, inputs in ((model, batch), (_contrastive(backbone), _there(batch))):
        each.compile(keras.optimizers.SGD(_RATE), jit_compile=False)
        rows = len(batch["input_ids"])
        found.append(each.fit(inputs, epochs=3, batch_size=rows, shuffle=False, verbose=0).history["loss"])
    ours, theirs = _compared(model, backbone, batch)
    return [*found[0], *ours], [*found[1], *theirs]


@trial("enable_lora(4) changes no number on either side", within=_WITHIN)
def _(directory: Path) -> Any:
    model = _ours(directory)
    backbone = _theirs(directory, model)
    model.enable_lora(rank=4)
    backbone.enable_lora(4)
    return _compared(model, backbone, _batch(49408, tokens=11))


def _prepared(directory: Path) -> Any:
    """A model of ours, its backbone there, and three texts and a picture as both sides prepare them."""
    model = _ours(directory)
    backbone = _theirs(directory, model)
    random = np.random.default_rng(0)
    small = Image.fromarray(random.integers(0, 256, (7, 6, 3), np.uint8))
    picture = small.resize((51, 64), Image.Resampling.BICUBIC)  # no noise, which a resize makes much of
    theirs = keras_hub.models.CLIPPreprocessor.from_preset(str(directory / "preset"))(
        {"prompts": _TEXTS, "images": np.asarray(picture)[None]}
    )
    processor = CLIPProcessor.from_pretrained(directory / "ours")
    ours = processor(text=_TEXTS, images=picture, return_tensors="np", padding="max_length")
    return model, backbone, ours, {name: np.asarray(value) for name, value in theirs.items()}


@trial("CLIPTokenizer there and here: the ids of three texts")
def _(directory: Path) -> Any:
    _, _, ours, theirs = _prepared(directory)
    return ours["input_ids"], theirs["token_ids"]


@trial("CLIPPreprocessor there, our model behind it: logits and features", within=_WITHIN)
def _(directory: Path) -> Any:
    model, backbone, _, theirs = _prepared(directory)
    batch = {"input_ids": theirs["token_ids"], "pixel_values": np.moveaxis(theirs["images"], -1, 1)}
    return _compared(model, backbone, batch)


@trial("CLIPProcessor here, their backbone behind it: logits and features", within=_WITHIN)
def _(directory: Path) -> Any:
    model, backbone, ours, _ = _prepared(directory)
    return _compared(model, backbone, {name: ours[name] for name in ("input_ids", "pixel_values")})


@trial("CLIPImageConverter there and our processor: a picture made smaller (values reach 2.6)", within=0.5)
# they cut the picture before they resize it, up to a pixel elsewhere, and round nothing to 8 bits
def _(directory: Path) -> Any:
    _, _, ours, theirs = _prepared(directory)
    return ours["pixel_values"], np.moveaxis(theirs["images"], -1, 1)


@trial("both saved as .keras and loaded in one process: logits and features")
def _(directory: Path) -> Any:
    model, batch = _ours(directory), _batch(49408, tokens=11)
    backbone, found = _theirs(directory, model), []
    for name, each in (("ours", model), ("theirs", backbone)):
        each.save(directory / f"{name}.keras")
        found.append(keras.saving.load_model(directory / f"{name}.keras"))
    assert type(found[0]) is TFCLIPModel
    assert isinstance(found[0].config, CLIPConfig)
    return _compared(*found, batch), _compared(model, backbone, batch)


try_section("keras-hub")
