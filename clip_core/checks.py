"""Checks of what models are called with. JAX would answer a wrong input with NaN or a clamped lookup, others with
nonsense or an error from deep inside; here it is an error that says what was expected, what came and what to do.

Shapes and dtypes are checked always. Values are checked by `check_text_values`, which backends call only with inputs
that lie in host memory, outside of compiled graphs; elsewhere the pooled row of a bad text is NaN. `validate_inputs`
checks all of it, for loops of one's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import ConfigError, InputError, InputTypeError

LEGACY_EOS_TOKEN_ID = 2
"""This ``eos_token_id`` of early configurations means: a text ends at its largest id; see `check_end_of_text`."""
_CLIP_VOCABULARY_SIZE = 49408
_MOST_ADDED = 512  # tokens that somebody added; RoBERTa's vocabulary, in which a text does end at id 2, has 50265
_TOY = 2048  # no published vocabulary is so small

MAX_NORMALISED = 20.0
"""Pixels of which none is negative and one is larger than this are not normalised, whatever mean and deviation."""

Sizes = tuple[int | None, ...]
"""A shape; ``None`` where it is not known before the graph runs."""


def has_legacy_end(config: CLIPTextConfig) -> bool:
    """Whether a text ends at its largest id, as 2 for the end-of-text id says where the vocabulary can be CLIP's."""
    count = config.vocab_size
    can_be_clip = count <= _TOY or _CLIP_VOCABULARY_SIZE <= count <= _CLIP_VOCABULARY_SIZE + _MOST_ADDED
    return config.eos_token_id == LEGACY_EOS_TOKEN_ID and can_be_clip


def check_end_of_text(config: CLIPTextConfig) -> None:
    """Refuses a text tower of which is not known where its texts end.

    OpenAI's models were published with an ``eos_token_id`` of 2, which is not the end of their texts, and everybody
    pools such a model at the largest id. In the vocabularies of RoBERTa, XLM and LLaMA a text does end at id 2, as in
    MetaCLIP 2.

    Raises:
        ConfigError: the id is 2, and the vocabulary is not CLIP's.
    """
    if config.eos_token_id == LEGACY_EOS_TOKEN_ID and not has_legacy_end(config):
        raise ConfigError(
            "CLIPTextConfig.eos_token_id: 2 stands for the largest id of a text in models with CLIP's vocabulary of "
            f"{_CLIP_VOCABULARY_SIZE} tokens; this one has {config.vocab_size}, and its texts may truly end at id 2, "
            "as in MetaCLIP 2. Such a model cannot be run here: it would be pooled at the wrong token. If the largest "
            f"id is the end, say which it is: eos_token_id={config.vocab_size - 1}."
        )


def validate_inputs(
    config: CLIPConfig | CLIPTextConfig | CLIPVisionConfig,
    *,
    input_ids: Any = None,
    attention_mask: Any = None,
    position_ids: Any = None,
    pixel_values: Any = None,
    interpolate_pos_encoding: bool = False,
) -> None:
    """Checks inputs of a model, values included, before they go to another device or into a graph.

    Args:
        config: of the full model, or of the tower whose inputs these are.
        input_ids, attention_mask, position_ids: ``[batch, token]``, those that are given; arrays in host memory.
        pixel_values: ``[batch, channel, height, width]``, the same.
        interpolate_pos_encoding: as in the call of the model.

    Raises:
        InputError, InputTypeError: as the models raise them for inputs in host memory; also a pixel value that is not
            finite.
        ConfigError: as of `check_end_of_text`.
    """
    text = config.text_config if isinstance(config, CLIPConfig) else config
    vision = config.vision_config if isinstance(config, CLIPConfig) else config
    given = (None if value is None else np.asarray(value) for value in (input_ids, attention_mask, position_ids))
    ids, mask, positions = given
    if ids is not None and isinstance(text, CLIPTextConfig):
        check_end_of_text(text)
        mask_shape = None if mask is None else mask.shape
        check_text_input(ids.shape, str(ids.dtype), mask_shape, None if positions is None else positions.shape, text)
        check_text_values(ids, mask, positions, text)
    if pixel_values is not None and isinstance(vision, CLIPVisionConfig):
        pixels = np.asarray(pixel_values)
        check_pixel_input(pixels.shape, str(pixels.dtype), vision, interpolate_pos_encoding)
        check_pixel_values(pixels)
        odd = np.flatnonzero(~np.isfinite(pixels).all(axis=(1, 2, 3)))
        if odd.size:
            raise InputError(
                f"pixel_values: expected finite numbers, image {odd[0]} has others. Look at how it was normalised."
            )


