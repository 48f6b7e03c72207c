"""Inputs that a model cannot take. Each goes through the call of a backend's full model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from clip_core.errors import CLIPError, InputError, InputTypeError
from conformance_tests.bad_input.case import Bench, case


def call_case(title: str, error: type[CLIPError], *parts: str) -> Callable[[Callable[[Bench], dict[str, Any]]], None]:
    """Decorator: the function returns the arguments that it gives instead of valid ones."""

    def register(changed_inputs: Callable[[Bench], dict[str, Any]]) -> None:
        def provoke(bench: Bench) -> object:
            return bench.call(bench.load(bench.directory), **{**bench.inputs(), **changed_inputs(bench)})

        case(title, error, *parts, needs_model=True)(provoke)

    return register


# ---- input_ids


@call_case(
    "ids beyond the vocabulary",
    InputError,
    "input_ids: expected 0 to 713",
    "got 5 to 49407",
    "Use the tokenizer that belongs to this checkpoint",
)
def _(bench: Bench) -> dict[str, Any]:
    return {"input_ids": np.array([[5, 49407, 7, 713], [8, 9, 713, 713]])}


@call_case("ids below zero", InputError, "input_ids: expected 0 to 713", "got -1 to 713", "Use the tokenizer")
def _(bench: Bench) -> dict[str, Any]:
    return {"input_ids": np.array([[5, 6, 7, 713], [8, 9, 713, -1]])}


@call_case(
    "a text without its end",
    InputError,
    "expected the end-of-text id 713 in every row",
    "row 1 has none",
    "truncate with the tokenizer",
)
def _(bench: Bench) -> dict[str, Any]:
    return {"input_ids": np.array([[5, 6, 7, 713], [8, 9, 10, 11]])}


@call_case(
    "a text longer than the context",
    InputError,
    "expected 1 to 16 tokens",
    "got 17",
    "Tokenize with truncation=True, max_length=16",
)
def _(bench: Bench) -> dict[str, Any]:
    return {"input_ids": np.full((2, 17), 713), "attention_mask": None}


@call_case("texts without tokens", InputError, "expected 1 to 16 tokens", "got 0", "Tokenize")
def _(bench: Bench) -> dict[str, Any]:
    return {"input_ids": np.zeros((2, 0), np.int64), "attention_mask": None}


@call_case(
    "one text without its batch axis",
    InputError,
    "input_ids: expected shape [batch, token]",
    "got [4]",
    "Add a batch axis",
)
def _(bench: Bench) -> dict[str, Any]:
    return {"input_ids": np.array([5, 6, 7, 713]), "attention_mask": None}


@call_case(
    "ids that are floating-point numbers", InputTypeError, "input_ids: expected integers", "float32", "ids unchanged"
)
def _(bench: Bench) -> dict[str, Any]:
    return {"input_ids": bench.inputs()["input_ids"].astype(np.float32)}


@call_case(
    "ids that are a list", InputTypeError, "input_ids: expected", "got list", "Call the processor with return_tensors="
)
def _(bench: Bench) -> dict[str, Any]:
    return {"input_ids": bench.inputs()["input_ids"].tolist()}


@call_case("no ids", InputTypeError, "input_ids: expected", "got NoneType", "Call the processor with return_tensors=")
def _(bench: Bench) -> dict[str, Any]:
    return {"input_ids": None}


# ---- attention_mask and position_ids


@call_case(
    "padding at the left",
    InputError,
    "row 0 begins with padding",
    "padding at the right",
    "tokenize with padding_side='right'",
)
def _(bench: Bench) -> dict[str, Any]:
    return {"attention_mask": np.array([[0, 1, 1, 1], [1, 1, 1, 0]])}


@call_case("a mask that hides a whole text", InputError, "row 1 has no token", "Drop the row")
def _(bench: Bench) -> dict[str, Any]:
    return {"attention_mask": np.array([[1, 1, 1, 1], [0, 0, 0, 0]])}


@call_case(
    "a mask of other numbers than 0 and 1", InputError, "expected only 1 (a token) and 0 (padding)", "got 7", "Pass"
)
def _(bench: Bench) -> dict[str, Any]:
    return {"attention_mask": np.array([[1, 1, 1, 7], [1, 1, 1, 0]])}


@call_case(
    "a mask of another shape",
    InputError,
    "attention_mask: expected the shape of input_ids [2, 4]",
    "got [2, 3]",
    "from the same call of the tokenizer",
)
def _(bench: Bench) -> dict[str, Any]:
    return {"attention_mask": np.ones((2, 3), np.int64)}


@call_case("positions beyond the context", InputError, "position_ids: expected 0 to 15", "got 1 to 16", "count from 0")
def _(bench: Bench) -> dict[str, Any]:
    return {"position_ids": np.array([[1, 2, 3, 16]])}


@call_case("positions of another shape", InputError, "expected [2, 4] or [1, 4]", "got [1, 3]", "Leave them out")
def _(bench: Bench) -> dict[str, Any]:
    return {"position_ids": np.array([[0, 1, 2]])}


# ---- pixel_values


@call_case(
    "an image of another size",
    InputError,
    "expected 20 x 20 pixels",
    "got 20 x 28",
    "Resize the images, or pass interpolate_pos_encoding=True",
)
def _(bench: Bench) -> dict[str, Any]:
    return {"pixel_values": np.zeros((2, 3, 20, 28), np.float32)}


@call_case(
    "an image smaller than a patch", InputError, "expected at least one patch of 8 pixels", "got 7 x 20", "Enlarge"
)
def _(bench: Bench) -> dict[str, Any]:
    return {"pixel_values": np.zeros((2, 3, 7, 20), np.float32), "interpolate_pos_encoding": True}


@call_case(
    "images with their channels last",
    InputError,
    "pixel_values: expected 3 channels",
    "got [2, 20, 20, 3]",
    "transpose to [batch, channel, height, width]",
)
def _(bench: Bench) -> dict[str, Any]:
    return {"pixel_values": np.zeros((2, 20, 20, 3), np.float32)}


@call_case(
    "images of one channel", InputError, "pixel_values: expected 3 channels", "got [2, 1, 20, 20]", "CLIPImageProcessor"
)
def _(bench: Bench) -> dict[str, Any]:
    return {"pixel_values": np.zeros((2, 1, 20, 20), np.float32)}


@call_case(
    "one image without its batch axis",
    InputError,
    "expected shape [batch, channel, height, width]",
    "got [3, 20, 20]",
    "Prepare images with CLIPImageProcessor",
)
def _(bench: Bench) -> dict[str, Any]:
    return {"pixel_values": np.zeros((3, 20, 20), np.float32)}


@call_case(
    "images of bytes",
    InputTypeError,
    "expected floating-point numbers",
    "uint8",
    "Prepare images with CLIPImageProcessor",
)
def _(bench: Bench) -> dict[str, Any]:
    return {"pixel_values": np.zeros((2, 3, 20, 20), np.uint8)}


@call_case("no images", InputTypeError, "pixel_values: expected", "got NoneType", "Call the processor")
def _(bench: Bench) -> dict[str, Any]:
    return {"pixel_values": None}


@call_case(
    "a loss over unequal numbers of images and texts",
    InputError,
    "expected as many images as texts, in pairs",
    "got 3 and 2",
    "Leave out return_loss",
)
def _(bench: Bench) -> dict[str, Any]:
    return {"pixel_values": np.zeros((3, 3, 20, 20), np.float32), "return_loss": True}


@case(
    "texts of another tokenizer's end",
    InputError,
    "expected the end-of-text id 5 in every row",
    "row 1 has none",
    needs_model=True,
)
def _(bench: Bench) -> object:
    config = replace(bench.config, text_config=replace(bench.config.text_config, eos_token_id=5))
    return bench.call(bench.build(config), **bench.inputs())
