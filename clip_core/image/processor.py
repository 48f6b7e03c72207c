"""CLIP's image transform: from images to `pixel_values`.

Bit for bit the transform of transformers 4.57 (`models/clip/image_processing_clip.py`, the Pillow one), without
importing a framework. What differs is stricter: wrong input is an error here, where upstream warns or guesses.
"""

import dataclasses
import json
import os
import warnings
from collections.abc import Mapping
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from PIL import Image

from clip_core.batch import BatchFeature
from clip_core.checkpoint.files import CODE_KEYS, read_json, write_text_atomically
from clip_core.errors import CheckpointFormatError, ConfigError
from clip_core.image.inputs import ChannelDimension, Pixels, errors_naming, flatten_images
from clip_core.image.many import prepare_all
from clip_core.image.options import (
    BICUBIC,
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
    ChannelStatistic,
    ImageOptions,
    Profile,
    Size,
    parse_crop_size,
    parse_size,
)
from clip_core.image.pipeline import transform
from clip_core.image.steps import Steps, layout_of_arrays
from clip_core.loading_options import sort_keywords
from clip_core.saving_options import Publishable, sort_saving_keywords

FILE_NAME = "preprocessor_config.json"
NESTED_FILE_NAME = "processor_config.json"  # transformers 5 nests the image processor's options in here

OPTION_NAMES = tuple(field.name for field in dataclasses.fields(ImageOptions))
"""The options, which are attributes and keywords."""


