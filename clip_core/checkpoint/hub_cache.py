"""A revision of a repository in the local Hugging Face cache: what of it is there, and fetching the rest.

The layout of the cache is documented for reimplementation, so that reading it needs no library; downloading needs
``huggingface_hub``, which the ``hub`` extra brings.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, TypeAlias

from clip_core.checkpoint.files import read_json
from clip_core.checkpoint.weight_files import ANY_WEIGHTS, WeightChoice, missing_shards
from clip_core.errors import CheckpointError, CheckpointNotFoundError, MissingExtraError

Part = Literal["config", "tokenizer", "image_processor", "processor", "weights", "weights and processor", "everything"]
"""What a checkpoint is wanted for; ``everything`` is the weights and of a processor what their model can use."""
Alternatives: TypeAlias = Sequence[Sequence[str]]
"""Names of files that serve for one thing: all of the first, or all of the second, ..."""
FILES_OF_PARTS: Mapping[Part, Alternatives] = {
    "config": (("config.json",),),
    "tokenizer": (("tokenizer.json",), ("vocab.json", "merges.txt")),
    "image_processor": (("preprocessor_config.json",), ("processor_config.json",)),
}
_PROCESSOR: tuple[Part, ...] = ("tokenizer", "image_processor")
_PROCESSORS_OF_TOWERS: Mapping[Any, tuple[Part, ...]] = {
    "clip_text_model": ("tokenizer",),
    "clip_vision_model": ("image_processor",),
}
_SMALL_FILES = (
    *("config.json", "preprocessor_config.json", "processor_config.json"),
    *("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json"),
)


@dataclass(frozen=True)
class WeightForm:
    """A form in which a repository can have weights.

    Attributes:
        file: of the weights, or the index of their shards.
        patterns: of names of what is downloaded with it.
        companions: the files that serve as configuration, tokenizer and image processor beside it.
    """

    file: str
    patterns: Sequence[str] = ()
    companions: Mapping[Part, Alternatives] = field(default_factory=lambda: FILES_OF_PARTS)


def _own_forms(choice: WeightChoice) -> tuple[WeightForm, ...]:
    """In this order: what comes later is downloaded only where a repository has nothing of what comes before."""
    return tuple(WeightForm(name, choice.shards(name) if name.endswith(".json") else ()) for name in choice.names)


@dataclass(frozen=True)
class Repository:
    """A revision of a repository, in the cache or to be downloaded into it.

    Attributes:
        name, revision: of the repository; a branch, tag or commit.
        cache: where the cache is.
        subfolder: a folder inside the repository, or nothing.
        foreign: forms of weights that serve after Triclip's own.
        choice: which of Triclip's own serve.
        token: for the hub, as of its own library.
        own: whether Triclip's own forms of weights serve.
    """

    name: str
    revision: str
    cache: Path
    subfolder: str
    foreign: Sequence[WeightForm]
    choice: WeightChoice = ANY_WEIGHTS
    token: str | bool | None = None
    own: bool = True

    @property
    def forms(self) -> tuple[WeightForm, ...]:
        """All forms of weights that serve, the preferred ones first."""
        return (*(_own_forms(self.choice) if self.own else ()), *self.foreign)

    def holds_only(self, foreign: Sequence[str], local_files_only: bool) -> bool:
        """Whether a repository has weights in files of these names, and none of Triclip's own; offline, the cache.

        Raises:
            CheckpointNotFoundError, MissingExtraError: the hub was to be asked and cannot be.
        """
        within = f"{self.subfolder}/" if self.subfolder else ""
        if is_offline(local_files_only):
            names = {f"{within}{file.name}" for file in _entries(self.snapshot / self.subfolder)}
        else:
            names = set(self._listed("not whole in")[0])
        own = [form.file for form in _own_forms(ANY_WEIGHTS)]
        return any(f"{within}{file}" in names for file in foreign) and not any(
            f"{within}{file}" in names for file in own
        )

    def _listed(self, why: str) -> tuple[list[str], str]:
        """The names of all files of a repository, as the hub has them now, and the commit."""
        try:
            from huggingface_hub import model_info
        except ImportError:
            where = f"{self.name!r} is no directory here and {why} the cache {self.cache}"
            raise MissingExtraError("huggingface_hub", "hub", f"{where}; downloading it") from None
        try:
            info = model_info(self.name, revision=self.revision, token=self.token)
        except Exception as error:
            raise self._failed(error, why) from error
        return [file.rfilename for file in info.siblings or ()], str(info.sha)

    def _failed(self, error: Exception, why: str) -> CheckpointNotFoundError:
        return CheckpointNotFoundError(
            f"{self.name} (revision {self.revision}): no such directory, {why} the local cache "
            f"{self.cache}, and the download failed: {error}"
        )

    @property
    def snapshot(self) -> Path:
        """Where the cache keeps this revision, if it does."""
        reference = self._folder / "refs" / self.revision
        commit = reference.read_text().strip() if reference.is_file() else self.revision
        return self._folder / "snapshots" / commit

    @property
    def _folder(self) -> Path:
        return self.cache / f"models--{self.name.replace('/', '--')}"

    def missing(self, part: Part) -> list[str]:
        """Names of the files that a part needs and that the cache does not have; of alternatives, those of one."""
        directory = self.snapshot / self.subfolder
        form = next((form for form in self.forms if (directory / form.file).is_file()), self.forms[0])
        weights = _missing_weights(directory, form)
        if part == "weights":
            return [*self._lacking(form.companions["config"]), *weights]
        if part == "processor":
            return [name for each in _PROCESSOR for name in self._lacking(form.companions[each])]
        if part == "weights and processor":
            return [*self.missing("weights"), *self.missing("processor")]
        if part == "everything":
            usable = _usable_processors(directory / "config.json")
            return [
                *self.missing("weights"),
                *(name for each in usable for name in self._lacking(form.companions[each])),
            ]
        return self._lacking(FILES_OF_PARTS[part])

    def _lacking(self, alternatives: Alternatives) -> list[str]:
        """What is missing of the alternative of which most is there; nothing, if the repository has none of them."""
        possible: list[tuple[float, list[str]]] = []
        for names in alternatives:
            lacking = [name for name in names if not (self.snapshot / self.subfolder / name).is_file()]
            if not lacking:
                return []
            if not any(self._absent(name).is_file() for name in lacking):
                possible.append((len(lacking) / len(names), lacking))
        return min(possible, key=lambda found: found[0])[1] if possible else []

    def _absent(self, name: str, commit: str = "") -> Path:
        """The empty file that the cache has for a file that a revision is known not to have."""
        return self._folder / ".no_exist" / (commit or self.snapshot.name) / self.subfolder / name

    def why(self, missing: Sequence[str]) -> str:
        """Why a download is needed."""
        if not missing:
            return "to be downloaded again into"
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        return f"without {', '.join(missing[:5])}{more} in" if self.snapshot.is_dir() else "not in"

    def refuse_offline(self, missing: Sequence[str], local_files_only: bool) -> None:
        """Raises `CheckpointNotFoundError` where nothing may be downloaded."""
        if is_offline(local_files_only):
            raise CheckpointNotFoundError(
                f"{self.name} (revision {self.revision}): no such directory, and {self.why(missing)} the local cache "
                f"{self.cache}. Downloading is switched off; allow it, or give the path of a checkpoint directory."
            )

    def download(self, part: Part, missing: Sequence[str]) -> Path:
        """The snapshot, with all small files, and the first form of weights there is if weights are wanted and missing.

        Without anything missing, all that is wanted is downloaded once more.

        What the repository turns out not to have is remembered, as the hub's own library does it.
        """
        held, commit = self._listed(self.why(missing))
        from huggingface_hub import snapshot_download

        try:
            wanted = self._wanted(part, held, self._folder / "snapshots" / commit)
            snapshot = Path(
                snapshot_download(
                    self.name,
                    revision=self.revision,
                    cache_dir=self.cache,
                    allow_patterns=wanted,
                    force_download=not missing,
                    token=self.token,
                )
            )
            lost = [name for name in wanted if not (snapshot / name).is_file()]
            if snapshot.name != commit or lost:  # it gives what the cache has where the hub stops to answer
                raise ConnectionError(f"it ended without {', '.join(lost[:5]) or 'the newest revision'}")
        except Exception as error:
            raise self._failed(error, self.why(missing)) from error
        self._remember_absent(held, snapshot.name)
        return snapshot

    def _wanted(self, part: Part, held: Collection[str], snapshot: Path) -> list[str]:
        """Which of the files that a repository has are to be in the snapshot."""
        within = f"{self.subfolder}/" if self.subfolder else ""
        there = [form for form in self.forms if f"{within}{form.file}" in held]
        cached = next((form for form in there if not _missing_weights(snapshot / self.subfolder, form)), None)
        patterns = [*_SMALL_FILES]
        if part.startswith(("weights", "everything")) and there:
            form = cached or there[0]
            patterns += [form.file, *form.patterns]
        return _matching(held, [f"{within}{pattern}" for pattern in patterns])

    def _remember_absent(self, held: Collection[str], commit: str) -> None:
        within = f"{self.subfolder}/" if self.subfolder else ""
        with suppress(OSError):  # a cache that cannot be written to is asked again
            for name in _SMALL_FILES:
                if f"{within}{name}" not in held:
                    self._absent(name, commit).parent.mkdir(parents=True, exist_ok=True)
                    self._absent(name, commit).touch()


def is_offline(local_files_only: bool) -> bool:
    """Whether nothing may be downloaded, as the caller or the environment says."""
    return local_files_only or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _entries(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.is_dir() else []


def _missing_weights(directory: Path, form: WeightForm) -> list[str]:
    path = directory / form.file
    if not path.is_file():
        return [form.file]
    return missing_shards(path) if path.suffix == ".json" else []


def _usable_processors(config: Path) -> tuple[Part, ...]:
    """What of a processor the model of a configuration can use."""
    try:
        return _PROCESSORS_OF_TOWERS.get(read_json(config).get("model_type"), _PROCESSOR)
    except CheckpointError:  # of another format, or broken, which its reader will say
        return _PROCESSOR


def _matching(names: Iterable[str], patterns: Collection[str]) -> list[str]:
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
