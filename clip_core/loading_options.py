"""The keywords of every ``from_pretrained``: models of each backend, configurations, processors and tokenizers.

Code that was written for transformers passes some thirty of them, most without need. Here each has one meaning or an
error that says what to do instead, and none is swallowed (decision 22):

- `Location` and `WeightChoice` have those that say which files are read.
- `WITHOUT_EFFECT` names those that may be given and change nothing, with the reason.
- `REFUSED` names those that would mean something else here; a value that switches them off is taken.
- A class has keywords of its own: fields of the configuration, options of the processor, what a backend adds as
  keyword arguments of its models' ``built``.

All else is an error with the nearest name that there is.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from clip_core.checkpoint.hub_cache import Part
from clip_core.checkpoint.locating import resolve_checkpoint
from clip_core.checkpoint.weight_files import ANY_WEIGHTS, WeightChoice
from clip_core.errors import InputError, InputTypeError
from clip_core.labels import LABEL_FIELDS

Name: TypeAlias = str | PathLike[str]

WITHOUT_EFFECT: Mapping[str, str] = {
    "low_cpu_mem_usage": "weights are always read one by one into the parameters",
    "offload_state_dict": "there is no second copy of the weights that could be kept on disk",
    "trust_remote_code": "no code of a checkpoint is ever run",
    "code_revision": "no code of a checkpoint is ever run",
    "weights_only": "a pytorch_model.bin is read without executing any of it",
    "resume_download": "a download that was cut short is always continued",
    "disable_mmap": "weights are read into memory, except by torch, which has it",
    "from_pt": "checkpoints are those of PyTorch in every framework",
    "input_shape": "the weights of a CLIP do not depend on its inputs",
    "_from_auto": "transformers counts its auto classes with it",
    "_from_pipeline": "transformers counts its pipelines with it",
    "_commit_hash": "the revision says which commit is read",
    "_fast_init": "weights are never drawn before they are read",
    "adapter_kwargs": "adapters are peft's: wrap the loaded model",
    "adapter_name": "adapters are peft's: wrap the loaded model",
}
"""Keywords that may be given with any value, and why they change nothing."""

_QUANTISE = "Load the model and quantise it by the framework's own means, such as torchao's."
_CONVERT = "Convert the checkpoint once: triclip convert PATH NEW_DIRECTORY --to hf."
_OWN_DEVICE = "A CLIP lies on one device; accelerate.dispatch_model spreads a loaded model."
_MODELS_OWN = "It is a model's: pass it to the model's from_pretrained."
REFUSED: Mapping[str, str] = {
    "ignore_mismatched_sizes": "Weights of another shape would be drawn at random; here they are an error.",
    "quantization_config": _QUANTISE,
    "load_in_8bit": _QUANTISE,
    "load_in_4bit": _QUANTISE,
    "from_tf": _CONVERT,
    "from_flax": _CONVERT,
    "gguf_file": _CONVERT,
    "max_memory": _OWN_DEVICE,
    "offload_folder": _OWN_DEVICE,
    "offload_buffers": _OWN_DEVICE,
    "tp_plan": _OWN_DEVICE,
    "tp_size": _OWN_DEVICE,
    "device_mesh": _OWN_DEVICE,
    "distributed_config": _OWN_DEVICE,
    "dtype": _MODELS_OWN,
    "torch_dtype": _MODELS_OWN,
    "device_map": "The models for PyTorch have it; the others lie where their framework puts them.",
    "attn_implementation": "The models for PyTorch have it; the others have one attention, which tells its weights.",
    "use_flash_attention_2": "Say attn_implementation='sdpa', which uses such a kernel where there is one.",
    "use_kernels": "Kernels are chosen by the framework.",
    "key_mapping": "Rename the weights and pass them: Model(config, weights=renamed).",
    "use_auth_token": "It is called token=.",
    "proxies": "Set the environment variable HTTPS_PROXY.",
    "mirror": "Set the environment variable HF_ENDPOINT.",
    "generation_config": "CLIP generates no text.",
    **dict.fromkeys(LABEL_FIELDS, "CLIPForImageClassification has labels; triclip classifies with texts as labels."),
}
"""Keywords that are errors unless ``None`` or ``False``, and what to do instead, for classes that have them not."""


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where a checkpoint is looked for, by keywords that every ``from_pretrained`` has.

    Attributes:
        subfolder: a folder inside the checkpoint.
        revision: branch, tag or commit of a repository.
        cache_dir: where the Hugging Face cache is, unless in its usual place.
        local_files_only: never download.
        force_download: download a repository's files again, though the cache has them. A directory is read as it is.
        token: for the hub: a token, ``True`` for the one that is stored (also the default where there is one), or
            ``False`` for none.
    """

    subfolder: str | None = None
    revision: str | None = None
    cache_dir: Name | None = None
    local_files_only: bool = False
    force_download: bool = False
    token: str | bool | None = None

    def directory(self, name_or_path: Name, part: Part = "config", choice: WeightChoice = ANY_WEIGHTS) -> Path:
        """The directory that holds what is wanted of a checkpoint; errors as of `resolve_checkpoint`."""
        return resolve_checkpoint(
            name_or_path,
            part=part,
            choice=choice,
            subfolder=self.subfolder or "",
            revision=self.revision or "main",
            cache_dir=self.cache_dir,
            local_files_only=self.local_files_only,
            force_download=self.force_download,
            token=self.token,
        )


