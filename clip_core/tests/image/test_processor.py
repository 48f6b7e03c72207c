"""The image processor against transformers' hashes, OpenAI's transform written by hand, and every wrong input."""

import io
import json
import subprocess
import sys
import tarfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clip_core.errors import (
    CheckpointFormatError,
    CheckpointNotFoundError,
    ConfigError,
    ImageError,
    InputError,
    InputTypeError,
)
from clip_core.image.many import are_independent
from clip_core.image.options import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from clip_core.image.processor import CLIPFeatureExtractor, CLIPImageProcessor
from clip_core.tests.image.make_image_goldens import golden_names, golden_of, read_goldens
from clip_core.tests.synthetic_images import MODES, WIDE_GREY, synthetic_array, synthetic_image

GOLDENS = read_goldens()


def pixel_values(images: Any, **arguments: Any) -> np.ndarray:
    return CLIPImageProcessor()(images, return_tensors="np", **arguments)["pixel_values"]


def openai_transform(image: Image.Image, size: int) -> np.ndarray:
    """Resize, CenterCrop, RGB, ToTensor, Normalize of `clip/clip.py` with torchvision's rules, in Pillow and NumPy."""
    width, height = image.size
    if min(width, height) != size:
        short_first = width <= height
        long = int(size * max(width, height) / min(width, height))
        image = image.resize((size, long) if short_first else (long, size), Image.Resampling.BICUBIC)
    width, height = image.size
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)  # half to even
    image = image.crop((left, top, left + size, top + size)).convert("RGB")
    fractions = np.asarray(image).transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    return (fractions - mean) / std


