"""Texts to vectors: the shortest last, few of unlike length in one batch, so that little is computed for padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.checks import check_text_values
from clip_core.errors import InputError
from clip_core.padding import needed
from triclip.engines import Engine, Vectors
from triclip.finite import finished
from triclip.inputs import parts
from triclip.labels import Templates, fill_templates


class TextEncoder:
    """The text tower of an engine, and the tokenizer that belongs to it.

    A batch is as long as its longest text; see `clip_core.padding`.
    """

    def __init__(self, engine: Engine, tokenizer: Any) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self.config = engine.model.config.text_config

    def encode(
        self,
        texts: Sequence[str],
        batch_size: int,
        normalize: bool = True,
        truncate: bool = False,
        advance: Callable[[int], None] | None = None,
    ) -> Vectors:
        """Vectors ``[text, embed]``; arguments and errors as of `Encoder.encode_texts`."""
        vectors = np.empty((len(texts), self.engine.model.config.projection_dim), np.float32)
        for rows, some in self.batches(texts, batch_size, normalize, truncate, advance):
            vectors[rows] = some
        return vectors

    def batches(
        self,
        texts: Sequence[str],
        batch_size: int,
        normalize: bool = True,
        truncate: bool = False,
        advance: Callable[[int], None] | None = None,
    ) -> Iterator[tuple[NDArray[np.intp], Vectors]]:
        """The numbers of some texts with their vectors, until all are done; as of `encode`."""
        slices = parts(len(texts), batch_size)
        ids, mask = self.tokenize(list(texts), truncate)
        lengths = mask.sum(axis=1)
        order = np.argsort(-lengths, kind="stable")
        for part in slices:
            rows = order[part]
            length, is_masked = needed(ids[rows], mask[rows], self.config)
            some = ids[rows, :length], mask[rows, :length] if is_masked else None
            features = self.engine.text_features(*some)
            yield rows, finished(self.engine, features, normalize, "vectors of texts")
            if advance is not None:
                advance(len(rows))

    def encode_labels(
        self,
        labels: Sequence[str],
        templates: Templates,
        batch_size: int,
        truncate: bool = False,
        advance: Callable[[int], None] | None = None,
    ) -> Vectors:
        """Vectors ``[label, embed]``; arguments and errors as of `build_zero_shot_classifier`."""
        texts = fill_templates(labels, templates)
        owners = np.repeat(np.arange(len(texts)), [len(own) for own in texts])  # [text], the label of each
        sums = np.zeros((len(texts), self.engine.model.config.projection_dim))  # [label, embed]
        every = [text for own in texts for text in own]
        for rows, vectors in self.batches(every, batch_size, truncate=truncate, advance=advance):
            np.add.at(sums, owners[rows], vectors)
        means = sums / np.bincount(owners)[:, None]
        return finished(self.engine, means.astype(np.float32), True, "vectors of labels")

    def too_long(self, texts: Sequence[str]) -> list[int]:
        """The numbers of the texts with more tokens than the model reads."""
        rows = self.tokenizer(list(texts), verbose=False)["input_ids"]
        return [number for number, row in enumerate(rows) if len(row) > self.context]

    @property
    def context(self) -> int:
        """How many tokens the model reads."""
        context: int = self.config.max_position_embeddings
        return context

    def tokenize(self, texts: list[str], truncate: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids and mask, both ``[text, token]``."""
        tokens = self.tokenizer(texts, padding=True, return_tensors="np", verbose=False)
        lengths = tokens["attention_mask"].sum(axis=1)
        if lengths.max() > self.context:
            number = int(lengths.argmax())
            if not truncate:
                raise InputError(
                    f"texts: expected at most {self.context} tokens, got {lengths[number]} in text {number}, "
                    f"{texts[number][:40]!r}. Shorten it, or pass truncate=True to leave out what is beyond."
                )
            tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=self.context, return_tensors="np")
        ids, mask = tokens["input_ids"], tokens["attention_mask"]
        check_text_values(ids, mask, None, self.config)
        return ids, mask