class CLIPImageProcessor(Steps, Publishable):
    """Turns images into what CLIP's vision tower reads.

    In order: convert to RGB, resize, crop the middle, multiply by `rescale_factor`, subtract `image_mean` and divide
    by `image_std`. Every option is an attribute; `preprocess` can override each for one call.

    Args:
        do_resize: whether to resize.
        size: an int or `{"shortest_edge": n}` keeps the aspect ratio, and so does `{"longest_edge": n}`, which makes
            the image fit into a square instead of covering it; `[height, width]` or `{"height", "width"}` does not
            keep it. In pixels.
        resample: Pillow's number of the filter; 3 is bicubic.
        do_center_crop: whether to crop; what lies outside a smaller image becomes `fill_color`.
        crop_size: an int (square), `[height, width]` or `{"height", "width"}`, in pixels.
        do_rescale: whether to multiply by `rescale_factor`. Turn it off for fractions of 1.
        rescale_factor: usually 1/255.
        do_normalize: whether to subtract the mean and divide by the standard deviation.
        image_mean: one number, or one per channel, in units of the rescaled image.
        image_std: likewise.
        do_convert_rgb: whether to convert Pillow images to RGB. Alpha is dropped, not composited.
        use_square_size: turn `size` from a shortest edge into a square (KOSMOS-2); not kept as an attribute.
        profile: which of two published transforms to follow to the pixel. "huggingface" converts to RGB first and
            rounds an odd crop margin down. "openai" is the transform that CLIP was trained with (`clip/clip.py`): it
            converts after cropping, which shows in images with a palette, alpha or 16 bits, and rounds half a pixel to
            the even neighbour, which moves a quarter of all crops by one pixel. In all else the two are equal.
            open_clip's transform is the second; see `clip_core.image.open_clip`.
        fill_color: of what lies outside the image, from 0 (black, before normalisation) to 255. As in open_clip, it is
            a number in the image's own mode: of a palette, the entry; of CMYK, ink. It and the longest edge need the
            profile "openai".

    Raises:
        ConfigError: an option that describes no transform.
    """

    model_input_names: ClassVar[list[str]] = ["pixel_values"]

    do_resize: bool
    size: dict[str, int]
    resample: int
    do_center_crop: bool
    crop_size: dict[str, int]
    do_rescale: bool
    rescale_factor: float
    do_normalize: bool
    image_mean: ChannelStatistic
    image_std: ChannelStatistic
    do_convert_rgb: bool
    profile: Profile
    fill_color: int

    def __init__(
        self,
        do_resize: bool = True,
        size: Size | None = None,
        resample: int = BICUBIC,
        do_center_crop: bool = True,
        crop_size: Size | None = None,
        do_rescale: bool = True,
        rescale_factor: float = 1 / 255,
        do_normalize: bool = True,
        image_mean: ChannelStatistic | None = None,
        image_std: ChannelStatistic | None = None,
        do_convert_rgb: bool = True,
        *,
        use_square_size: bool = False,
        profile: Profile = "huggingface",
        fill_color: int = 0,
    ) -> None:
        size = parse_size(224 if size is None else size)
        if use_square_size and "shortest_edge" in size:
            size = parse_crop_size(size["shortest_edge"])
        options = ImageOptions(
            do_resize=do_resize,
            size=size,
            resample=resample,
            do_center_crop=do_center_crop,
            crop_size=parse_crop_size(224 if crop_size is None else crop_size),
            do_rescale=do_rescale,
            rescale_factor=rescale_factor,
            do_normalize=do_normalize,
            image_mean=list(OPENAI_CLIP_MEAN) if image_mean is None else image_mean,
            image_std=list(OPENAI_CLIP_STD) if image_std is None else image_std,
            do_convert_rgb=do_convert_rgb,
            profile=profile,
            fill_color=fill_color,
        )
        for name in OPTION_NAMES:
            setattr(self, name, getattr(options, name))
        self._other_keys: dict[str, Any] = {}  # of a preprocessor_config.json written by someone else

    def preprocess(
        self,
        images: Any,
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
        return_tensors: str | None = None,
        data_format: ChannelDimension | str | None = ChannelDimension.FIRST,
        input_data_format: ChannelDimension | str | None = None,
    ) -> BatchFeature:
        """Transform one image or any nesting of images.

        Args:
            images: Pillow images, or arrays `[height, width, channel]` or `[channel, height, width]` of NumPy, PyTorch,
                TensorFlow or JAX with values from 0 to 255, 4-D batches of these, and lists of all that.
            return_tensors: "np", "pt", "tf" or "jax" for one stacked array; `None` for a list of NumPy arrays.
            data_format: layout of the result, "channels_first" or "channels_last"; `None` keeps that of the input.
            input_data_format: layout of the arrays among `images`; inferred if left out. Pillow images need none.

        The other arguments override the attribute of that name.

        Returns:
            `pixel_values`: `[batch, channel, height, width]`, float32.

        Raises:
            InputTypeError: something is not an image, or its dtype is no pixel's.
            ImageError: a Pillow image that cannot be decoded or converted, or an image without pixels.
            InputError: an array of another shape or ambiguous layout, values that cannot be pixels, or values already
                in [0, 1] with `do_rescale=True`.
            ConfigError: an option that describes no transform, or a mean that does not fit the number of channels.
        """
        options = self._options(
            {
                "do_resize": do_resize,
                "size": size,
                "resample": resample,
                "do_center_crop": do_center_crop,
                "crop_size": crop_size,
                "do_rescale": do_rescale,
                "rescale_factor": rescale_factor,
                "do_normalize": do_normalize,
                "image_mean": image_mean,
                "image_std": image_std,
                "do_convert_rgb": do_convert_rgb,
            }
        )
        target = None if data_format is None else ChannelDimension.parse(data_format, "data_format")
        named_images = flatten_images(images)
        array_layout = layout_of_arrays(named_images, input_data_format)

        def prepare(name: str, place: Pixels | None = None) -> Pixels:
            image = named_images[name]
            layout = ChannelDimension.LAST if isinstance(image, Image.Image) else array_layout
            with errors_naming(name):
                return transform(image, options, layout, target or layout, place)

        pixel_values = prepare_all(named_images, prepare, as_batch=return_tensors is not None)
        return BatchFeature({"pixel_values": pixel_values}, tensor_type=return_tensors)

    __call__ = preprocess

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str] | None = None, **keywords: Any) -> Self:
        """Read the options from a checkpoint directory or name, or from a JSON file; those given here win.

        Args:
            keywords: the options by the names of the attributes, and where to look for the checkpoint, as of
                `clip_core.loading_options.Location`. `use_fast` changes nothing: there is this one transform.

        Raises:
            CheckpointNotFoundError: no such directory or name, or no `preprocessor_config.json` in it.
            CheckpointFormatError: the file is not a JSON object.
            ConfigError: its values describe no transform, or it was written for another image processor.
            InputTypeError, InputError: a keyword that is unknown, or that has no meaning here.
        """
        given = sort_keywords(f"{cls.__name__}.from_pretrained", name_or_path, keywords, (*OPTION_NAMES, "use_fast"))
        path = Path(given.name)
        if not path.is_file():
            path = _options_file(given.location.directory(given.name, "image_processor"))
        return cls._read(path, {name: value for name, value in given.own.items() if name != "use_fast"})

    @classmethod
    def from_directory(cls, directory: Path, given: Mapping[str, Any] | None = None) -> Self:
        """Like `from_pretrained`, for a checkpoint directory that has been found already; `given` options win."""
        return cls._read(_options_file(directory), given or {})

    @classmethod
    def _read(cls, path: Path, given: Mapping[str, Any]) -> Self:
        chosen = {name: value for name, value in given.items() if value is not None}
        return cls.from_dict({**_read_options(path), **chosen})

    @classmethod
    def from_dict(cls, image_processor_dict: Mapping[str, Any]) -> Self:
        """The processor that a `preprocessor_config.json` describes; unknown keys are kept, but for code."""
        key = "image_processor_type" if image_processor_dict.get("image_processor_type") else "feature_extractor_type"
        written_for = str(image_processor_dict.get(key) or cls.__name__)
        if not (written_for == cls.__name__ or written_for.startswith("CLIP")):
            raise ConfigError(
                f"{key}: expected a name that begins with CLIP, got {written_for!r}, which transforms "
                "images in another way. If this transform is meant after all, remove that key"
            )
        given = {name: value for name, value in image_processor_dict.items() if value is not None}
        mine = {name: given.pop(name) for name in (*OPTION_NAMES, "use_square_size") if name in given}
        processor = cls(**mine)
        processor._other_keys = {
            name: value
            for name, value in given.items()
            if name not in ("image_processor_type", "feature_extractor_type", *CODE_KEYS)
        }
        return processor

    def save_pretrained(self, save_directory: str | os.PathLike[str], **keywords: Any) -> list[str]:
        """Write `preprocessor_config.json`, which transformers reads too, and return its path in a list.

        Args:
            keywords: `push_to_hub` and the like; see `clip_core.saving_options`.
        """
        path = Path(save_directory) / FILE_NAME
        upload = sort_saving_keywords(f"{type(self).__name__}.save_pretrained", path.parent, keywords)
        self.to_json_file(path)
        if upload is not None:
            upload.send(path.parent, [FILE_NAME])
        return [str(path)]

    def to_dict(self) -> dict[str, Any]:
        """The options as plain Python values, and the class name under `image_processor_type`.

        `profile` and `fill_color` are left out when they are the default, so that the file looks like upstream's.
        """
        options = dataclasses.asdict(self._options({}))
        for name in ("image_mean", "image_std"):
            options[name] = np.asarray(options[name]).tolist()
        for name, default in (("profile", "huggingface"), ("fill_color", 0)):
            if options[name] == default:
                del options[name]
        return {**self._other_keys, **options, "image_processor_type": type(self).__name__}

    def to_json_string(self) -> str:
        """`to_dict` as JSON text with sorted keys."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def to_json_file(self, json_file_path: str | os.PathLike[str]) -> None:
        """Write `to_json_string` to a file, beside and then renamed."""
        write_text_atomically(Path(json_file_path), self.to_json_string())

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"

    def _options(self, overrides: Mapping[str, Any]) -> ImageOptions:
        """The attributes, which anybody may have assigned to, and what this call overrides, checked."""
        return ImageOptions(
            **{name: getattr(self, name) if overrides.get(name) is None else overrides[name] for name in OPTION_NAMES}
        )


class CLIPFeatureExtractor(CLIPImageProcessor):
    """The old name of `CLIPImageProcessor`; making one emits a `FutureWarning`."""

    @wraps(CLIPImageProcessor.__init__)  # type: ignore[misc]  # mypy takes no decorated constructor
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn(
            "CLIPFeatureExtractor is the old name of this class; use CLIPImageProcessor.", FutureWarning, stacklevel=2
        )
        super().__init__(*args, **kwargs)


def _options_file(directory: Path) -> Path:
    """The file that describes the image processor: its own, or the processor's where there is only that."""
    use_nested = (directory / NESTED_FILE_NAME).is_file() and not (directory / FILE_NAME).is_file()
    return directory / (NESTED_FILE_NAME if use_nested else FILE_NAME)


def _read_options(path: Path) -> Mapping[str, Any]:
    config = read_json(path)
    saved = config.get("image_processor", config)
    if not isinstance(saved, Mapping):
        raise CheckpointFormatError(f"{path}: expected the options of an image processor, got {saved!r}")
    return saved
