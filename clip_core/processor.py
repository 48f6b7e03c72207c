"""Images and text, prepared for CLIP in one call."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from clip_core.batch import BatchFeature
from clip_core.errors import InputError, InputTypeError
from clip_core.image.inputs import ChannelDimension, is_image
from clip_core.image.options import ChannelStatistic, Size
from clip_core.image.processor import OPTION_NAMES, CLIPImageProcessor
from clip_core.loading_options import sort_keywords
from clip_core.saving_options import Publishable, sort_saving_keywords
from clip_core.tokenizer.clip import CLIPTokenizer
from clip_core.tokenizer.fast import CLIPTokenizerFast
from clip_core.tokenizer.surface import SETTING_NAMES, Tokenizer

_PARTS = (OPTION_NAMES, SETTING_NAMES)


class CLIPProcessor(Publishable):
    """A `CLIPImageProcessor` and a CLIP tokenizer behind one call.

    Args:
        image_processor: what prepares the images.
        tokenizer: a `CLIPTokenizer` or `CLIPTokenizerFast`.
        feature_extractor: old name of `image_processor`; emits a `FutureWarning`.

    Raises:
        InputTypeError: one of the two is missing or of another kind.
    """

    attributes: ClassVar[list[str]] = ["image_processor", "tokenizer"]
    image_processor_class: ClassVar[str] = "CLIPImageProcessor"
    tokenizer_class: ClassVar[str] = "CLIPTokenizer"

    def __init__(
        self,
        image_processor: CLIPImageProcessor | None = None,
        tokenizer: Tokenizer | None = None,
        *,
        feature_extractor: CLIPImageProcessor | None = None,
    ) -> None:
        if feature_extractor is not None:
            _warn_of_old_name("feature_extractor", "image_processor")
        image_processor = feature_extractor if image_processor is None else image_processor
        if not isinstance(image_processor, CLIPImageProcessor):
            raise InputTypeError(f"image_processor: expected a CLIPImageProcessor, got {image_processor!r:.60}")
        if not isinstance(tokenizer, Tokenizer):
            raise InputTypeError(f"tokenizer: expected a CLIPTokenizer or CLIPTokenizerFast, got {tokenizer!r:.60}")
        self.image_processor = image_processor
        self.tokenizer = tokenizer

    def __call__(
        self,
        images: Any = None,
        text: Any = None,
        videos: None = None,
        audio: None = None,
        *,
        return_tensors: str | None = None,
        text_pair: Any = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        verbose: bool = True,
        do_resize: bool | None = None,
        size: Size | None = None,
        resample: int | None = None,
        do_center_crop: bool | None = None,
        crop_size: Size | None = None,
        do_rescale: bool | None = None,
        rescale_factor: float | None = None,
        do_normalize: bool | None = None,
        image_mean: ChannelStatistic | None = None,
        image_std: ChannelStatistic | None = None,
        do_convert_rgb: bool | None = None,
        data_format: ChannelDimension | str | None = ChannelDimension.FIRST,
        input_data_format: ChannelDimension | str | None = None,
    ) -> BatchFeature:
        """Prepare images, text, or both.

        Args:
            images: what `CLIPImageProcessor.preprocess` takes.
            text: a string, or a list of strings. It stood before `images` in old versions of transformers: pass both
                by keyword.
            videos, audio: CLIP has neither; only here because transformers has them in this place.
            return_tensors: "np", "pt", "tf" or "jax"; lists if left out.

        From `text_pair` to `verbose` the arguments are the tokenizer's; the rest are the image processor's.

        Returns:
            `pixel_values` `[batch, channel, height, width]` if there are images; `input_ids` and `attention_mask`
            `[batch, token]` if there is text.

        Raises:
            InputError: neither images nor text, or one of the two with values that cannot be.
            InputTypeError: images where text belongs, or the other way round.
        """
        if videos is not None or audio is not None:
            raise InputError("expected images or text, got videos or audio, which CLIP cannot read")
        if images is None and text is None:
            raise InputError("expected images or text or both, got neither")
        _check_not_swapped(images, text)
        batch = BatchFeature()
        if images is not None:
            batch |= self.image_processor(
                images,
                do_resize=do_resize,
                size=size,
                resample=resample,
                do_center_crop=do_center_crop,
                crop_size=crop_size,
                do_rescale=do_rescale,
                rescale_factor=rescale_factor,
                do_normalize=do_normalize,
                image_mean=image_mean,
                image_std=image_std,
                do_convert_rgb=do_convert_rgb,
                return_tensors=return_tensors,
                data_format=data_format,
                input_data_format=input_data_format,
            )
        if text is not None:
            batch |= self.tokenizer(
                text,
                text_pair=text_pair,
                add_special_tokens=add_special_tokens,
                padding=padding,
                truncation=truncation,
                max_length=max_length,
                stride=stride,
                is_split_into_words=is_split_into_words,
                pad_to_multiple_of=pad_to_multiple_of,
                padding_side=padding_side,
                return_tensors=return_tensors,
                return_token_type_ids=return_token_type_ids,
                return_attention_mask=return_attention_mask,
                return_overflowing_tokens=return_overflowing_tokens,
                return_special_tokens_mask=return_special_tokens_mask,
                return_offsets_mapping=return_offsets_mapping,
                return_length=return_length,
                verbose=verbose,
            )
        return batch

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> str:
        """The text of one sequence of token ids; see the tokenizer's `decode`."""
        return self.tokenizer.decode(token_ids, skip_special_tokens, clean_up_tokenization_spaces)

    def batch_decode(
        self, sequences: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> list[str]:
        """The texts of a batch of token ids; see the tokenizer's `batch_decode`."""
        return self.tokenizer.batch_decode(sequences, skip_special_tokens, clean_up_tokenization_spaces)

    @property
    def model_input_names(self) -> list[str]:
        """The names of all that a call can return for the model."""
        return [*self.image_processor.model_input_names, *self.tokenizer.model_input_names]

    @property
    def feature_extractor(self) -> CLIPImageProcessor:
        """Old name of `image_processor`; emits a `FutureWarning`."""
        _warn_of_old_name("feature_extractor", "image_processor")
        return self.image_processor

    @property
    def feature_extractor_class(self) -> str:
        """Old name of `image_processor_class`; emits a `FutureWarning`."""
        _warn_of_old_name("feature_extractor_class", "image_processor_class")
        return self.image_processor_class

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike[str] | None = None, *, use_fast: bool | None = None, **keywords: Any
    ) -> Self:
        """Load both parts from a checkpoint directory or name.

        Args:
            use_fast: take `CLIPTokenizerFast`. The default is `CLIPTokenizer`, which equals OpenAI's on every text.
            keywords: where to look for the checkpoint, as of `clip_core.loading_options.Location`, and what the parts'
                own `from_pretrained` take.

        Raises:
            CheckpointNotFoundError: no such directory or name, or a file is missing in it.
            CheckpointFormatError: a file in it is corrupt.
            MissingExtraError: `use_fast=True` without the `tokenizers` package.
            InputTypeError, InputError: a keyword that is unknown, or that has no meaning here.
        """
        own = (*OPTION_NAMES, *SETTING_NAMES)
        given = sort_keywords(f"{cls.__name__}.from_pretrained", name_or_path, keywords, own)
        directory = given.location.directory(given.name, "processor")
        return cls.from_directory(directory, use_fast=bool(use_fast), given=given.own)

    @classmethod
    def from_directory(cls, directory: Path, *, use_fast: bool = False, given: Mapping[str, Any] | None = None) -> Self:
        """Like `from_pretrained`, for a checkpoint directory that has been found already; what is `given` wins."""
        tokenizer_class = CLIPTokenizerFast if use_fast else CLIPTokenizer
        options, settings = ({n: v for n, v in (given or {}).items() if n in names} for names in _PARTS)
        return cls(
            CLIPImageProcessor.from_directory(directory, options),
            tokenizer_class.from_directory(directory, settings),
        )

    def save_pretrained(self, save_directory: str | os.PathLike[str], **keywords: Any) -> list[str]:
        """Write the files of both parts and return their paths; transformers reads them too.

        Args:
            keywords: `push_to_hub` and the like; see `clip_core.saving_options`.
        """
        directory = Path(save_directory)
        upload = sort_saving_keywords(f"{type(self).__name__}.save_pretrained", directory, keywords)
        signed = {**self.image_processor.to_dict(), "processor_class": type(self).__name__}
        written = type(self.image_processor).from_dict(signed).save_pretrained(directory)
        written += map(str, self.tokenizer.save_pretrained(directory))
        if upload is not None:
            upload.send(directory, [Path(path).name for path in written])
        return written

    def __repr__(self) -> str:
        return f"{type(self).__name__}(image_processor={self.image_processor!r}, tokenizer={self.tokenizer!r})"


def _check_not_swapped(images: Any, text: Any) -> None:
    """Old versions of transformers had `text` before `images`; a positional call in that order ends here."""
    first_image, first_text = _first_leaf(images), _first_leaf(text)
    if isinstance(first_image, str):
        raise InputTypeError(
            f"images: got the text {first_image!r:.60}. Images come first: call processor(images=..., text=...) by "
            "keyword. Open a file with clip_core.load_image"
        )
    if is_image(first_text):
        raise InputTypeError(
            f"text: got an image ({type(first_text).__name__}). Images come first: call "
            "processor(images=..., text=...) by keyword"
        )


def _first_leaf(value: Any) -> Any:
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return value


def _warn_of_old_name(old: str, new: str) -> None:
    warnings.warn(f"{old} is the old name of {new}", FutureWarning, stacklevel=3)