class TestAgainstTransformers:
    @pytest.mark.parametrize(("settings_name", "mode", "height", "width"), golden_names())
    def test_equals_golden(self, settings_name: str, mode: str, height: int, width: int) -> None:
        golden = GOLDENS[f"{settings_name} {mode} {height}x{width}"]
        assert golden_of(CLIPImageProcessor, settings_name, mode, height, width) == golden

    def test_odd_crop_margin_is_rounded_down(self) -> None:
        # 427 x 640 becomes 224 x 335: of the 111 columns too many, 55 go left. torchvision would take 56.
        image = synthetic_image("RGB", 427, 640)
        resized = np.asarray(image.resize((335, 224), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
        kept = pixel_values(image, do_rescale=False, do_normalize=False)[0]
        assert np.array_equal(kept, resized[:, :, 55 : 55 + 224])

    def test_padding_is_black_before_normalisation(self) -> None:
        white = Image.new("RGB", (4, 4), "white")
        result = pixel_values(white, size=4, crop_size=7, do_normalize=False)[0, 0]
        assert result.sum(axis=0).tolist() == [0, 0, 4, 4, 4, 4, 0]  # the larger half of the padding lies in front

    def test_file_is_the_one_that_transformers_writes(self) -> None:
        assert json.loads(CLIPImageProcessor().to_json_string()) == {
            "crop_size": {"height": 224, "width": 224},
            "do_center_crop": True,
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_processor_type": "CLIPImageProcessor",
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "resample": 3,
            "rescale_factor": 1 / 255,
            "size": {"shortest_edge": 224},
        }


class TestOpenAIProfile:
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize(("height", "width"), [(97, 41), (53, 80), (32, 32), (45, 67), (3, 500)])
    def test_equals_openai(self, mode: str, height: int, width: int) -> None:
        image = synthetic_image(mode, height, width)
        processor = CLIPImageProcessor(profile="openai", size=32, crop_size=32)
        result = processor(image, return_tensors="np")["pixel_values"][0]
        # Grey of 16 bits, and of floats, is brought to 8 bits before all else.
        eight_bits = synthetic_image("L", height, width) if mode in WIDE_GREY else image
        eight_bits = image.convert("L") if mode == "F" else eight_bits
        assert result.tobytes() == openai_transform(eight_bits, 32).tobytes()

    def test_profiles_differ_where_the_margin_rounds(self) -> None:
        image = synthetic_image("RGB", 427, 640)
        assert not np.array_equal(
            CLIPImageProcessor(profile="openai")(image)["pixel_values"][0], pixel_values(image)[0]
        )

    def test_array_is_cropped_like_an_image(self) -> None:
        processor, array = CLIPImageProcessor(profile="openai"), synthetic_array(427, 640)
        from_image = processor(Image.fromarray(array))["pixel_values"][0]
        assert np.array_equal(processor(array)["pixel_values"][0], from_image)

    def test_is_saved_only_if_chosen(self, tmp_path: Any) -> None:
        CLIPImageProcessor(profile="openai").save_pretrained(tmp_path)
        assert CLIPImageProcessor.from_pretrained(tmp_path).profile == "openai"
        assert "profile" not in CLIPImageProcessor().to_dict()


class TestInputs:
    def test_layouts_and_containers_agree(self) -> None:
        array = synthetic_array(30, 41)
        expected = pixel_values(Image.fromarray(array))
        first = array.transpose(2, 0, 1)
        for images in (array, first, [array], [[first], []], array[None], (Image.fromarray(array),)):
            assert np.array_equal(pixel_values(images), expected)

    def test_batch_keeps_its_order(self) -> None:
        images = [synthetic_image("RGB", 30, 41, seed) for seed in range(3)]
        alone = np.concatenate([pixel_values(image) for image in images])
        assert np.array_equal(pixel_values(images), alone)
        assert pixel_values(images).shape == (3, 3, 224, 224)

    def test_images_and_channels_first_arrays_mix(self) -> None:
        array = synthetic_array(30, 41)
        first, second = pixel_values([array.transpose(2, 0, 1), Image.fromarray(array)])
        assert np.array_equal(first, second)

    @pytest.mark.parametrize("height", [1, 3])
    def test_pillow_image_of_few_rows_is_not_taken_for_channels_first(self, height: int) -> None:
        image = synthetic_image("RGB", height, 50)
        assert np.array_equal(pixel_values(image), pixel_values(np.asarray(image), input_data_format="channels_last"))

    def test_ambiguous_array_follows_the_others(self) -> None:
        batch = [synthetic_array(30, 41), synthetic_array(3, 41)]
        expected = pixel_values(batch[1], input_data_format="channels_last")
        assert np.array_equal(pixel_values(batch)[1:], expected)

    def test_fractions_without_rescaling(self) -> None:
        array = synthetic_array(224, 224)
        fractions = array.astype(np.float32) / np.float32(255)
        assert np.abs(pixel_values(fractions, do_rescale=False) - pixel_values(array)).max() < 0.016  # a level of 255

    def test_black_float_image_is_fine(self) -> None:
        assert np.array_equal(pixel_values(np.zeros((9, 7, 3))), pixel_values(np.zeros((9, 7, 3), dtype=np.uint8)))

    def test_result_is_a_list_or_an_array(self) -> None:
        image = synthetic_image("RGB", 9, 7)
        assert isinstance(CLIPImageProcessor()(image).pixel_values, list)
        assert pixel_values(image, data_format="channels_last").shape == (1, 224, 224, 3)
        assert CLIPImageProcessor()(synthetic_array(9, 7), data_format=None).pixel_values[0].shape == (224, 224, 3)

    def test_input_is_left_alone(self) -> None:
        array = synthetic_array(9, 7).astype(np.float32)
        before = array.copy()
        result = pixel_values(array, do_resize=False, do_center_crop=False)
        assert np.array_equal(array, before)
        assert not np.shares_memory(result, array)

    @settings(max_examples=40, deadline=None)
    @given(st.integers(1, 400), st.integers(1, 400), st.sampled_from(["huggingface", "openai"]))
    def test_every_size_gives_the_crop_size(self, height: int, width: int, profile: Any) -> None:
        processor = CLIPImageProcessor(size=9, crop_size=[11, 7], profile=profile)
        result = processor(synthetic_array(height, width), return_tensors="np", input_data_format="channels_last")
        assert result["pixel_values"].shape == (1, 3, 11, 7)
        assert np.isfinite(result["pixel_values"]).all()


class TestWrongInputs:
    @pytest.mark.parametrize(
        ("images", "error", "message"),
        [
            ([], InputError, "at least one image, got an empty list"),
            ([[], []], InputError, "at least one image"),
            (None, InputTypeError, "images: expected a Pillow image.*got NoneType"),
            ("cat.png", InputTypeError, "got str.*load_image"),
            ([Image.new("RGB", (2, 2)), 7], InputTypeError, r"images\[1\]: .*got int"),
            ({"image": 1}, InputTypeError, "got dict"),
            (np.zeros((5, 5), np.uint8), InputError, r"got shape \(5, 5\). Give a greyscale image as a Pillow image"),
            (np.zeros((1, 1, 5, 5, 3), np.uint8), InputError, "got shape"),
            (np.zeros((5, 7, 4), np.uint8), InputError, "expected 1 or 3 channels.*input_data_format"),
            (np.zeros((3, 7, 3), np.uint8), InputError, "first or last. Pass input_data_format"),
            ([np.zeros((3, 7, 5)), np.zeros((7, 5, 3))], InputError, "some arrays have their channels first"),
            (np.zeros((0, 5, 3), np.uint8), ImageError, r"at least one pixel, got shape \(0, 5, 3\)"),
            (Image.new("RGB", (0, 5)), ImageError, "at least one pixel"),
            ([np.full((5, 7, 3), np.nan)], InputError, r"images\[0\]: expected finite .* got NaN"),
            (np.full((5, 7, 3), np.inf), InputError, "finite"),
            (np.full((5, 7, 3), 0.5), InputError, "look rescaled already. Pass do_rescale=False, or multiply by 255"),
            (np.full((5, 7, 3), 1.0), InputError, "do_rescale=False"),
            (np.full((5, 7, 3), 12.5), InputError, "fractional pixel values.*uint8"),
            (np.full((5, 7, 3), 256), InputError, r"whole pixel values in \[0, 255\] to resize, got 256"),
            (np.full((5, 7, 3), -1), InputError, "got -1"),
            (np.ones((5, 7, 3), bool), InputTypeError, "got dtype bool"),
            (np.ones((5, 7, 3), complex), InputTypeError, "got dtype complex128"),
            (np.full((5, 7, 3), "a"), InputTypeError, "got dtype <U1"),
            (np.zeros((5, 7, 1), np.uint8), ConfigError, "image_mean: expected 1 values for 1 channels, got 3"),
            (Image.new("La", (5, 5)), ImageError, "cannot decode or convert this La image"),
            (Image.new("RGB", (1, 9000)), ImageError, "aspect ratio is too extreme.*2016000 x 224"),
        ],
    )
    def test_is_refused(self, images: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            CLIPImageProcessor()(images)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"size": {"longest_edge": 5}}, "options of open_clip, not of transformers: expected profile 'openai'"),
            ({"size": {"shortest_edge": 5, "longest_edge": 9}}, "longest_edge"),
            ({"size": 0}, "from 1 on, got 0"),
            ({"size": 22.5}, "got 22.5"),
            ({"size": True}, "got True"),
            ({"size": [1, 2, 3]}, r"got \[1, 2, 3\]"),
            ({"crop_size": {"shortest_edge": 5}}, "crop_size"),
            ({"crop_size": {"height": 5, "width": -1}}, "got -1"),
            ({"resample": 9}, r"resample: expected one of 0 \(nearest\).*got 9"),
            ({"rescale_factor": "a"}, "rescale_factor: expected a finite number"),
            ({"image_mean": "abc"}, "image_mean: expected a number"),
            ({"image_mean": [0.1, None, 0.3]}, "image_mean: expected a finite number, got None"),
            ({"image_std": [0.1, 0, 0.3]}, "image_std: expected numbers other than 0"),
            ({"do_resize": "no"}, "do_resize: expected True or False"),
            ({"crop_size": 12_000}, r"crop_size: expected at most 16777216 pixels \(4096 x 4096\), got 12000 x 12000"),
            ({"size": 4097}, "size: expected at most 16777216 pixels"),
            ({"size": [1, 10**400]}, "size: expected at most 16777216 pixels"),
            ({"image_std": 1e-300}, r"image_std 1e-300.*pixel values of at most 1e\+06, got up to 1.48e\+300"),
            ({"image_mean": [0.5, 1e300, 0.5]}, "expected pixel values of at most"),
            ({"rescale_factor": 1e300}, "expected pixel values of at most"),
            ({"rescale_factor": 10**400}, "rescale_factor: expected a finite number"),
        ],
    )
    def test_option_is_refused(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            CLIPImageProcessor(**options)
        with pytest.raises(ConfigError, match=message):
            CLIPImageProcessor()(Image.new("RGB", (5, 5)), **options)

    def test_mean_of_another_length_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="image_mean: expected 3 values for 3 channels, got 2"):
            pixel_values(Image.new("RGB", (5, 5)), image_mean=[0.1, 0.2])

    def test_unknown_profile_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="profile: expected 'huggingface' or 'openai', got 'open_clip'"):
            CLIPImageProcessor(profile="open_clip")

    @pytest.mark.parametrize("argument", ["data_format", "input_data_format"])
    def test_unknown_layout_is_refused(self, argument: str) -> None:
        with pytest.raises(InputError, match=f"{argument}: expected 'channels_first' or 'channels_last', got 'NHWC'"):
            CLIPImageProcessor()(Image.new("RGB", (5, 5)), **{argument: "NHWC"})

    def test_uncropped_images_of_two_sizes_make_no_array(self) -> None:
        images = [Image.new("RGB", (50, 40)), Image.new("RGB", (50, 30))]
        assert len(CLIPImageProcessor(do_center_crop=False)(images).pixel_values) == 2
        with pytest.raises(InputError, match="pixel_values"):
            CLIPImageProcessor(do_center_crop=False)(images, return_tensors="np")

    def test_mode_without_channels_needs_rgb(self) -> None:
        with pytest.raises(ImageError, match=r"got mode 'L'\. Leave do_convert_rgb on"):
            pixel_values(Image.new("L", (5, 5)), do_convert_rgb=False)

    def test_broken_lazy_image_is_named(self, tmp_path: Any) -> None:
        path = tmp_path / "cut.png"
        synthetic_image("RGB", 64, 64).save(path)
        path.write_bytes(path.read_bytes()[:900])
        for profile in ("huggingface", "openai"):
            with Image.open(path) as image, pytest.raises(ImageError, match=r"images\[1\]: Pillow cannot decode"):
                CLIPImageProcessor(profile=profile)([Image.new("RGB", (4, 4)), image])


