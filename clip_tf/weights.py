"""Weights of the Keras models: how they are set and read, and the base class of the models."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from os import PathLike
from typing import Any, Self

import keras
from keras import ops
from numpy.typing import NDArray

from clip_core.errors import InputTypeError
from clip_core.model_weights import Weights
from clip_core.pretrained import PretrainedModel
from clip_core.schemes import KERAS
from clip_core.weights import STATISTICS
from clip_tf.adapters import WithAdapters, has_factors
from clip_tf.arguments import named_arguments, overriding_signature
from clip_tf.data import check_arrays, checking
from clip_tf.frameworks import framework
from clip_tf.layer_state import change_layer, layer_state, layers_by_path, own_variables
from clip_tf.members import UpstreamMembers
from clip_tf.objectives import check_weights, named_outputs

RUNNING_STATISTICS = tuple(KERAS.leaves[kind] for kind in STATISTICS)
"""The variables of batch normalisation that are no parameters."""


def to_array(variable: keras.Variable | framework.Tensor) -> NDArray[Any]:
    """The values of a variable, or of the tensor that a layer with LoRA computes with; bfloat16 keeps its bits."""
    return ops.convert_to_numpy(ops.convert_to_tensor(variable))


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
        name = dtype if isinstance(dtype, str) else keras.backend.standardize_dtype(dtype)
    except ValueError:
        name = ""
    names = (*framework.DTYPES, "mixed_bfloat16", "mixed_float16")
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


def without_initial_values() -> AbstractContextManager[Any]:
    """Variables made inside get their values when it ends; those that are spread over devices have them at once."""
    return keras.StatelessScope() if keras.distribution.distribution() is None else nullcontext()


def set_first_value(variable: keras.Variable, value: NDArray[Any]) -> None:
    """Gives a variable an array that nothing else refers to; one without values gets its memory, if it lies right."""
    if variable._value is not None:
        variable.assign(value)
        return
    tensor = framework.to_tensor(value, variable.dtype)  # one, also for the copies of a variable on several devices
    variable._initializer = lambda shape, dtype: tensor


def checked(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of Keras' trainer, after `TFCLIPPreTrainedModel.check_data` of what it is given."""
    signature = inspect.signature(method)

    @wraps(method)
    def run(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        if isinstance(given.arguments.get("x"), Mapping):
            given.arguments["x"] = dict(given.arguments["x"])  # Keras knows no other mapping
        args[0].check_data(given.arguments)
        problems: list[Exception] = []
        for name in ("x", "validation_data"):
            if name in given.arguments:
                given.arguments[name] = checking(args[0], given.arguments[name], problems)
        restore = framework.keeper(args[0])
        try:
            return method(*given.args, **given.kwargs)
        except Exception as error:
            restore()
            if problems:
                raise problems[0] from error
            raise

    return run


class TFCLIPPreTrainedModel(WithAdapters, UpstreamMembers, PretrainedModel, keras.Model):
    """Base of the models.

    `fit`, `evaluate`, `predict` and their ``_on_batch`` forms are those of every Keras model. Texts that they are given
    as arrays or as tensors in host memory are checked as a call checks them, once, before the first batch; those that
    come out of a `tf.data.Dataset` or a generator batch by batch, before the batch is used. What a `PyDataset` or a
    `DataLoader` gives is seen by compiled code only, where a bad text makes the loss NaN.

    Args:
        config: of the model; of the class ``config_class``.
        seed: of the initial weights; one seed gives the same model in every framework.
        dtype: of weights and computation, ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"float64"``; or a Keras
            dtype policy, such as ``"mixed_bfloat16"``: float32 weights, computation in bfloat16. The default is Keras'
            global policy, which is float32 unless set.
        weights: by their names in checkpoints, instead of seeded ones; copied.
        name: of the Keras model.

    Raises:
        InputTypeError: ``config`` is of another class, no such dtype, or ``weights`` are no mapping to arrays.
        WeightMismatchError: ``weights`` are not those of the configuration.
    """

    scheme = KERAS
    to_array = staticmethod(to_array)
    fit, train_on_batch = checked(keras.Model.fit), checked(keras.Model.train_on_batch)
    evaluate, test_on_batch = checked(keras.Model.evaluate), checked(keras.Model.test_on_batch)
    predict, predict_on_batch = checked(keras.Model.predict), checked(keras.Model.predict_on_batch)

    def __init__(
        self,
        config: Any,
        *,
        seed: int = 0,
        dtype: keras.DTypePolicy | Any | str | None = None,
        weights: Weights | None = None,
        name: str | None = None,
    ) -> None:
        policy = dtype_policy(dtype)
        super().__init__(dtype=policy, name=name)
        self.config = self.checked_config(config)
        self.seed = seed
        self.measured_outputs: dict[str, None] = {}
        with without_initial_values():
            with layers_of(policy), keras.name_scope(self.name, caller=self):
                self.make_layers(self.config)
            for owner, leaf, value in self.initial_values(seed, weights):
                set_first_value(getattr(owner, leaf), value)
        for layer in self._flatten_layers():
            layer.built = True  # no build on the first call: all variables are there

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "call" in vars(cls):
            call = vars(cls)["call"]
            call.__signature__ = overriding_signature(call, super(cls, cls).call)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As `call`, with NumPy arrays too; one mapping, as `fit` and `predict` hand over, is unpacked.

        A subclass may override `call` with the arguments of its own, with ``(self, *args, **kwargs)``, or with
        ``(self, inputs, training=False)``: the last one gets a batch as one dict, which ``super().call`` takes.

        Raises:
            InputTypeError: arguments that `call` does not have.
        """
        args, kwargs = named_arguments(self, inspect.signature(self.call), args, kwargs)
        return super().__call__(*args, **kwargs)

    def stateless_call(
        self,
        trainable_variables: Any,
        non_trainable_variables: Any,
        *args: Any,
        return_losses: bool = False,
        **kwargs: Any,
    ) -> Any:
        """As of every Keras model; `fit` and `predict` on JAX call this instead of the model, with one mapping too."""
        args, kwargs = named_arguments(self, inspect.signature(self.call), args, kwargs)
        return super().stateless_call(
            trainable_variables, non_trainable_variables, *args, return_losses=return_losses, **kwargs
        )

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """As of every Keras model; losses and metrics may be given by the names of outputs."""
        given = inspect.signature(keras.Model.compile).bind(self, *args, **kwargs).arguments
        by_name = [given[what] for what in ("metrics", "weighted_metrics") if isinstance(given.get(what), dict)]
        self.measured_outputs = {name: None for names in by_name for name in names}
        super().compile(*args, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as `get_compile_config` says."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer:
            self.optimizer.build(self.trainable_variables)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """As of every Keras model; the losses that were compiled by the names of outputs get these."""
        y, y_pred = named_outputs("loss", self.loss, y_pred, y)
        check_weights(sample_weight, y)
        return super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """As of every Keras model; the metrics that were compiled by the names of outputs get these."""
        y, y_pred = named_outputs("metrics", self.measured_outputs or None, y_pred, y)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def check_data(self, arguments: dict[str, Any]) -> None:
        """Checks texts and pixels in the arguments of `fit` and its like, if they are arrays or lie in host memory.

        Raises:
            InputError, InputTypeError: shapes, dtypes or values that the towers cannot take.
        """
        check_arrays(self, arguments.get("x"))

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """As of Keras' models on TensorFlow, which take the mean of the replicas' parts; here these may be uneven."""
        if iterator is not None and self._distribute_strategy is not None:
            _, _, batches = next(iter(iterator))
            iterator, data_batch = None, framework.first_part(next(batches), self._distribute_strategy)
        super()._maybe_symbolic_build(iterator, data_batch)

    def held_parameters(self) -> dict[str, Any]:
        """All variables but those of metrics and of random numbers.

        A layer with LoRA is read with its adapter, so what it is merged of is none of them.
        """
        merged = {
            id(variable)
            for _, layer in layers_by_path(self)
            if has_factors(layer)
            for name, variable in own_variables(layer).items()
            if name.startswith(("_", "lora_"))
        }
        return {variable.path: variable for variable in self.weights if id(variable) not in merged}

    def is_counted(self, parameter: Any) -> bool:
        return parameter.path.rpartition("/")[2] not in RUNNING_STATISTICS

    def is_trainable(self, parameter: Any) -> bool:
        return parameter.trainable

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
        options = framework.export_options(format, inputs)
        fields = self(inputs, return_dict=True).items()
        outputs = {name: value for name, value in fields if not isinstance(value, tuple)}
        model = keras.Model(inputs, outputs)
        model.export(filepath, format=format, verbose=verbose, input_signature=[inputs], **options)

    def get_config(self) -> dict[str, Any]:
        """What Keras stores of the model beside its weights, among it what was changed in its layers.

        Raises:
            InputError: a layer is quantised by calibration, which cannot be repeated.
        """
        states = {path: layer_state(layer, self.dtype_policy) for path, layer in layers_by_path(self)}
        return {
            "config": self.config.to_dict(),
            "seed": self.seed,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "name": self.name,
            "trainable": self.trainable,
            "layers": {path: state for path, state in states.items() if state},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """The model that `get_config` describes, with seeded weights."""
        policy = keras.saving.deserialize_keras_object(config["dtype"], custom_objects)
        model_config = cls.config_class.from_dict(config["config"])
        model = cls(model_config, seed=config["seed"], dtype=policy, name=config["name"])
        model.trainable = config["trainable"]
        if "layers" in config:  # files from before it was stored lack it
            for path, layer in layers_by_path(model):
                change_layer(layer, config["layers"].get(path, {}), custom_objects)
        return model
