"""What `triclip classify` is told of labels and templates: options, files, names of sets, a saved head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from clip_core.commands import echo
from triclip.labels import DEFAULT_TEMPLATE, fill_templates, listed_templates, merge_labels
from triclip.progress import progress

if TYPE_CHECKING:
    from triclip.encoder import Encoder
    from triclip.engines import Vectors


class SetOrFile(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """The name of a set of texts that comes with Triclip, or else a file of them; - is standard input."""

    name = "file"

    def __init__(self, sets: Callable[[], Mapping[str, Sequence[str]]], parse: Callable[[bytes, str], Any]) -> None:
        self.sets, self.parse = sets, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in self.sets():
            return list(self.sets()[value])
        file = click.File("rb").convert(value, param, ctx)
        content = file.read()
        if value != "-":
            file.close()
        return self.parse(content, "standard input" if value == "-" else str(value))


def label_sets() -> Mapping[str, Sequence[str]]:
    """Labels by the name of what they are of."""
    from triclip.prompts import IMAGENET_LABELS

    return {"imagenet": IMAGENET_LABELS}


def template_sets() -> Mapping[str, Sequence[str]]:
    """Templates by their names."""
    from triclip.prompts import TEMPLATE_SETS

    return TEMPLATE_SETS


class Wanted(NamedTuple):
    """Labels and what describes them, and where to keep what they become; or a head in which that is."""

    labels: list[str]
    templates: list[str] | dict[str, list[str]]
    save_head: str | None
    head: str | None


def choose(
    labels: Sequence[str],
    more_labels: Sequence[str] | None,
    templates: Sequence[str],
    more_templates: Any,
    head: str | None,
    save_head: str | None,
) -> Wanted:
    """What to classify among, from the options; notes of what is odd go to stderr.

    Args:
        labels, templates: those given one by one.
        more_labels, more_templates: those of a set or file.

    Raises:
        UsageError: no label, an empty one, or options that exclude one another.
        InputError, InputTypeError: as of `fill_templates`.
        CheckpointError: no head can be written there.
    """
    if head is not None:
        if labels or more_labels or templates or more_templates or save_head is not None:
            raise click.UsageError("Expected --head or what a head is made of, got both: it has labels and templates.")
        return Wanted([], [], None, head)
    own = more_templates if isinstance(more_templates, Mapping) else None
    if own is not None and templates:
        raise click.UsageError("Expected --template or a file with texts for each label, got both.")
    given = [*labels, *(more_labels or ())]
    names, repeated = merge_labels(label.strip() for label in given or own or ())
    if not names:
        raise click.UsageError("Expected at least one label: --label TEXT or --labels FILE.")
    if "" in names:
        raise click.UsageError("Expected a text after --label, got an empty one.")
    if repeated:
        echo(f"Note: labels given more than once count once: {', '.join(repeated)}", err=True)
    if len(names) == 1:
        echo("Note: there is only one label, so its probability is 100 % whatever the picture shows.", err=True)
    chosen = own or [*templates, *(more_templates or ())] or [DEFAULT_TEMPLATE]
    fill_templates(names, chosen)  # so that what is wrong with them is said before a model is loaded
    if save_head is not None:
        from triclip.heads import check_place

        check_place(save_head)
    return Wanted(names, listed_templates(chosen), save_head, None)


def label_vectors(wanted: Wanted, encoder: Encoder, batch_size: int) -> tuple[list[str], Vectors]:
    """Labels, and their vectors ``[label, embed]``: read, or computed and kept if that is wanted."""
    if wanted.head is not None:
        from triclip.heads import ZeroShotHead

        head = ZeroShotHead.load(wanted.head, encoder)
        return head.labels, head.vectors
    vectors = _encode(wanted, encoder, batch_size)
    if wanted.save_head is not None:
        from triclip.heads import ZeroShotHead

        ZeroShotHead(vectors, wanted.labels, wanted.templates, encoder.digest()).save(wanted.save_head)
        echo(f"Saved {wanted.save_head}: a head of {len(wanted.labels):,} labels.", err=True)
    return wanted.labels, vectors


def _encode(wanted: Wanted, encoder: Encoder, batch_size: int) -> Vectors:
    prompts = [text for own in fill_templates(wanted.labels, wanted.templates) for text in own]
    _note_long_prompts(encoder, prompts)
    with progress(len(prompts), "label texts", long=len(prompts) > batch_size) as shown:
        return encoder.encode_labels(
            wanted.labels, wanted.templates, batch_size=batch_size, truncate=True, advance=shown.advance
        )


def _note_long_prompts(encoder: Encoder, prompts: list[str]) -> None:
    cut = encoder.too_long(prompts)
    if cut:
        context = encoder.config.text_config.max_position_embeddings
        echo(
            f"Note: {len(cut)} of {len(prompts)} label texts are longer than the {context} tokens that the model "
            f"reads; what is beyond does not count. The first: {prompts[cut[0]]!r}",
            err=True,
        )
