"""Weights of the Keras models: between them and the shared table, from and to checkpoints."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from typing import Any, ClassVar, Self

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from clip_core.checkpoint.directory import DEFAULT_MAX_SHARD_SIZE, load_checkpoint, save_checkpoint
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import CLIPError, InputTypeError
from clip_core.initialization import draw_weights
from clip_core.weights import AXES, WeightSpec, permutation, weight_specs
from clip_tf.layers import Encoder

# Keras would raise each of our errors anew, its message between escape codes and a list of all arguments; what bears
# this mark it raises as it is.
CLIPError._keras_call_info_injected = True  # type: ignore[attr-defined]

LEAVES = {
    "linear": ("kernel", "in out"),
    "linear_bias": ("bias", "out"),
    "conv": ("kernel", "height width in out"),
    "embedding": ("embeddings", "row hidden"),
    "norm_scale": ("gamma", "hidden"),
    "norm_bias": ("beta", "hidden"),
}
"""Per kind: the variable's name in its layer and the order of its axes."""


def load_weights(model: keras.Model, specs: Iterable[WeightSpec], weights: Iterable[tuple[str, NDArray[Any]]]) -> None:
    """Puts weights, given in the order of ``specs``, into the model's variables; the arrays are copied."""
    for spec, (name, value) in zip(specs, weights, strict=True):
        assert spec.name == name
        variable, axes = _variable_place(model, spec)
        value = np.transpose(value, permutation(AXES[spec.kind], axes))
        variable.assign(np.array(value, order="C"))


class ModelWeights(Mapping[str, NDArray[Any]]):
    """The weights of a model by their names in the shared scheme, converted when asked for."""

    def __init__(self, model: keras.Model, specs: Iterable[WeightSpec]) -> None:
        self.model = model
        self.specs = {spec.name: spec for spec in specs}

    def __getitem__(self, name: str) -> NDArray[Any]:
        spec = self.specs[name]
        variable, axes = _variable_place(self.model, spec)
        return np.transpose(to_array(variable), permutation(axes, AXES[spec.kind]))

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)


def _variable_place(model: keras.Model, spec: WeightSpec) -> tuple[keras.Variable, str]:
    """The variable that holds a weight and the order of its axes."""
    place: Any = model
    for part in spec.path.split("."):
        place = place[int(part)] if part.isdecimal() else getattr(place, part)
    if spec.kind in LEAVES:
        leaf, axes = LEAVES[spec.kind]
        return getattr(place, leaf), axes
    return place, AXES[spec.kind]


def to_array(variable: keras.Variable) -> NDArray[Any]:
    """The values of a variable as an array; bfloat16 keeps its bits."""
    return variable.value.numpy()


def dtype_policy(dtype: Any) -> keras.DTypePolicy:
    """The policy of that name: one dtype for weights and computation, or a mixed one; the global one for ``None``.

    Raises:
        InputTypeError: not a dtype for weights.
    """
    if dtype is None:
        return keras.config.dtype_policy()
    if isinstance(dtype, keras.DTypePolicy):
        return dtype
    try:
        name = dtype if isinstance(dtype, str) else tf.as_dtype(dtype).name
    except TypeError:
        name = ""
    names = ("float32", "bfloat16", "float16", "float64", "mixed_bfloat16", "mixed_float16")
    if name not in names:
        raise InputTypeError(f"dtype: expected {', '.join(names[:-1])} or {names[-1]}, got {dtype!r}.")
    return keras.DTypePolicy(name)


