"""What a checkpoint format is: one record, from which recognising, reading and writing follow."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeAlias

from clip_core.checkpoint.hub_cache import FILES_OF_PARTS, Alternatives, Part, WeightForm
from clip_core.checkpoint.tensors import Tensor
from clip_core.config import CLIPConfig
from clip_core.errors import CheckpointFormatError, InputError
from clip_core.image.options import Profile
from weights_convert.companions import (
    HUGGING_FACE_CONFIG,
    HUGGING_FACE_FILES,
    ConfigFile,
    hugging_face_company,
    read_files,
    write_files,
)
from weights_convert.containers.opened import Container
from weights_convert.containers.packages import require_package
from weights_convert.containers.shards import WeightFiles, write_shards
from weights_convert.implied import Implied
from weights_convert.model import AnyConfig, Files, Model, has_resnet
from weights_convert.names import Names
from weights_convert.tables import foreign_names, shared_names

WriteFile: TypeAlias = Callable[[Path, Mapping[str, Tensor], Model], None]


@dataclass(frozen=True, kw_only=True)
class Format:
    """A checkpoint format.

    Attributes:
        name: as ``--to`` has it.
        title: as people call it.
        containers: kinds of container that it is read from (see `Container`); the first is written.
        files: names of its files of weights; the first are written. None: a checkpoint is one file of any name.
        sharded: whether it is written in shards.
        names: how weights are named and laid out.
        plain_names: the tensors of a container as ``names`` calls them, where there are several spellings.
        other_marks: names that tell its models too, in the spellings of ``plain_names``.
        implied: what in its files is no weight, and follows from the configuration.
        is_own: tells a container of this format from one of another format that has the same names.
        config: the configuration beside the weights.
        small_files: names of everything that may lie beside the weights.
        companions: which of these serve as configuration, tokenizer and image processor, if not Hugging Face's.
        read_files: preprocessor and tokenizer of a directory, in the Hugging Face layout.
        company: what is written beside the weights, by name.
        write_file: writes a file of weights, all of the model's or a shard, one tensor at a time.
        whole_models_only: whether it has no place for a single tower.
        resnet_names: the same as ``names`` for models with a ResNet tower; ``None`` where it has no place for one.
        towers_are_read: whether a single tower is read all the same, since others keep one under these names.
        profile: of the image transform that its own library runs a model with, where the checkpoint has none.
        refuse: raises `InputError` for a model that it cannot express.
    """

    name: str
    title: str
    containers: tuple[str, ...]
    names: Names
    write_file: WriteFile
    files: tuple[WeightFiles, ...] = ()
    sharded: bool = False
    plain_names: Callable[[Container], Mapping[str, Tensor]] = lambda container: container.tensors
    other_marks: tuple[str, ...] = ()
    implied: tuple[Implied, ...] = ()
    is_own: Callable[[Container], bool] = lambda container: True
    config: ConfigFile = HUGGING_FACE_CONFIG
    small_files: tuple[str, ...] = HUGGING_FACE_FILES
    companions: Mapping[Part, Alternatives] = field(default_factory=dict)
    read_files: Callable[[Path], Files] = read_files
    company: Callable[[Model], Files] = hugging_face_company
    whole_models_only: bool = False
    resnet_names: Names | None = None
    towers_are_read: bool = False
    profile: Profile = "huggingface"
    refuse: Callable[[Model], None] = lambda model: None

    @property
    def is_file(self) -> bool:
        """Whether a checkpoint is one file, of any name."""
        return not self.files

    @property
    def downloads(self) -> tuple[WeightForm, ...]:
        """The forms in which a hub can have its weights, whole files first."""
        companions = {**FILES_OF_PARTS, **self.companions}
        small = self.small_files
        whole = tuple(WeightForm(files.whole, small, companions) for files in self.files)
        return whole + tuple(
            WeightForm(files.index, (*files.globs, *small), companions) for files in self.files if files.index
        )

    @property
    def marks(self) -> tuple[str, ...]:
        """Names by which a model of this format is found in a file."""
        signatures = [signature for names in self._all_names for signature in names.signatures]
        return (*self.other_marks, *(name for signature in signatures for name in signature))

    @property
    def _all_names(self) -> tuple[Names, ...]:
        return (self.names,) if self.resnet_names is None else (self.names, self.resnet_names)

    def names_in(self, container: Container) -> Names:
        """How the weights of a container are named: as of a model with a ResNet tower, if it has blocks of one."""
        stored = self.plain_names(container)
        return next(
            (names for names in reversed(self._all_names) if not names.signatures[1].isdisjoint(stored)), self.names
        )

    def names_of(self, config: AnyConfig) -> Names:
        """How the weights of a model are named."""
        if not has_resnet(config):
            return self.names
        assert self.resnet_names is not None, "`check` would have refused it"
        return self.resnet_names

    def towers(self, container: Container) -> tuple[bool, ...]:
        """Whether a container has the text tower, and whether the vision tower, in the names of this format."""
        stored = self.plain_names(container)
        return tuple(not signature.isdisjoint(stored) for signature in self.names_in(container).signatures)

    def recognises(self, container: Container) -> bool:
        """Whether the names in a container are those of this format."""
        if container.kind not in self.containers:
            return False
        needed = all if self.whole_models_only and not self.towers_are_read else any
        return needed(self.towers(container)) and self.is_own(container)

    def known_names(self, container: Container) -> int:
        """How many names of its towers a container has; formats that share some are told apart by it."""
        stored = self.plain_names(container)
        return sum(len(signature.intersection(stored)) for signature in self.names_in(container).signatures)

    def read(self, container: Container) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The weights of a container in the shared scheme, and what has no place in it."""
        found, rest = shared_names(self.names_in(container), self.plain_names(container))
        implied = {name for name in rest for each in self.implied if fnmatchcase(name, each.pattern)}
        return found, {name: tensor for name, tensor in rest.items() if name not in implied}

    def check_implied(self, container: Container, config: AnyConfig) -> list[str]:
        """Compares what is no weight with what the configuration implies.

        Returns:
            A note for people on each value that is another one and is passed over.

        Raises:
            CheckpointFormatError: another value, with which the model would compute something else.
        """
        notes = []
        stored = self.plain_names(container)
        for name, each in ((name, each) for name in stored for each in self.implied if fnmatchcase(name, each.pattern)):
            if each.holds(stored[name].read(), config):
                continue
            if not each.note:
                raise CheckpointFormatError(
                    f"{container.path}: {name[:100]!r} is not what the configuration implies, so the model computes "
                    "something else, which no format can express here. If it is a mistake, take it out of the file."
                )
            notes.append(f"{name}: {each.note}")
        return notes

    def check(self, model: Model) -> None:
        """Raises what `write` would: `InputError` if it cannot say this model, `MissingExtraError` for a package."""
        require_package(self.containers[0], f"{self.title}: {self.files[0].whole if self.files else 'its file'}")
        if self.whole_models_only and not isinstance(model.config, CLIPConfig):
            raise InputError(
                f"{self.title}: holds whole models only, and the source is a single tower. Convert it to hf."
            )
        if has_resnet(model.config) and self.resnet_names is None:
            raise InputError(
                f"{self.title}: has no ResNet vision towers, and the model has one. Convert it to hf, openai or "
                "open_clip."
            )
        self.refuse(model)

    def write(self, model: Model, path: Path, max_shard_size: int) -> None:
        """Writes a checkpoint.

        Args:
            model: one that `check` has let pass.
            path: a directory that is there, or the file if ``is_file``.
            max_shard_size: in bytes, if ``sharded``.
        """
        tensors = foreign_names(self.names_of(model.config), model.specs, model.weights, model.heads)

        def write_one(file: Path, held: Mapping[str, Tensor]) -> None:
            self.write_file(file, held, model)

        if self.is_file:
            write_one(path, tensors)
        else:
            write_shards(path, self.files[0], tensors, max_shard_size if self.sharded else sys.maxsize, write_one)
            write_files(path, self.company(model))
