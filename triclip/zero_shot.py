"""Zero-shot classifiers: one vector for each label, from the texts that describe it (CLIP paper, section 3.1.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from clip_core.errors import InputTypeError
from triclip.encoder import Encoder
from triclip.engines import Vectors, engine_of
from triclip.inputs import listed_texts
from triclip.labels import DEFAULT_TEMPLATE, Templates
from triclip.text_encoder import TextEncoder


def build_zero_shot_classifier(
    model: Any,
    tokenizer: Any,
    labels: str | Sequence[str],
    templates: Templates = DEFAULT_TEMPLATE,
    *,
    batch_size: int = 32,
    truncate: bool = False,
    advance: Callable[[int], None] | None = None,
) -> Vectors:
    """Vectors ``[label, embed]`` of length 1: the products of an image's vector with them are its cosine similarities.

    Of each label, the vectors of its texts are brought to length 1, averaged, and brought to length 1 again. The texts
    are encoded in the order of their lengths, a batch padded to the longest of its own.

    Args:
        model: a CLIP model of `clip_torch`, `clip_tf` or `clip_flax`, which computes where its weights are; or an
            `Encoder`.
        tokenizer: that of the model's checkpoint; ``None`` with an encoder, which has one.
        labels: in the order of the rows; a label may come twice, as two of ImageNet's do.
        templates: texts with ``{}`` where the label goes, such as `OPENAI_IMAGENET_TEMPLATES`; or a mapping with, for
            each label, texts of its own, which need no ``{}``.
        batch_size: how many texts are computed at a time.
        truncate: cut texts that are longer than the model's context instead of raising an error.
        advance: is called with the number of texts whenever so many more are done.

    Raises:
        InputError: no label or template, one that is empty, a template without ``{}`` or twice, texts that are not for
            these labels, or that are too long; or a tokenizer with ids that the model does not know.
        InputTypeError: no such model, no tokenizer for it, or something that is not text.
        NonFiniteError: the model makes NaN, infinity or zeros of a text, or texts of a label have no common direction.
    """
    listed = listed_texts(labels, "labels")
    return text_encoder(model, tokenizer).encode_labels(listed, templates, batch_size, truncate, advance)


def text_encoder(model: Any, tokenizer: Any) -> TextEncoder:
    """What encodes texts with this model and tokenizer."""
    if isinstance(model, Encoder):
        if tokenizer is not None and tokenizer is not model.processor.tokenizer:
            raise InputTypeError("tokenizer: expected None with an Encoder, which has its own, got another one.")
        return model.text_encoder
    if not callable(tokenizer):
        got = "None" if tokenizer is None else f"a {type(tokenizer).__name__}"
        raise InputTypeError(
            f"tokenizer: expected that of the model's checkpoint, got {got}. "
            "Load it: clip_core.CLIPTokenizer.from_pretrained(...)"
        )
    return TextEncoder(engine_of(model), tokenizer)
