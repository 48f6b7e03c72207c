"""Loads and conversions beside a saver that replaces their source: each gets one checkpoint whole, or an error.

    python -m weights_convert.tests.race [--loads 200] [--converts 20] [--kills 80]

Two checkpoints, of which every tensor differs, take turns in one place: every ``--every`` milliseconds beside loads,
and also every ``--rest`` milliseconds beside conversions, so that some come to their end. What is read must be the
first or the second; anything else is a mixture and ends the run with an error. Then pairs of conversions write to one
place at the same time, of which one is killed at a random moment, beside a reader of the result.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from clip_core.checkpoint.saving import save_checkpoint
from clip_core.checkpoint.tensors import constant
from clip_core.config import CLIPConfig
from clip_core.errors import CLIPError
from clip_core.pretrained import PretrainedModel
from weights_convert import convert, inspect, open_source
from weights_convert.containers.torchscript import write_torchscript
from weights_convert.tests import checkpoints

CONFIG = replace(
    checkpoints.CONFIG,
    text_config=replace(checkpoints.CONFIG.text_config, vocab_size=3001, bos_token_id=2999, eos_token_id=3000),
    vision_config=replace(checkpoints.CONFIG.vision_config, num_hidden_layers=20),
)
"""17 MB in 370 tensors, so that a load takes about as long as the saver's pause."""
WHOLE = ("first", "second", "nothing is there")
SAVED = {"safetensors": "5GB", "shards": "2MB"}
"""The forms that Triclip's own saver writes, with the size of shards; the configurations differ too."""
LOADED = (*SAVED, "bin")
CONVERTED = (*LOADED, "openai", "open_clip", "hf-flax", "hf-tf")
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


class Contents(PretrainedModel):
    """What loading gives to the models of every backend, copied."""

    config_class = CLIPConfig

    def __init__(self, config: CLIPConfig, *, dtype: Any, weights: Mapping[str, Any]) -> None:
        self.config = config
        self.values = {name: np.array(value) for name, value in weights.items()}


def weights(number: int) -> dict[str, np.ndarray]:
    """Of the first checkpoint or the second."""
    return {name: value + np.float32(number) for name, value in checkpoints.weights(config=CONFIG).items()}


def config(form: str, number: int) -> CLIPConfig:
    """Of the first checkpoint or the second; the same where a saver knows nothing of Triclip's journal."""
    text = replace(CONFIG.text_config, hidden_act="gelu" if form in SAVED and number else "quick_gelu")
    return replace(CONFIG, text_config=text)