class TestMethods:
    def test_single_steps_compose_to_the_whole(self) -> None:
        processor, array = CLIPImageProcessor(), synthetic_array(60, 83)
        step = processor.resize(array, {"shortest_edge": 224})
        step = processor.center_crop(step, {"height": 224, "width": 224})
        step = processor.rescale(step, 1 / 255)
        step = processor.normalize(step, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, data_format="channels_first")
        assert np.array_equal(step, pixel_values(array)[0])

    def test_methods_take_one_array(self) -> None:
        with pytest.raises(InputTypeError, match=r"3-D NumPy array, got shape \(1, 9, 9, 3\)"):
            CLIPImageProcessor().resize(np.zeros((1, 9, 9, 3)), {"shortest_edge": 2})
        with pytest.raises(InputTypeError, match="got Image"):
            CLIPImageProcessor().rescale(Image.new("RGB", (2, 2)), 2)

    def test_attributes_can_be_assigned_and_are_checked(self) -> None:
        processor = CLIPImageProcessor()
        processor.size = {"shortest_edge": 5}
        processor.do_center_crop = False
        assert processor(Image.new("RGB", (50, 30)))["pixel_values"][0].shape == (3, 5, 8)
        processor.size = {"longest_edge": 5}
        with pytest.raises(ConfigError, match="longest_edge"):
            processor(Image.new("RGB", (5, 5)))


