"""Zero-shot heads that were saved: vectors of labels, what they are made of, and of which model."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np

from clip_core.checkpoint.files import written_beside
from clip_core.checkpoint.safetensors_file import SafetensorsFile, write_safetensors
from clip_core.errors import CheckpointError, CheckpointFormatError, InputError, InputTypeError
from triclip.encoder import Encoder
from triclip.engines import Vectors, engine_of
from triclip.inputs import listed_texts
from triclip.labels import DEFAULT_TEMPLATE, Templates, fill_templates, listed_templates
from triclip.model_digest import model_digest
from triclip.zero_shot import build_zero_shot_classifier, text_encoder

_KIND, _VERSION = "triclip zero-shot head", "1"
_TENSOR = "label_embeds"
_MOST_DESCRIPTION = 9_000_000  # bytes of labels and templates, so that a header can be read again
_LONGEST_ERROR = 1e-3  # of a vector's length; that of float32 is 1e-7


@dataclass(frozen=True, eq=False)
class ZeroShotHead:
    """Vectors of labels, to be computed once and used for many images.

    `build` makes one, `save` and `load` keep it. ``encoder.logits(images, head.vectors)`` classifies with it.

    Attributes:
        vectors: ``[label, embed]``, float32, of length 1.
        labels: in the order of the rows.
        templates: as of `build_zero_shot_classifier`: a list, or a dict with a list for each label.
        digest: `model_digest` of the model that the vectors are for.
    """

    vectors: Vectors = field(repr=False)
    labels: list[str]
    templates: list[str] | dict[str, list[str]]
    digest: str

    def __post_init__(self) -> None:
        fill_templates(listed_texts(self.labels, "labels"), self.templates)
        shape, count = self.vectors.shape, len(self.labels)
        if self.vectors.dtype != np.float32 or len(shape) != 2 or shape[0] != count:
            raise InputError(
                f"vectors: expected float32 [{count}, embed], got {self.vectors.dtype.name} {list(shape)}."
            )
        lengths = np.linalg.norm(self.vectors.astype(np.float64), axis=1)
        odd = np.flatnonzero(~(abs(lengths - 1) <= _LONGEST_ERROR))
        if odd.size:
            raise InputError(
                f"vectors: expected length 1, that of label {odd[0]}, {self.labels[odd[0]]!r}, has {lengths[odd[0]]:g}."
            )

    @classmethod
    def build(
        cls,
        model: Any,
        tokenizer: Any,
        labels: str | Sequence[str],
        templates: Templates = DEFAULT_TEMPLATE,
        *,
        batch_size: int = 32,
        truncate: bool = False,
        advance: Callable[[int], None] | None = None,
    ) -> Self:
        """The head that `build_zero_shot_classifier` gives the vectors of; arguments and errors as there.

        Raises:
            WeightMismatchError: also, the model has an adapter: merge it first.
        """
        text_encoder(model, tokenizer)  # so that what is no model is said before anything is computed
        digest = digest_of(model)
        vectors = build_zero_shot_classifier(
            model, tokenizer, labels, templates, batch_size=batch_size, truncate=truncate, advance=advance
        )
        return cls(vectors, listed_texts(labels, "labels"), listed_templates(templates), digest)

    def save(self, path: str | PathLike[str]) -> None:
        """Writes a safetensors file, beside and then renamed; a head that is there is replaced.

        Raises:
            CheckpointError: the file there is no head, or it cannot be written.
            InputError: labels and templates have more than 9 MB, or labels were changed and are not those of the rows.
        """
        self.__post_init__()  # lists can be changed, and what cannot be loaded again is not to replace what can
        description = {"labels": _json(self.labels), "templates": _json(self.templates)}
        size = sum(len(json.dumps(text)) for text in description.values())
        if size > _MOST_DESCRIPTION:
            raise InputError(f"labels and templates: expected at most {_MOST_DESCRIPTION:,} bytes, got {size:,}.")
        check_place(path)
        metadata = {"kind": _KIND, "version": _VERSION, "model": self.digest, **description}
        try:
            with written_beside(Path(path)) as temporary:
                layout = {_TENSOR: (np.dtype("<f4"), self.vectors.shape)}
                write_safetensors(temporary, layout, [(_TENSOR, self.vectors)], metadata)
        except OSError as error:
            raise CheckpointError(f"{os.fspath(path)}: cannot be written: {error.strerror or error}.") from error

    @classmethod
    def load(cls, path: str | PathLike[str], model: Any) -> Self:
        """A head that was saved.

        Args:
            model: the one that it shall be used with: a CLIP model of any backend, or an `Encoder`.

        Raises:
            CheckpointNotFoundError: no such file.
            CheckpointFormatError: truncated, no head, or one whose vectors cannot be what they say.
            InputError: it is for another model.
            InputTypeError: no such model.
        """
        path = Path(path)
        head = cls._read(path)
        wanted = digest_of(model)
        if head.digest != wanted:
            raise InputError(
                f"{path}: expected a head of this model, sha256 {wanted}, got one of the model sha256 {head.digest}. "
                "Its vectors mean nothing to another model, be it the same with other weights, settings or dtype of "
                f"the weights. Make it anew, from its {len(head.labels):,} labels and its templates."
            )
        width = model.config.projection_dim
        if head.vectors.shape[1] != width:
            raise CheckpointFormatError(
                f"{path}: expected vectors [{len(head.labels)}, {width}], got {list(head.vectors.shape)}. Make it anew."
            )
        return head

    @classmethod
    def _read(cls, path: Path) -> Self:
        file = SafetensorsFile(path)
        metadata = file.metadata
        if metadata.get("kind") != _KIND:
            raise CheckpointFormatError(f"{path}: expected a zero-shot head, got a safetensors file that is none.")
        if metadata.get("version") != _VERSION:
            raise CheckpointFormatError(
                f"{path}: expected a head of version {_VERSION}, got {metadata.get('version')!r}. "
                "Install the Triclip that made it, or make it anew."
            )
        try:
            labels, templates = json.loads(metadata["labels"]), json.loads(metadata["templates"])
            if not isinstance(labels, list) or not isinstance(templates, list | dict) or list(file) != [_TENSOR]:
                raise ValueError(f"expected a list of labels, templates and the tensor {_TENSOR!r} alone")
            return cls(file[_TENSOR], labels, listed_templates(templates), metadata["model"])
        except (InputError, InputTypeError, ValueError, KeyError, RecursionError) as error:
            problem = f"it has no {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
            raise CheckpointFormatError(f"{path}: not a whole zero-shot head: {problem}. Make it anew.") from error


def check_place(path: str | PathLike[str]) -> None:
    """Raises `CheckpointError` where a head cannot be written, to be known before it is made."""
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path}: expected the name of a file for the head, got a directory.")
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise CheckpointError(f"{path}: cannot be written: nothing can be made in {there}.")
    if path.exists():
        try:
            is_head = SafetensorsFile(path).metadata.get("kind") == _KIND
        except CheckpointError:
            is_head = False
        if not is_head:
            raise CheckpointError(f"{path}: is there and is no zero-shot head, so it is kept. Choose another name.")


def digest_of(model: Any) -> str:
    """`model_digest` of a model, or of that of an `Encoder`."""
    return model.digest() if isinstance(model, Encoder) else model_digest(engine_of(model).model)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