_LOCATION = tuple(f.name for f in fields(Location))
_CHOICE = tuple(f.name for f in fields(WeightChoice))


@dataclass(frozen=True)
class Keywords:
    """The keywords of one call, sorted by `sort_keywords`.

    Attributes:
        name_or_path: of the checkpoint, if there is one.
        location: where it is looked for.
        choice: which of its weights are read.
        own: those of the class.
        unknown: those that nobody knows.
    """

    name_or_path: Name | None
    location: Location
    choice: WeightChoice
    own: Mapping[str, Any]
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> Name:
        """The checkpoint's name or path.

        Raises:
            InputTypeError: there is none.
        """
        if self.name_or_path is None:
            raise InputTypeError("from_pretrained: expected the name or path of a checkpoint, got none.")
        return self.name_or_path


def sort_keywords(
    call: str,
    name_or_path: Name | None,
    given: Mapping[str, Any],
    own: Collection[str],
    hints: Mapping[str, str] | None = None,
    keep_unknown: bool = False,
) -> Keywords:
    """Sorts the keywords of a ``from_pretrained``.

    Args:
        call: the function's name, for messages.
        name_or_path: its first argument; transformers' name of it may be among the keywords.
        given: the keywords.
        own: the names that the class itself knows.
        hints: what to do instead, for names that are likely and wrong.
        keep_unknown: return keywords that nobody knows rather than raise.

    Raises:
        InputTypeError: a keyword that nobody knows, or a value of the wrong type.
        InputError: a keyword that means something else here.
    """
    rest = dict(given)
    if "pretrained_model_name_or_path" in rest:
        if name_or_path is not None:
            raise InputTypeError(f"{call}: got pretrained_model_name_or_path= and a first argument, which are one.")
        name_or_path = rest.pop("pretrained_model_name_or_path")
    mine = {name: rest.pop(name) for name in own if name in rest}
    location = Location(**_given(rest, _LOCATION))
    choice = WeightChoice(**_given(rest, _CHOICE))
    for name in [name for name in rest if name in WITHOUT_EFFECT]:
        del rest[name]
    for name in [name for name in rest if name in REFUSED]:
        value = rest.pop(name)
        if value is not None and value is not False:
            raise InputError(f"{call}: {name}={value!r:.60} has no meaning here. {REFUSED[name]}")
    if rest and not keep_unknown:
        first = next(iter(rest))
        if hints and first in hints:
            raise InputTypeError(f"{call}: {first!r} is no keyword of it. {hints[first]}")
        raise InputTypeError(unknown_message(call, first, own, (*_LOCATION, *_CHOICE, *WITHOUT_EFFECT, *REFUSED)))
    return Keywords(name_or_path, location, choice, mine, rest)


def one_dtype(call: str, dtype: Any, torch_dtype: Any) -> Any:
    """The one that was given of two names of the same keyword.

    Raises:
        InputTypeError: both were, with different values.
    """
    if None not in (dtype, torch_dtype) and str(dtype) != str(torch_dtype):
        raise InputTypeError(
            f"{call}: got dtype={dtype!r} and torch_dtype={torch_dtype!r}, which are one. Pass dtype=."
        )
    return torch_dtype if dtype is None else dtype


def _given(rest: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Takes those of the names that were given and are not ``None``, which is as good as left out."""
    found = {name: rest.pop(name) for name in names if name in rest}
    return {name: value for name, value in found.items() if value is not None}


def unknown_message(call: str, name: str, own: Collection[str], others: Iterable[str]) -> str:
    """What is wrong with a keyword that nobody knows: the nearest that there is, or the class's own."""
    near = difflib.get_close_matches(name, [*own, *others], n=1)
    meant = f"Did you mean {near[0]!r}?" if near else f"Its own are {', '.join(sorted(own)) or 'none'}."
    return f"{call}: unknown keyword {name!r}. {meant}"