def whose(form: str, found: CLIPConfig, values: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> str:
    """``first`` or ``second``, or ``mixture``; ``expected`` are the weights of the first."""
    for number, which in enumerate(("first", "second")):
        shift = np.float32(number)
        if found == config(form, number) and all(
            np.array_equal(values[name], value + shift) for name, value in expected.items()
        ):
            return which
    return "mixture"


def prepare(directory: Path, form: str, number: int) -> Path:
    """A checkpoint of that form, in a directory of its own."""
    path = directory / f"{form}-{number}"
    save_checkpoint(path, config(form, number), weights(number), architecture="CLIPModel")
    if form == "bin":
        tensors = {name: constant(value) for name, value in weights(number).items()}
        write_torchscript(path / "pytorch_model.bin", tensors, {})
        (path / "model.safetensors").unlink()
    elif form not in SAVED:
        whole = path.with_name(f"{path.name}-source")
        path.rename(whole)
        path.mkdir()
        convert(whole, path / "model.pt" if form == "openai" else path, to=form, overwrite=True, verify="none")
    return path


def save_in_turns(directory: Path, form: str, place: Path, seconds: float, ready: Any) -> None:
    """Replaces what is in ``place`` until the process is ended."""
    prepared = [prepare(directory, form, number) for number in (0, 1)]
    values = [weights(number) for number in (0, 1)]
    number = 0
    while True:
        started = time.monotonic()
        if form in SAVED:
            size = SAVED[form]
            save_checkpoint(place, config(form, number), values[number], architecture="CLIPModel", max_shard_size=size)
        else:
            for file in prepared[number].iterdir():
                shutil.copyfile(file, place / "next.tmp")
                os.replace(place / "next.tmp", place / file.name)
        ready.set()
        number = 1 - number
        time.sleep(max(0.0, started + seconds - time.monotonic()))


@contextmanager
def saver(directory: Path, form: str, seconds: float) -> Iterator[Path]:
    """A place in which a process of its own replaces a checkpoint in turns."""
    place = directory / f"{form}-place"
    place.mkdir()
    ready = _CONTEXT.Event()
    process = _CONTEXT.Process(target=save_in_turns, args=(directory, form, place, seconds, ready), daemon=True)
    process.start()
    try:
        assert ready.wait(120), "the saver has not begun"
        yield place
        assert process.is_alive(), "the saver has ended"
    finally:
        process.kill()
        process.join()


def load(form: str, place: Path, expected: Mapping[str, np.ndarray]) -> str:
    """What `from_pretrained` gives."""
    model = Contents.from_pretrained(place)
    return whose(form, model.config, model.values, expected)


def convert_once(form: str, place: Path, expected: Mapping[str, np.ndarray]) -> str:
    """What a conversion writes."""
    with tempfile.TemporaryDirectory() as directory:
        convert(place, Path(directory, "out"), to="hf")
        model = open_source(Path(directory, "out")).model
        return whose(form, model.config, {name: at.read() for name, at in model.weights.items()}, expected)


def tried(task: Any, *arguments: Any) -> str:
    """What it gives, or the error of Triclip, without the names of files."""
    try:
        return task(*arguments)
    except CLIPError as error:
        return f"{type(error).__name__}: {str(error).partition(': ')[2].partition(',')[0][:60]}"
    except Exception as error:
        return f"NO ERROR OF TRICLIP: {type(error).__name__}"


def report(what: str, found: Counter[str], started: float) -> int:
    """Prints outcomes; gives the number of mixtures and of errors that are none of Triclip's."""
    for outcome, times in sorted(found.items()):
        click.echo(f"{what:<46}{outcome:<80}{times:>5}")
    click.echo(f"{what:<46}{(time.monotonic() - started) / max(1, found.total()) * 1e3:.0f} ms each")
    return sum(times for outcome, times in found.items() if outcome == "mixture" or outcome.startswith("NO"))


def beside_a_saver(task: Any, forms: Sequence[str], count: int, seconds: float) -> int:
    """Runs of a task; gives the number of what went wrong."""
    wrong, expected = 0, weights(0)
    for form in forms if count else ():
        with tempfile.TemporaryDirectory() as directory, saver(Path(directory), form, seconds) as place:
            started = time.monotonic()
            found = Counter(tried(task, form, place, expected) for _ in range(count))
        wrong += report(f"{task.__name__} {form}, saved every {seconds:.2f} s", found, started)
    return wrong


def write_to(source: Path, place: Path, to: str) -> None:
    """Runs in a process of its own."""
    with suppress(CLIPError):  # of two that write at once, one can be refused
        convert(source, place, to=to, overwrite=True)


def onto_one_place(to: str, kills: int) -> int:
    """Pairs of conversions onto one place, one of each killed, and what is read there meanwhile and in the end."""
    draw, found, started = random.Random(to), Counter[str](), time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        sources = [prepare(Path(directory), "bin", number) for number in (0, 1)]
        digests = {inspect(source).sha256: which for source, which in zip(sources, WHOLE, strict=False)}
        place = checkpoints.destination(Path(directory), to)

        def read() -> str:
            return digests.get(inspect(place).sha256, "mixture") if place.exists() else "nothing is there"

        for _ in range(kills):
            pair = [_CONTEXT.Process(target=write_to, args=(source, place, to)) for source in sources]
            for process in pair:
                process.start()
            dies, dying = time.monotonic() + draw.uniform(0, 2), draw.choice(pair)
            while any(process.is_alive() for process in pair):
                found[tried(read)] += 1
                time.sleep(0.01)
                if time.monotonic() > dies:
                    dying.kill()
            found[tried(read)] += 1
        write_to(sources[0], place, to)
        found[f"in the end {tried(read)}"] += 1
        left = [entry.name for entry in Path(directory).iterdir() if entry.name.startswith(".")]
        click.echo(f"{len(left)} temporary files of {to} are left {left}")
    return report(f"{kills} kills of conversions to {to}", found, started) + len(left)


@click.command()
@click.option("--loads", default=200, show_default=True, help="Of each form of weights that models load.")
@click.option("--converts", default=20, show_default=True, help="Of each form that the converter reads.")
@click.option("--kills", default=80, show_default=True, help="Of conversions to a directory, and to a file.")
@click.option("--every", default=50, show_default=True, help="Milliseconds from a save to the next.")
@click.option("--rest", default=1500, show_default=True, help="The same, so that some conversions come to their end.")
def main(loads: int, converts: int, kills: int, every: int, rest: int) -> None:
    """Reads checkpoints that are replaced meanwhile; a mixture ends the process with an error."""
    wrong = beside_a_saver(load, LOADED, loads, every / 1000)
    for pause in (every, rest):
        wrong += beside_a_saver(convert_once, CONVERTED, converts, pause / 1000)
    for to in ("hf", "openai") if kills else ():
        wrong += onto_one_place(to, kills)
    click.echo(f"{wrong} mixtures, foreign errors and files left behind")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
