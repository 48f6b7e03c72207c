"""Whether a checkpoint is whole, and computes the same in every framework that is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike
from typing import Any

from clip_core.backends import installed_backends
from clip_core.errors import CheckpointError, CheckpointFormatError, CheckpointNotFoundError, WeightMismatchError
from weights_convert.company import problems_of
from weights_convert.hashing import weights_manifest
from weights_convert.known_models import GivenConfig
from weights_convert.opening import open_source
from weights_convert.outputs import choose_backends, compared, run_model


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The outcome of checks.

    Attributes:
        path: the checkpoint.
        format: what it is; ``None`` if it could not be opened.
        sha256: digest over the canonical tensors.
        problems: what is wrong; nothing, for a good checkpoint.
        backends: which were run.
        differences: pair of backends to the largest absolute difference of each output.
        notes: what a person should know of how it was read.
    """

    path: str
    format: str | None = None
    sha256: str | None = None
    problems: list[str] = field(default_factory=list)
    backends: tuple[str, ...] = ()
    differences: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {**asdict(self), "passed": self.passed}


def verify(
    path: str | PathLike[str],
    *,
    backends: Sequence[str] = (),
    config: GivenConfig | None = None,
    key: str | None = None,
    prefix: str | None = None,
    progress: Callable[[int], Callable[[int], None]] | None = None,
) -> Verification:
    """Checks a checkpoint: whole, its weights those of its configuration, finite, and the same in all backends.

    Preprocessor and tokenizer, where there are any, are loaded, and compared with what the model reads.

    Args:
        backends: which to run; without any, two that are installed. With one, it is run and nothing compared; where no
            framework is installed, none is run.
        config, key, prefix: as for `open_source`.

    Raises:
        CheckpointNotFoundError: nothing there.
        CheckpointError: it was replaced or written to meanwhile.
        InputError, MissingExtraError: no such backend, or not installed.
    """
    chosen = choose_backends(backends) if backends or installed_backends() else ()
    try:
        source = open_source(path, config, key=key, prefix=prefix)
    except CheckpointNotFoundError:
        raise
    except (CheckpointFormatError, WeightMismatchError) as error:
        return Verification(path=str(path), problems=[str(error)])
    weights = source.model.weights
    total = sum(tensor.nbytes for tensor in weights.values())
    manifest = weights_manifest(weights, *([progress(total)] if progress else []))
    nonfinite = [f"{name}: {count:,} values are not finite." for name, count in manifest.nonfinite.items()]
    problems = [*problems_of(source.model.files, source.model.config), *nonfinite]
    differences = {}
    outputs = {backend: run_model(source.model, backend) for backend in chosen} if not nonfinite else {}
    for other in list(outputs)[1:]:
        try:
            differences[f"{chosen[0]}-{other}"] = compared(outputs[chosen[0]], outputs[other])
        except CheckpointError as error:
            problems.append(f"{chosen[0]} and {other}: {error}")
    source.check_unchanged()
    return Verification(
        path=str(source.path),
        format=source.format.name,
        sha256=manifest.digest(),
        problems=problems,
        backends=tuple(outputs),
        differences=differences,
        notes=source.notes,
    )
