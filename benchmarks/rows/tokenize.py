"""Tokenizers: 5,000 captions to ids padded to 77; with nothing remembered, and with the words of the call before.

One in 50 has a curly quote, which OpenAI's tokenizer has ftfy put straight.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.call import Call
from benchmarks.materials import END_OF_TEXT, read_captions
from benchmarks.row import Case, Row, Side


def _side(folder: Path, case: Case, make: Callable[[], Any], encode: Callable[[Any, list[str]], Any]) -> Call:
    """A tokenizer that is made before each call, or once."""
    texts = read_captions(folder)
    made = [make()]

    def anew() -> None:
        made[0] = make()

    return Call(
        lambda: encode(made[0], texts), before=anew if case["words"] == "new" else None, compared=_up_to_the_end
    )


def _up_to_the_end(ids: Any) -> Any:
    """Ids without what a library pads with."""
    import numpy as np

    found = np.asarray(ids).astype(np.int64)
    ends = (found == END_OF_TEXT).argmax(axis=1)
    return np.where(np.arange(found.shape[1]) <= ends[:, None], found, 0)


def _hf(tokenizer: Any, texts: list[str]) -> Any:
    return tokenizer(texts, padding="max_length", truncation=True, max_length=77, return_tensors="np")["input_ids"]


def transformers(folder: Path, case: Case) -> Any:
    """Its class written in Python, which needs ftfy to be exact, and its class around the Rust tokenizers."""
    import transformers as library

    made = getattr(library, case["class"])
    return _side(folder, case, partial(made.from_pretrained, folder / "hf"), _hf)


def triclip(folder: Path, case: Case) -> Any:
    import clip_core

    return _side(folder, case, partial(getattr(clip_core, case["class"]).from_pretrained, folder / "hf"), _hf)


def open_clip(folder: Path, case: Case) -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return _side(folder, case, SimpleTokenizer, lambda tokenizer, texts: tokenizer(texts, context_length=77))


def instant_clip_tokenizer(folder: Path, case: Case) -> Any:
    """In Rust; it knows neither ftfy nor HTML's entities."""
    from instant_clip_tokenizer import Tokenizer

    return _side(folder, case, Tokenizer, lambda tokenizer, texts: tokenizer.tokenize_batch(texts, context_length=77))


CURLY = 0.02
"""The share of captions with a quote that a library without ftfy leaves as it is."""
ROW = Row(
    name="tokenize",
    title="Tokenizing 5,000 captions",
    cases=[{"words": "new"}, {"words": "known"}],
    sides={
        "transformers fast": Side(function="transformers", options={"class": "CLIPTokenizerFast"}, within=CURLY),
        "transformers": Side(function="transformers", options={"class": "CLIPTokenizer"}),
        "open_clip": Side(function="open_clip"),
        "instant-clip-tokenizer": Side(function="instant_clip_tokenizer", within=CURLY),
        "triclip CLIPTokenizer": Side(function="triclip", options={"class": "CLIPTokenizer"}),
        "triclip CLIPTokenizerFast": Side(function="triclip", options={"class": "CLIPTokenizerFast"}, within=CURLY),
    },
    materials=("hf", "captions"),
    reference="open_clip",
    within=0,
    cores=(1,),
)