class TestFiles:
    def test_round_trip(self, tmp_path: Any) -> None:
        processor = CLIPImageProcessor(size=[30, 40], image_mean=0.5, image_std=np.array([0.1, 0.2, 0.3]), resample=2)
        assert processor.save_pretrained(tmp_path / "new") == [str(tmp_path / "new" / "preprocessor_config.json")]
        for place in (tmp_path / "new", tmp_path / "new" / "preprocessor_config.json"):
            assert CLIPImageProcessor.from_pretrained(place).to_dict() == processor.to_dict()

    def test_given_options_win(self, tmp_path: Any) -> None:
        CLIPImageProcessor(size=30, resample=2).save_pretrained(tmp_path)
        processor = CLIPImageProcessor.from_pretrained(tmp_path, size=[4, 5], do_normalize=False)
        assert (processor.size, processor.resample) == ({"height": 4, "width": 5}, 2)
        assert not processor.do_normalize

    def test_old_spelling(self) -> None:
        old = {"crop_size": 224, "size": 288, "feature_extractor_type": "CLIPFeatureExtractor", "resample": 3}
        processor = CLIPImageProcessor.from_dict(old)
        assert processor.size == {"shortest_edge": 288}
        assert processor.crop_size == {"height": 224, "width": 224}
        assert "feature_extractor_type" not in processor.to_dict()

    def test_nested_in_processor_config(self, tmp_path: Any) -> None:
        (tmp_path / "processor_config.json").write_text('{"image_processor": {"size": 30, "device": null}}')
        assert CLIPImageProcessor.from_pretrained(tmp_path).size == {"shortest_edge": 30}

    def test_unknown_keys_are_kept(self) -> None:
        processor = CLIPImageProcessor.from_dict({"processor_class": "CLIPProcessor", "size": 30})
        assert processor.to_dict()["processor_class"] == "CLIPProcessor"

    def test_square_size(self) -> None:
        processor = CLIPImageProcessor.from_dict({"use_square_size": True, "size": 30})
        assert processor.size == {"height": 30, "width": 30}
        assert "use_square_size" not in processor.to_dict()

    def test_foreign_file_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="begins with CLIP, got 'SiglipImageProcessor'"):
            CLIPImageProcessor.from_dict({"image_processor_type": "SiglipImageProcessor"})
        with pytest.raises(ConfigError, match="feature_extractor_type: expected.*got 'ViTFeatureExtractor'"):
            CLIPImageProcessor.from_dict({"feature_extractor_type": "ViTFeatureExtractor"})

    def test_missing_and_broken_files(self, tmp_path: Any) -> None:
        with pytest.raises(CheckpointNotFoundError, match=r"preprocessor_config\.json"):
            CLIPImageProcessor.from_pretrained(tmp_path)
        (tmp_path / "preprocessor_config.json").write_text("{")
        with pytest.raises(CheckpointFormatError):
            CLIPImageProcessor.from_pretrained(tmp_path)

    def test_feature_extractor_is_the_old_name(self) -> None:
        with pytest.warns(FutureWarning, match="use CLIPImageProcessor"):
            extractor = CLIPFeatureExtractor(size=30)
        assert extractor.size == {"shortest_edge": 30}
        assert extractor.to_dict()["image_processor_type"] == "CLIPFeatureExtractor"