def check_text_input(
    ids_shape: Sizes,
    ids_dtype: str,
    mask_shape: Sizes | None,
    position_shape: Sizes | None,
    config: CLIPTextConfig,
) -> None:
    """Checks shapes and dtype of ``input_ids``, ``attention_mask`` and ``position_ids``, all ``[batch, token]``.

    Raises:
        InputTypeError: ids are not integers, among them texts.
        InputError: a wrong number of axes, too many tokens, or shapes that do not agree.
    """
    if ids_dtype.startswith(("str", "<U", ">U", "object")):
        raise InputTypeError(
            f"input_ids: expected the ids of a tokenizer, got texts ({ids_dtype}). Tokenize them first: "
            "CLIPProcessor(...)(text=texts, padding=True), and pass what it returns."
        )
    if "int" not in ids_dtype:
        raise InputTypeError(f"input_ids: expected integers, got {ids_dtype}. Pass the tokenizer's ids unchanged.")
    if len(ids_shape) != 2:
        raise InputError(f"input_ids: expected shape [batch, token], got {_show(ids_shape)}. Add a batch axis.")
    length, limit = ids_shape[1], config.max_position_embeddings
    if length is not None and not 1 <= length <= limit:
        raise InputError(
            f"input_ids: expected 1 to {limit} tokens (max_position_embeddings), got {length}. "
            f"Tokenize with truncation=True, max_length={limit}."
        )
    if mask_shape is not None and not _agree(mask_shape, ids_shape):
        raise InputError(
            f"attention_mask: expected the shape of input_ids {_show(ids_shape)}, got {_show(mask_shape)}. "
            "Take both from the same call of the tokenizer."
        )
    if position_shape is not None and not any(_agree(position_shape, (rows, length)) for rows in (ids_shape[0], 1)):
        expected = f"{_show(ids_shape)} or {_show((1, length))}"
        raise InputError(
            f"position_ids: expected {expected}, got {_show(position_shape)}. Leave them out to count from 0."
        )


def check_text_values(
    ids: NDArray[Any] | None, mask: NDArray[Any] | None, positions: NDArray[Any] | None, config: CLIPTextConfig
) -> None:
    """Checks values of the inputs that are given as host arrays (``None``: absent, or not to be looked at).

    Raises:
        InputError: ids or positions out of range, a text without end-of-text token, left padding, an empty mask row.
    """
    if ids is not None:
        _check_range(ids, config.vocab_size, "input_ids", "Use the tokenizer that belongs to this checkpoint.")
        if config.eos_token_id != LEGACY_EOS_TOKEN_ID:
            without_end = np.flatnonzero(~(ids == config.eos_token_id).any(axis=-1))
            if without_end.size:
                raise InputError(
                    f"input_ids: expected the end-of-text id {config.eos_token_id} in every row, row {without_end[0]} "
                    "has none. Tokenize with special tokens, and truncate with the tokenizer, not by slicing."
                )
    if positions is not None:
        _check_range(positions, config.max_position_embeddings, "position_ids", "Positions count from 0.")
    if mask is not None:
        _check_mask(mask)


def _check_range(values: NDArray[Any], limit: int, name: str, advice: str) -> None:
    if values.size and (values.min() < 0 or values.max() >= limit):
        raise InputError(f"{name}: expected 0 to {limit - 1}, got {values.min()} to {values.max()}. {advice}")


