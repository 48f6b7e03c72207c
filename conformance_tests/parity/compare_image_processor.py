"""Is our image processor transformers' one, bit for bit?

    python -m conformance_tests.parity.compare_image_processor

Runs both on images of every mode, size, array type and option, and compares dtype, shape and every byte of the result.
Also saves `preprocessor_config.json` with each and compares what the other reads from it.
Needs transformers 4.57 and all three frameworks; each framework's tensors are compared in a process of its own.
Ends with exit code 1 if a single image differs.
"""

import dataclasses
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import click
import numpy as np

from clip_core.image.processor import CLIPImageProcessor
from clip_core.tests.synthetic_images import MODES, WIDE_GREY, synthetic_array, synthetic_image

# framework -> the variable that makes transformers import it
FRAMEWORKS = {"numpy": "", "torch": "USE_TORCH", "tensorflow": "USE_TF", "jax": "USE_FLAX"}
# [height, width]: one pixel, below and above the target, odd margins, exact, extreme aspect ratios
SIZES = [
    *[(1, 1), (1, 2), (2, 1), (1, 97), (97, 1), (2, 3), (3, 2), (3, 50), (50, 3), (5, 7), (31, 17), (224, 224)],
    *[(223, 225), (225, 223), (224, 500), (500, 224), (427, 640), (640, 427), (334, 500), (2, 900), (1200, 3)],
    *[(600, 601), (601, 600), (768, 1024)],
]
HEIGHTS_MISREAD_UPSTREAM = (1, 3)
OPTIONS: dict[str, dict[str, Any]] = {
    **{f"resample={number}": {"resample": number} for number in range(6)},
    "size int": {"size": 97, "crop_size": 64},
    "size pair": {"size": {"height": 61, "width": 89}, "crop_size": {"height": 40, "width": 77}},
    "size list": {"size": [50, 31], "crop_size": [23, 29]},
    "pad both": {"size": 40, "crop_size": 71},
    "pad odd": {"size": {"height": 37, "width": 90}, "crop_size": {"height": 60, "width": 63}},
    "pad width": {"size": {"height": 90, "width": 38}, "crop_size": 61},
    "no resize": {"do_resize": False},
    "no crop": {"do_center_crop": False},
    "no rescale": {"do_rescale": False},
    "no normalize": {"do_normalize": False},
    "nothing": {"do_resize": False, "do_center_crop": False, "do_rescale": False, "do_normalize": False},
    "only normalize": {"do_resize": False, "do_center_crop": False, "do_rescale": False},
    "other statistics": {"image_mean": [0.5, 0.25, 0.1], "image_std": (0.3, 0.5, 0.7), "rescale_factor": 1 / 127.5},
    "scalar statistics": {"image_mean": 0.5, "image_std": 0.25},
    "square": {"use_square_size": True},
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One call of both processors."""

    name: str
    images: Any
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)  # constructor arguments
    call: dict[str, Any] = dataclasses.field(default_factory=dict)  # arguments of the call
    upstream_call: dict[str, Any] = dataclasses.field(default_factory=dict)  # what only upstream must be told
    upstream_images: Any = None  # what upstream gets instead


def pillow_cases() -> Iterator[Case]:
    """Pillow images: all modes, sizes and options."""
    modes_and_sizes = itertools.chain(
        itertools.product(("RGB", "L", "RGBA"), SIZES),
        itertools.product(MODES, [(5, 7), (427, 640), (301, 225)]),
    )
    for mode, (height, width) in modes_and_sizes:
        # Upstream takes a Pillow image of 1 or 3 rows for an array with its channels first.
        told = {"input_data_format": "channels_last"} if height in HEIGHTS_MISREAD_UPSTREAM else {}
        image = synthetic_image(mode, height, width)
        in_eight_bits = synthetic_image("L", height, width) if mode in WIDE_GREY else None  # upstream cuts 16 off
        yield Case(f"Pillow {mode} {height}x{width}", image, upstream_call=told, upstream_images=in_eight_bits)
    for (name, settings), (height, width) in itertools.product(OPTIONS.items(), [(150, 113), (81, 240)]):
        yield Case(f"Pillow {name} {height}x{width}", synthetic_image("RGB", height, width, seed=2), settings)
    for mode in ("RGB", "YCbCr", "HSV", "LAB"):
        yield Case(f"Pillow {mode} kept", synthetic_image(mode, 300, 217), {"do_convert_rgb": False})
    for mode in ("RGBA", "CMYK", "LA", "RGBX"):
        settings = {"do_convert_rgb": False, "image_mean": 0.4, "image_std": 0.3}
        image = synthetic_image(mode, 300, 217)
        yield Case(f"Pillow {mode} kept", image, settings, upstream_call={"input_data_format": "channels_last"})


def array_cases(convert: Callable[[np.ndarray], Any], dtypes: list[str]) -> Iterator[Case]:
    """Arrays of one framework: both layouts, several dtypes, sizes and options."""
    for (height, width), layout in itertools.product(SIZES, ("channels_first", "channels_last")):
        array = _laid_out(synthetic_array(height, width, seed=3), layout)
        call = {"input_data_format": layout} if {height, width} & {1, 3} else {}
        yield Case(f"uint8 {layout} {height}x{width}", convert(array), call=call)
    for dtype, layout in itertools.product(dtypes, ("channels_first", "channels_last")):
        array = _laid_out(synthetic_array(201, 149, seed=4), layout)
        yield Case(f"{dtype} {layout}", convert(array.astype(dtype)))
        yield Case(
            f"{dtype} {layout} to channels last", convert(array.astype(dtype)), call={"data_format": "channels_last"}
        )
        if np.issubdtype(dtype, np.floating):
            fractions = (array.astype(np.float64) / 255).astype(dtype)
            for name in ("no rescale", "only normalize"):
                yield Case(f"{dtype} fractions {layout} {name}", convert(fractions), OPTIONS[name])
            yield Case(
                f"{dtype} any values {layout}", convert((array * 2.5 - 70).astype(dtype)), OPTIONS["only normalize"]
            )
    for name, settings in OPTIONS.items():
        yield Case(f"uint8 {name}", convert(_laid_out(synthetic_array(83, 130, seed=5), "channels_first")), settings)
    one_channel = {"image_mean": [0.4], "image_std": [0.3]}
    yield Case(
        "one channel, first", convert(synthetic_array(1, 64, 50)), one_channel, {"input_data_format": "channels_first"}
    )
    yield Case("one channel, last", convert(synthetic_array(64, 50, 1)), one_channel)
    for channels in (2, 4):
        settings = {"image_mean": [0.4] * channels, "image_std": [0.3] * channels}
        image = convert(synthetic_array(64, 50, channels))
        yield Case(f"{channels} channels", image, settings, {"input_data_format": "channels_last"})
    batch = np.stack([synthetic_array(70, 90, seed=seed) for seed in range(3)])
    yield Case("4-D batch", convert(batch))
    yield Case("list of 4-D batches", [convert(batch), convert(batch[:2])])
    yield Case("list", [convert(synthetic_array(70, 90 + seed, seed=seed)) for seed in range(3)])
    yield Case("nested list", [[convert(item) for item in batch[:2]], [], [convert(batch[2])]])
    yield Case("with a Pillow image", [convert(batch[0]), synthetic_image("LA", 40, 60)])


def compare(cases: Iterator[Case]) -> tuple[int, list[str]]:
    """The number of images compared, and a line for each case that differs."""
    upstream_class = _upstream_class()
    count, differences = 0, []
    for case in cases:
        ours = CLIPImageProcessor(**case.settings)(case.images, **case.call)["pixel_values"]
        images = case.images if case.upstream_images is None else case.upstream_images
        theirs = upstream_class(**case.settings)(images, **case.call, **case.upstream_call)["pixel_values"]
        count += len(theirs)
        differences += [f"{case.name}: {difference}" for difference in _differences(ours, theirs)]
    return count, differences


def compare_files() -> tuple[int, list[str]]:
    """The number of files compared, and a line for each that the other library reads differently."""
    count, differences = 0, []
    for (name, settings), (writer, reader) in itertools.product(
        OPTIONS.items(), itertools.permutations([CLIPImageProcessor, _upstream_class()])
    ):
        with tempfile.TemporaryDirectory() as directory:
            written = writer(**settings)
            written.save_pretrained(directory)
            count += 1
            if json.loads(reader.from_pretrained(directory).to_json_string()) != json.loads(written.to_json_string()):
                differences.append(f"{name}: {reader.__module__} reads another file than was written")
    return count, differences


@click.command()
@click.option("--only", type=click.Choice([*FRAMEWORKS, "files"]), help="Compare these in this process; print JSON.")
def main(only: str | None) -> None:
    """Compare with transformers 4.57 and print the counts."""
    if only is not None:
        click.echo(json.dumps(compare_files() if only == "files" else compare(_cases_of(only))))
        return
    total = 0
    differences: list[str] = []
    for name in FRAMEWORKS:
        count, found = _compare_in_own_process(name)
        click.echo(f"{name:>10}: {count} images, {len(found)} differ")
        total, differences = total + count, differences + [f"{name} {line}" for line in found]
    files, found = _compare_in_own_process("files")
    click.echo(f"{'files':>10}: {files} preprocessor_config.json, {len(found)} differ")
    differences += found
    click.echo("\n".join([*differences, f"{total} images compared with transformers 4.57, {len(differences)} differ"]))
    sys.exit(1 if differences else 0)


def _upstream_class() -> Any:
    return import_module("transformers.models.clip.image_processing_clip").CLIPImageProcessor


def _compare_in_own_process(what: str) -> tuple[int, list[str]]:
    switches = {variable: str(int(name == what)) for name, variable in FRAMEWORKS.items() if variable}
    environment = {**os.environ, **switches, "HF_HUB_OFFLINE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "conformance_tests.parity.compare_image_processor", "--only", what]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise click.ClickException(f"the comparison of {what} ended early:\n{finished.stderr}")
    count, differences = json.loads(finished.stdout.splitlines()[-1])
    return count, differences


def _cases_of(framework: str) -> Iterator[Case]:
    floats = ["float16", "float32", "float64"]
    if framework == "torch":
        return array_cases(import_module("torch").tensor, ["uint8", "int32", "int64", *floats])
    if framework == "tensorflow":
        return array_cases(import_module("tensorflow").constant, ["uint8", "int32", "int64", *floats])
    if framework == "jax":
        return array_cases(import_module("jax.numpy").asarray, ["uint8", "int32", "float16", "float32"])
    return itertools.chain(pillow_cases(), array_cases(np.asarray, ["uint8", "uint16", "int16", "int64", *floats]))


def _laid_out(array: np.ndarray, layout: str) -> np.ndarray:
    return array.transpose(2, 0, 1) if layout == "channels_first" else array


def _differences(ours: list[np.ndarray], theirs: list[np.ndarray]) -> Iterator[str]:
    if len(ours) != len(theirs):
        yield f"{len(ours)} images instead of {len(theirs)}"
    for index, (mine, other) in enumerate(zip(ours, theirs, strict=False)):
        if (mine.shape, mine.dtype) != (other.shape, other.dtype):
            yield f"image {index} is {mine.dtype} {mine.shape} instead of {other.dtype} {other.shape}"
        elif mine.tobytes() != other.tobytes():
            largest = np.abs(mine - other.astype(np.float64)).max()
            yield f"image {index} differs in {np.count_nonzero(mine != other)} values, by {largest:.3g} at most"


if __name__ == "__main__":
    main()