def test_imports_no_framework() -> None:
    program = (
        "import sys, numpy; from clip_core.image.processor import CLIPImageProcessor as P;"
        "P()(numpy.zeros((5, 4, 3), numpy.uint8), return_tensors='np');"
        "print({'torch', 'tensorflow', 'keras', 'jax', 'flax', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_arrays_of_each_number_of_channels_are_resized_as_pillow_does(channels, mode, layout):
    """Of two or four, the last is alpha to Pillow, by which it weighs the others."""
    image = synthetic_image("RGBA", 61, 83).convert(mode)
    resized = np.asarray(image.resize((27, 19), Image.Resampling.BICUBIC)).reshape(19, 27, channels)
    pixels = np.asarray(image).reshape(*image.size[::-1], channels)
    pixels = pixels.transpose(2, 0, 1) if layout == "channels_first" else pixels
    processor = CLIPImageProcessor(size=[19, 27], do_center_crop=False, do_rescale=False, do_normalize=False)
    found = processor(pixels, input_data_format=layout, data_format="channels_last")["pixel_values"][0]
    np.testing.assert_array_equal(found, resized)


class TestManyImages:
    """In threads, into one array: what each is by itself."""

    def test_each_is_what_it_is_alone(self):
        images = [synthetic_image("RGB", 30 + 7 * seed, 61 - seed, seed) for seed in range(9)]
        images[4] = synthetic_image("P", 31, 44, 3)
        images[6] = synthetic_array(37, 43, 3)
        processor = CLIPImageProcessor(size=23, crop_size=19)
        batch = processor(images, return_tensors="np")["pixel_values"]
        alone = [processor(image)["pixel_values"][0] for image in images]
        assert batch.dtype == np.float32
        assert batch.flags["C_CONTIGUOUS"]
        np.testing.assert_array_equal(batch, alone)
        np.testing.assert_array_equal(processor(images)["pixel_values"], alone)

    def test_of_two_kinds_are_one_array_of_the_wider(self):
        images = [synthetic_array(20, 23, 3), synthetic_array(20, 23, 3).astype(np.float64)]
        processor = CLIPImageProcessor(do_resize=False, do_rescale=False, crop_size=17)
        batch = processor(images, return_tensors="np", input_data_format="channels_last")["pixel_values"]
        assert batch.dtype == np.float64
        np.testing.assert_array_equal(batch[0].astype(np.float32), processor(images[0])["pixel_values"][0])

    def test_the_first_that_is_wrong_is_named(self):
        images = [synthetic_array(20, 23, 3).astype(np.float32) for _ in range(6)]
        images[2][0, 0] = images[4][0, 0] = np.nan
        with pytest.raises(InputError, match=r"images\[2\]"):
            CLIPImageProcessor(size=9, crop_size=9)(images, return_tensors="np")

    def test_a_picture_that_comes_twice_is_decoded_once(self, tmp_path):
        """Pillow decodes in place when a picture is first used, which two threads must not do at the same time."""
        synthetic_image("RGB", 90, 120).save(tmp_path / "picture.png")
        processor = CLIPImageProcessor(size=23, crop_size=19)
        with Image.open(tmp_path / "picture.png") as image:
            assert not are_independent([image, image])
            batch = processor([image] * 8, return_tensors="np")["pixel_values"]
        assert (batch == batch[0]).all()

    def test_where_no_thread_can_be_started_there_is_this_one(self):
        """As when the main thread has ended, and another still prepares what it is to keep."""
        program = (
            "import threading, numpy; from clip_core.image.processor import CLIPImageProcessor as P\n"
            "def late():\n"
            "    threading.main_thread().join()\n"
            "    images = [numpy.full((5, 4, 3), n, numpy.uint8) for n in range(3)]\n"
            "    print(P()(images, return_tensors='np')['pixel_values'].shape)\n"
            "threading.Thread(target=late).start()"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert (done.stdout.strip(), done.stderr) == ("(3, 3, 224, 224)", "")

    def test_members_of_an_archive_are_decoded_one_after_the_other(self, tmp_path):
        """They are files to look at, each with a place of its own, and all move the place of the archive."""
        with tarfile.open(tmp_path / "pictures.tar", "w") as archive:
            for name in "abc":
                synthetic_image("RGB", 9, 8).save(tmp_path / f"{name}.bmp")
                archive.add(tmp_path / f"{name}.bmp", name)
        with tarfile.open(tmp_path / "pictures.tar") as archive:
            assert not are_independent([Image.open(archive.extractfile(name)) for name in "abc"])
        with (
            Image.open(tmp_path / "a.bmp") as first,
            Image.open(io.BytesIO((tmp_path / "b.bmp").read_bytes())) as second,
        ):
            assert are_independent([first, second, *[synthetic_array(4, 5, 3)] * 2])