def _check_mask(mask: NDArray[Any]) -> None:
    others = mask[~np.isin(mask, (0, 1))]
    if others.size:
        raise InputError(
            f"attention_mask: expected only 1 (a token) and 0 (padding), got {others[0]}. "
            "Pass the tokenizer's mask, not one that is added to attention scores."
        )
    empty = np.flatnonzero(~mask.astype(bool).any(axis=-1))
    if empty.size:
        raise InputError(f"attention_mask: row {empty[0]} has no token. Drop the row, or mask with 1 what is text.")
    left = np.flatnonzero(mask[..., 0] == 0)
    if left.size:
        raise InputError(
            f"attention_mask: row {left[0]} begins with padding. CLIP's text tower is defined for padding "
            "at the right: tokenize with padding_side='right'."
        )


def check_pixel_input(shape: Sizes, dtype: str, config: CLIPVisionConfig, interpolate_pos_encoding: bool) -> None:
    """Checks ``pixel_values`` ``[batch, channel, height, width]``.

    Raises:
        InputTypeError: pixel values are not floating-point numbers.
        InputError: a wrong number of axes or channels, or of pixels without ``interpolate_pos_encoding``.
    """
    if "float" not in dtype:
        raise InputTypeError(
            f"pixel_values: expected floating-point numbers, got {dtype}. Prepare images with CLIPImageProcessor."
        )
    if len(shape) != 4:
        raise InputError(
            f"pixel_values: expected shape [batch, channel, height, width], got {_show(shape)}. "
            "Prepare images with CLIPImageProcessor."
        )
    _, channels, height, width = shape
    if channels not in (None, config.num_channels):
        last = " The channels seem to be last: transpose to [batch, channel, height, width]."
        hint = last if width == config.num_channels else " Prepare images with CLIPImageProcessor."
        raise InputError(f"pixel_values: expected {config.num_channels} channels, got {_show(shape)}.{hint}")
    size, patch = config.image_size, config.patch_size
    if not interpolate_pos_encoding and (height not in (None, size) or width not in (None, size)):
        raise InputError(
            f"pixel_values: expected {size} x {size} pixels, got {height} x {width}. "
            "Resize the images, or pass interpolate_pos_encoding=True."
        )
    if any(side is not None and side < patch for side in (height, width)):
        raise InputError(
            f"pixel_values: expected at least one patch of {patch} pixels, got {height} x {width}. Enlarge the images."
        )


def check_pixel_values(pixels: NDArray[Any] | None) -> None:
    """Checks ``pixel_values`` that are given as a host array (``None``: absent, or not to be looked at).

    Raises:
        InputError: they are brightnesses from 0 to 255. Normalised ones lie around 0: with the mean and deviation of
            CLIP's processor from -1.8 to 2.2.
    """
    if pixels is None or not pixels.size:
        return
    lowest, highest = float(pixels.min()), float(pixels.max())
    if lowest >= 0 and highest > MAX_NORMALISED:
        raise InputError(
            f"pixel_values: expected numbers around 0, got {lowest:g} to {highest:g}, as of pixels that are not "
            "normalised. Prepare images with CLIPImageProcessor, which divides by 255 and normalises."
        )


def check_batch_statistics(count: int | None) -> None:
    """Checks that batch normalisation has more than one value per channel to train with (``None``: not known).

    Raises:
        InputError: it has one, which has no variance, or none.
    """
    if count is not None and count < 2:
        raise InputError(
            "pixel_values: expected more than one image, or larger ones, to train a ResNet tower with, got "
            f"{'one value' if count else 'no values'} per channel in a batch normalisation, without a variance. Train "
            "with more images, or keep the statistics as they are: model.vision_model.eval() in PyTorch and Flax, "
            "model.vision_model.trainable = False in Keras."
        )


def check_pair_counts(images: int | None, texts: int | None) -> None:
    """Checks that the contrastive loss has as many images as texts.

    Raises:
        InputError: the counts differ.
    """
    if images != texts and images is not None and texts is not None:
        raise InputError(
            f"return_loss: expected as many images as texts, in pairs, got {images} and {texts}. "
            "Leave out return_loss where they are no pairs."
        )


def _agree(shape: Sizes, wanted: Sizes) -> bool:
    return len(shape) == len(wanted) and all(
        a is None or b is None or a == b for a, b in zip(shape, wanted, strict=True)
    )


def _show(shape: Sizes) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