@contextmanager
def layers_of(policy: keras.DTypePolicy) -> Iterator[None]:
    """Layers made inside have this dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class TFCLIPPreTrainedModel(keras.Model):
    """What the five models share: initial weights, loading, saving, gradient checkpointing.

    Args:
        config: of the model; of the class ``config_class``.
        seed: of the initial weights; one seed gives the same model in every framework.
        dtype: of weights and computation, ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"float64"``; or a Keras
            dtype policy, such as ``"mixed_bfloat16"``: float32 weights, computation in bfloat16. Keras' global policy,
            which is float32 unless set, if not given.
        weights: names and values in the order of the weight table, instead of seeded ones.
        name: of the Keras model.

    Raises:
        InputTypeError: ``config`` is of another class, or no such dtype.
    """

    config_class: ClassVar[type[CLIPConfig] | type[CLIPTextConfig] | type[CLIPVisionConfig]]
    architecture: ClassVar[str]
    """Name of the class in transformers, for ``config.json``."""
    has_projection: ClassVar[bool] = False

    def __init__(
        self,
        config: Any,
        *,
        seed: int = 0,
        dtype: keras.DTypePolicy | tf.DType | str | None = None,
        weights: Iterable[tuple[str, NDArray[Any]]] | None = None,
        name: str | None = None,
    ) -> None:
        policy = dtype_policy(dtype)
        super().__init__(dtype=policy, name=name)
        if not isinstance(config, self.config_class):
            expected, got = self.config_class.__name__, type(config).__name__
            raise InputTypeError(f"{type(self).__name__}: expected a {expected}, got {got}.")
        self.config = config
        self.seed = seed
        if weights is None:
            weights = draw_weights(config, seed=seed, projection=self.has_projection)
        with layers_of(policy), keras.name_scope(self.name, caller=self):
            self.make_layers(config)
        for layer in self._flatten_layers():
            layer.built = True  # no build on the first call: all variables are there
        load_weights(self, self.weight_specs(), weights)

    def make_layers(self, config: Any) -> None:
        """Makes the layers; each model's own."""
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As `call`, with NumPy arrays too; one mapping, as `fit` and `predict` hand over, is unpacked.

        Raises:
            InputTypeError: arguments that `call` does not have.
        """
        if args and isinstance(args[0], Mapping):
            args, kwargs = args[1:], {**args[0], **kwargs}
        signature = inspect.signature(self.call)
        try:
            named = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            expected = ", ".join(signature.parameters)
            raise InputTypeError(f"{type(self).__name__}: {error}; expected arguments or keys of {expected}.") from None
        return super().__call__(**named)

    def weight_specs(self) -> tuple[WeightSpec, ...]:
        """The entries of the weight table that this model has."""
        return weight_specs(self.config, projection=self.has_projection)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | PathLike[str],
        *,
        config: Any = None,
        dtype: keras.DTypePolicy | tf.DType | str | None = None,
        subfolder: str = "",
        revision: str = "main",
        cache_dir: str | PathLike[str] | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """The model of a checkpoint.

        Args:
            name_or_path: a directory, ``"triclip-emoji"`` or a repository name; see `clip_core.resolve_checkpoint`.
            config: used instead of the checkpoint's.
            dtype: Keras' global policy unless given; ``"auto"`` is the dtype of the stored weights.
            subfolder, revision, cache_dir, local_files_only: where to look for the checkpoint.

        Raises:
            CheckpointNotFoundError, CheckpointFormatError, ConfigError: the checkpoint is not there or broken.
            WeightMismatchError: the weights are not those of the configuration.
        """
        loaded = load_checkpoint(
            name_or_path,
            cls.config_class,
            projection=cls.has_projection,
            config=config,
            subfolder=subfolder,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        dtype = loaded.dtype if dtype == "auto" else dtype
        return cls(loaded.config, dtype=dtype, weights=loaded.weights)

    def save_pretrained(
        self, save_directory: str | PathLike[str], *, max_shard_size: int | str = DEFAULT_MAX_SHARD_SIZE
    ) -> None:
        """Writes ``config.json`` and the weights, in shards if they are larger than ``max_shard_size``."""
        weights = ModelWeights(self, self.weight_specs())
        save_checkpoint(
            save_directory, self.config, weights, architecture=self.architecture, max_shard_size=max_shard_size
        )

    def gradient_checkpointing_enable(self) -> None:
        """Recomputes each block in the backward pass of training instead of keeping its activations."""
        self._set_gradient_checkpointing(True)

    def gradient_checkpointing_disable(self) -> None:
        """Keeps the activations of each block."""
        self._set_gradient_checkpointing(False)

    def _set_gradient_checkpointing(self, value: bool) -> None:
        for layer in self._flatten_layers():
            if isinstance(layer, Encoder):
                layer.gradient_checkpointing = value

    @property
    def input_signature(self) -> dict[str, keras.KerasTensor]:
        """Symbolic inputs of any batch size and text length, by name."""
        inputs = {}
        if hasattr(self, "text_model"):
            for name in ("input_ids", "attention_mask"):
                inputs[name] = keras.Input((None,), dtype="int32", name=name)
        if hasattr(self, "vision_model"):
            config = self.vision_model.config
            shape = (config.num_channels, config.image_size, config.image_size)
            inputs["pixel_values"] = keras.Input(shape, dtype="float32", name="pixel_values")
        return inputs

    def export(
        self,
        filepath: str | PathLike[str],
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: dict[str, keras.KerasTensor] | None = None,
    ) -> None:
        """Writes the model for serving, as every Keras model; its endpoint goes from named tensors to named tensors.

        Args:
            filepath, format, verbose: as of `keras.Model.export`.
            input_signature: the inputs by name, each a `keras.Input`; the property `input_signature` unless given.
                The outputs are those fields that are one tensor, for a signature can hold no nested ones.
        """
        inputs = self.input_signature if input_signature is None else input_signature
        fields = self(inputs, return_dict=True).items()
        outputs = {name: value for name, value in fields if not isinstance(value, tuple)}
        model = keras.Model(inputs, outputs)
        model.export(filepath, format=format, verbose=verbose, input_signature=[inputs])

    def get_config(self) -> dict[str, Any]:
        """What Keras stores of the model beside its weights."""
        return {
            "config": self.config.to_dict(),
            "seed": self.seed,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "name": self.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """The model that `get_config` describes, with seeded weights."""
        policy = keras.saving.deserialize_keras_object(config["dtype"], custom_objects)
        model_config = cls.config_class.from_dict(config["config"])
        model = cls(model_config, seed=config["seed"], dtype=policy, name=config["name"])
        model.trainable = config["trainable"]
        return model
