"""What the models of every backend share and no framework is needed for: how they are loaded and saved.

A backend's base class derives from `PretrainedModel` and its framework's own. It says in which `Scheme` it keeps the
weights, makes its layers, puts `initial_values` into them and reads one parameter; the rest is here, once.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from inspect import Parameter, signature
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from clip_core.checkpoint.directory import LoadedCheckpoint, drawn_classifier, load_checkpoint
from clip_core.checkpoint.hub_upload import STALE_WEIGHTS
from clip_core.checkpoint.lazy_weights import LazyWeights, layout_of, lazy_weights
from clip_core.checkpoint.saving import DEFAULT_MAX_SHARD_SIZE, save_checkpoint
from clip_core.checkpoint.switch import is_saved_name
from clip_core.checks import check_end_of_text
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import InputTypeError
from clip_core.labels import LABEL_FIELDS
from clip_core.loading_options import one_dtype, sort_keywords
from clip_core.members import ModelMembers
from clip_core.model_weights import Weights
from clip_core.positions import NewSizes
from clip_core.saving_options import Publishable, sort_saving_keywords
from clip_core.weights import match_weights


class PretrainedModel(ModelMembers, Publishable):
    """Base of the models of every backend, beside the framework's own base class."""

    config_class: ClassVar[type[CLIPConfig] | type[CLIPTextConfig] | type[CLIPVisionConfig]]
    architecture: ClassVar[str]
    """Name of the class in transformers, for ``config.json``."""

    def make_layers(self, config: Any) -> None:
        """Makes the layers; each model's own."""
        raise NotImplementedError

    @classmethod
    def checked_config(cls, config: Any) -> Any:
        """The configuration, if it is one for this class; one of transformers becomes one of Triclip.

        Raises:
            InputTypeError: it is for another class.
            ConfigError: its values describe no model, or not where its texts end.
        """
        model_type = getattr(config, "model_type", None)
        if model_type == cls.config_class.model_type and callable(getattr(config, "to_dict", None)):
            config = config if isinstance(config, cls.config_class) else cls.config_class.from_dict(config.to_dict())
            text = getattr(config, "text_config", config)
            if isinstance(text, CLIPTextConfig) and not cls.has_classifier:  # which has no text tower
                check_end_of_text(text)
            return config
        expected, got = cls.config_class.__name__, type(config).__name__
        kind = f" of model_type {model_type!r}" if isinstance(model_type, str) else ""
        raise InputTypeError(f"{cls.__name__}: expected a {expected}, got {got}{kind}.")

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | PathLike[str] | None = None,
        *,
        config: Any = None,
        dtype: Any = None,
        state_dict: Mapping[str, Any] | None = None,
        output_loading_info: bool = False,
        **keywords: Any,
    ) -> Any:
        """The model of a checkpoint, in evaluation mode.

        Args:
            name_or_path: a directory, ``"triclip-emoji"`` or a repository name; see `clip_core.resolve_checkpoint`.
            config: used instead of the checkpoint's; a configuration, or the name or path of a checkpoint that has it.
            dtype: as of the constructor, with its default; ``"auto"`` is the dtype of the stored weights. Code also
                calls it ``torch_dtype``.
            state_dict: weights, by their names in checkpoints, that are used instead of the checkpoint's. With a
                configuration, no checkpoint is needed.
            output_loading_info: return the model and a dict of lists. ``unexpected_keys`` are weights of the
                checkpoint that the model has no use for, such as another tower's; ``missing_keys`` those of a new
                classifier; ``mismatched_keys`` and ``error_msgs`` are empty, for what they would hold is an error.
            keywords: where to look for the checkpoint (`clip_core.loading_options.Location`), which of its weights are
                read (`clip_core.checkpoint.weight_files.WeightChoice`), fields of the configuration that shall have
                other values (`CLIPConfig.changed`), sizes that its position embeddings shall fit, ``image_size`` and
                ``max_position_embeddings`` (`clip_core.positions.NewSizes`), and those of the backend (`built`). What
                else transformers takes is listed in `clip_core.loading_options`.

        Raises:
            CheckpointNotFoundError, CheckpointFormatError, ConfigError: the checkpoint is not there or broken.
            CheckpointError: it was written over while it was read; one that is replaced as a whole is read as it was.
            WeightMismatchError: the weights are not those of the configuration.
            InputTypeError, InputError: a keyword that is unknown, or that has no meaning here.
        """
        sized = NewSizes.keywords(cls.config_class)
        fields = tuple(name for name in cls.fields_of_config() if name not in sized)
        backend = cls.keywords_of_backend()
        call, own = f"{cls.__name__}.from_pretrained", (*fields, *sized, *backend, "torch_dtype")
        given = sort_keywords(call, name_or_path, keywords, own, cls.config_class.keyword_hints())
        changes = {name: given.own[name] for name in fields if name in given.own}
        options = {name: given.own[name] for name in backend if name in given.own}
        sizes = NewSizes(**{name: given.own[name] for name in sized if name in given.own})
        dtype = one_dtype(call, dtype, given.own.get("torch_dtype"))
        if isinstance(config, str | PathLike):
            config = cls.config_class.from_directory(given.location.directory(config))
        labels_said = any(changes.get(name) is not None for name in LABEL_FIELDS)
        if config is not None:
            config = cls.checked_config(config)
            labels_said |= cls.has_classifier and config.labels_are_said
        if state_dict is not None:
            if config is None:
                config = cls.config_class.from_directory(given.location.directory(given.name))
            loaded = cls._of_state_dict(f"{call}(state_dict=)", config.changed(changes), state_dict, labels_said)
        else:
            loaded = load_checkpoint(
                given.location.directory(given.name, "weights", given.choice),
                cls.config_class,
                projection=cls.has_projection,
                classifier=cls.has_classifier,
                new_classifier=labels_said,
                config=config,
                changes=changes,
                choice=given.choice,
            )
        model = cls.of_checkpoint(sizes.applied(loaded), dtype, **options)
        if loaded.new:
            warnings.warn(f"{call}: {', '.join(loaded.new)} are new, drawn with seed 0. Train them.", stacklevel=2)
        if isinstance(model, cls) and given.name_or_path is not None:
            model.name_or_path = str(given.name_or_path)
        if not output_loading_info:
            return model
        known = {"missing_keys": list(loaded.new), "unexpected_keys": list(loaded.unused)}
        return model, {**known, "mismatched_keys": [], "error_msgs": []}

    @classmethod
    def _of_state_dict(cls, what: str, config: Any, state_dict: Mapping[str, Any], new: bool) -> LoadedCheckpoint:
        """Like `load_checkpoint`, for weights that are at hand; new says whether a classifier may be drawn."""
        weights, specs = cls.as_arrays(state_dict), cls.specs_of(config)
        drawn = drawn_classifier(specs, layout_of(weights), config) if new else {}
        weights = {**weights, **LazyWeights(drawn)} if drawn else weights
        layout = layout_of(weights)
        names = match_weights(specs, layout, what)
        unused = tuple(sorted(set(layout) - set(names.values())))
        return LoadedCheckpoint(config, lazy_weights(weights, names), unused=unused, new=tuple(drawn))

    @classmethod
    def from_directory(cls, directory: Path, *, config: Any = None, dtype: Any = None, **options: Any) -> Any:
        """Like `from_pretrained`, for a checkpoint directory that has been found already; options as of `built`."""
        config = None if config is None else cls.checked_config(config)
        loaded = load_checkpoint(
            Path(directory),
            cls.config_class,
            projection=cls.has_projection,
            classifier=cls.has_classifier,
            config=config,
        )
        return cls.of_checkpoint(loaded, dtype, **options)

    @classmethod
    def of_checkpoint(cls, loaded: LoadedCheckpoint, dtype: Any, **options: Any) -> Any:
        """The model of a checkpoint that is open; arguments as of `built`, and ``"auto"`` for its own dtype."""
        dtype = loaded.dtype if str(dtype) == "auto" else dtype
        model = cls.built(loaded.config, dtype, loaded.weights, **options)
        loaded.check_unchanged()
        return model

    @classmethod
    def built(cls, config: Any, dtype: Any, weights: Weights) -> Any:
        """What `from_pretrained` returns. A backend's keyword arguments of this are keywords of `from_pretrained`."""
        return cls(config, dtype=dtype, weights=weights)  # type: ignore[call-arg]  # of the backend's

    @classmethod
    def fields_of_config(cls) -> tuple[str, ...]:
        """The fields of the configuration that the model reads; they are keywords of `from_pretrained`."""
        labels = () if cls.has_classifier else LABEL_FIELDS
        return tuple(name for name in cls.config_class.field_names() if name not in labels)

    @classmethod
    def keywords_of_backend(cls) -> tuple[str, ...]:
        """The keywords that `from_pretrained` hands on to `built`."""
        parameters = signature(cls.built).parameters.values()
        return tuple(parameter.name for parameter in parameters if parameter.kind is Parameter.KEYWORD_ONLY)

    @classmethod
    def as_arrays(cls, state_dict: Mapping[str, Any]) -> Weights:
        """A state dict of the backend as arrays in the layout of checkpoints."""
        return state_dict

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        *,
        max_shard_size: int | str = DEFAULT_MAX_SHARD_SIZE,
        is_main_process: bool = True,
        state_dict: Mapping[str, Any] | None = None,
        **keywords: Any,
    ) -> None:
        """Writes ``config.json`` and the weights, in shards if they are larger than ``max_shard_size``.

        Args:
            save_directory: made if it is not there.
            max_shard_size: bytes, or a text such as ``"2GB"``.
            is_main_process: where false, nothing is written, since another process does it.
            state_dict: written instead of the model's own weights; by their names in checkpoints, and all of them.
            keywords: ``push_to_hub=True`` with what belongs to it (`clip_core.checkpoint.hub_upload.Upload`; the
                repository is named like the directory unless ``repo_id`` says otherwise). What else transformers takes
                is listed in `clip_core.saving_options`.

        Raises:
            WeightMismatchError: the model or the state dict is not what such a checkpoint can hold; see
                `check_saveable`.
            CheckpointError: it was written, but the hub did not take it.
            InputTypeError, InputError: a keyword that is unknown, or that has no meaning here.
        """
        call = f"{type(self).__name__}.save_pretrained"
        upload = sort_saving_keywords(call, Path(save_directory), keywords)
        if state_dict is None:
            self.check_saveable()
        if not is_main_process:
            return
        weights: Weights
        if state_dict is None:
            weights = self.named_weights()
        else:
            given, specs = self.as_arrays(state_dict), self.weight_specs()
            names = match_weights(specs, layout_of(given), f"{call}(state_dict=): nothing was written")
            weights = {spec.name: given[names[spec.name]].reshape(spec.shape) for spec in specs}
        save_checkpoint(
            save_directory,
            self.config,
            weights,
            architecture=self.architecture,
            max_shard_size=max_shard_size,
        )
        if upload is not None:
            directory = Path(save_directory)
            names_saved = [file.name for file in directory.iterdir() if is_saved_name(file.name)]
            upload.send(directory, names_saved, self.stale_files())

    def stale_files(self) -> tuple[str, ...]:
        return STALE_WEIGHTS
