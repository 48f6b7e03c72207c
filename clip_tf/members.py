"""Members of transformers' TensorFlow classes that code around them uses, and Keras' summary of all layers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from clip_core.checks import LEGACY_EOS_TOKEN_ID
from clip_core.errors import InputError, MissingExtraError
from clip_core.outputs import ModelOutput
from clip_tf.arguments import TENSORS


class UpstreamMembers:
    """Part of `clip_tf.weights.TFCLIPPreTrainedModel`."""

    framework = "tf"

    def build(self, input_shape: Any = None) -> None:
        """Nothing: all variables are there since the constructor, whatever the inputs."""
        self.built = True

    build_in_name_scope = build

    @property
    def dummy_inputs(self) -> dict[str, NDArray[Any]]:
        """A batch of one text, which ends at its second token, and of one grey image: what the model takes of them."""
        batch: dict[str, NDArray[Any]] = {}
        if hasattr(self, "text_model"):
            config = self.text_model.config
            end = config.eos_token_id
            end = config.vocab_size - 1 if end == LEGACY_EOS_TOKEN_ID else end
            batch["input_ids"] = np.array([[config.bos_token_id % config.vocab_size, end]], np.int32)
            batch["attention_mask"] = np.ones((1, 2), np.int32)
        if hasattr(self, "vision_model"):
            config = self.vision_model.config
            batch["pixel_values"] = np.zeros((1, config.num_channels, config.image_size, config.image_size), np.float32)
        return batch

    def serving_output(self, output: ModelOutput) -> dict[str, Any]:
        """The fields of an output that are one tensor, by name, as a signature holds them."""
        return {name: value for name, value in output.items() if not isinstance(value, tuple)}

    @property
    def serving(self) -> Any:
        """The model as a `tf.function` of one dict, for `tf.saved_model.save(model, path, signatures=model.serving)`.

        Raises:
            InputError: Keras does not run on TensorFlow.
        """
        if keras.backend.backend() != "tensorflow":
            raise InputError(f"serving: expected Keras on TensorFlow, got {keras.backend.backend()}. Call export.")
        import tensorflow as tf

        inputs = self.input_signature
        signature = {name: tf.TensorSpec(value.shape, value.dtype, name) for name, value in inputs.items()}

        def serve(batch: Mapping[str, Any]) -> dict[str, Any]:
            return self.serving_output(self(batch, return_dict=True))

        return tf.function(serve, input_signature=[signature], autograph=False)

    @property
    def _default_save_signature(self) -> Any:
        return self.serving  # Keras asks for it in tf.saved_model.save; its own knows one input only

    def set_input_embeddings(self, value: Any) -> None:
        """Gives the token embedding (of a vision tower the patch embedding) the numbers of a layer or an array.

        Raises:
            InputError: of another shape, which no variable of Keras can get.
        """
        variable = self.get_input_embeddings().weights[0]
        given = value.weights[0] if isinstance(value, keras.Layer) else value
        if tuple(given.shape) != tuple(variable.shape):
            raise InputError(f"set_input_embeddings: expected shape {list(variable.shape)}, got {list(given.shape)}.")
        variable.assign(ops.convert_to_tensor(given))

    def set_table(self, layer: Any, table: NDArray[Any]) -> None:
        if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
            raise InputError(
                "resize_token_embeddings: expected a plain table, got one with LoRA or quantised. Do it before."
            )
        *scopes, _, _ = layer.embeddings.path.split("/")  # the layer adds its own name and the variable's
        layer._untrack_variable(layer.embeddings)
        layer._tracker.unlock()
        layer.input_dim, layer.built = len(table), False
        with ExitStack() as stack:
            for scope in scopes:
                stack.enter_context(keras.name_scope(scope))
            layer.build(None)
        layer.embeddings.assign(ops.convert_to_tensor(table, layer.variable_dtype))
        self.train_function = self.test_function = self.predict_function = None  # they compute with the old one

    def all_parameters(self) -> dict[str, Any]:
        """As `ModelMembers.all_parameters`; of a layer with LoRA what lies beneath, and the factors."""
        return {variable.path: variable for variable in self.weights}

    def prepare_tf_dataset(
        self,
        dataset: Sequence[Mapping[str, Any]],
        batch_size: int = 8,
        shuffle: bool = True,
        tokenizer: Any = None,
        collate_fn: Callable[..., Mapping[str, Any]] | None = None,
        collate_fn_args: Mapping[str, Any] | None = None,
        drop_remainder: bool | None = None,
        prefetch: bool = True,
    ) -> Any:
        """A `tf.data.Dataset` of batches for `fit`, from rows such as those of `datasets.Dataset`.

        Args:
            dataset: rows by number, each a mapping from names to values. What the model does not take is left out.
            batch_size, shuffle, prefetch: as of `tf.data.Dataset`; rows are shuffled anew for each epoch.
            tokenizer: pads texts of different lengths to one in each batch.
            collate_fn, collate_fn_args: makes a batch of arrays of a list of rows, instead of padding and stacking.
            drop_remainder: leave out a last batch of fewer rows; ``shuffle`` unless given.

        Raises:
            InputError: rows that hold nothing for the model, or that differ in shape.
            MissingExtraError: TensorFlow is not installed.
        """
        try:
            import tensorflow as tf
        except ModuleNotFoundError:
            raise MissingExtraError("tensorflow", "tf", "prepare_tf_dataset") from None
        taken = [name for name in TENSORS if name in inspect.signature(self.call).parameters]

        def batch_of(numbers: Any) -> dict[str, NDArray[Any]]:
            rows = [dataset[int(number)] for number in numbers]
            if collate_fn is not None:
                return _arrays(
                    {name: v for name, v in collate_fn(rows, **(collate_fn_args or {})).items() if name in taken}
                )
            return _stacked([{name: row[name] for name in taken if name in row} for row in rows], tokenizer)

        first = batch_of([0])
        if not first:
            raise InputError(f"dataset: expected rows with some of {', '.join(taken)}, got {', '.join(dataset[0])}.")
        numbers = tf.data.Dataset.range(len(dataset))
        numbers = numbers.shuffle(len(dataset)) if shuffle else numbers
        numbers = numbers.batch(batch_size, drop_remainder=shuffle if drop_remainder is None else drop_remainder)

        def load(chosen: Any) -> dict[str, Any]:
            dtypes = [value.dtype for value in first.values()]
            loaded = tf.numpy_function(lambda numbers: [batch_of(numbers)[name] for name in first], [chosen], dtypes)
            for tensor, (name, value) in zip(loaded, first.items(), strict=True):
                tensor.set_shape([None, *(value.shape[1:] if name == "pixel_values" else [None] * (value.ndim - 1))])
            return dict(zip(first, loaded, strict=True))

        batches = numbers.map(load)
        return batches.prefetch(tf.data.AUTOTUNE) if prefetch else batches

    def summary(self, *args: Any, expand_nested: bool = False, **kwargs: Any) -> None:
        """As of every Keras model; with ``expand_nested`` down to the layers that hold the weights."""
        with _nested_layers(self) if expand_nested else nullcontext():
            super().summary(*args, expand_nested=expand_nested, **kwargs)


def _stacked(rows: list[dict[str, Any]], tokenizer: Any) -> dict[str, NDArray[Any]]:
    """Rows as one batch."""
    texts = [name for name in ("input_ids", "attention_mask") if name in rows[0]]
    batch = {}
    if tokenizer is not None and "input_ids" in texts:
        lists = [{name: np.asarray(row[name]).tolist() for name in texts} for row in rows]
        batch = dict(tokenizer.pad(lists, return_tensors="np"))
    return _arrays({**{name: [row[name] for row in rows] for name in rows[0] if name not in batch}, **batch})


def _arrays(batch: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Values as arrays; integers as TensorFlow embeds with."""
    found = {}
    for name, value in batch.items():
        try:
            array = np.asarray(value)
        except ValueError:
            raise InputError(
                f"{name}: expected rows of one shape. Pass tokenizer=, which pads texts, or collate_fn=."
            ) from None
        found[name] = array.astype(np.int32) if array.dtype == np.int64 else array
        if array.dtype == np.float64:
            found[name] = array.astype(np.float32)
    return found


@contextmanager
def _nested_layers(model: Any) -> Iterator[None]:
    """Every layer shows Keras' summary the layers inside, past Keras' tracking, which would put them into files."""
    shown = [layer for layer in model._flatten_layers(include_self=False) if "layers" not in vars(layer)]
    inner = [(layer, list(layer._flatten_layers(include_self=False, recursive=False))) for layer in shown]
    inner = [(layer, layers) for layer, layers in inner if layers and not hasattr(type(layer), "layers")]
    for layer, layers in inner:
        vars(layer)["layers"] = layers
    try:
        yield
    finally:
        for layer, _ in inner:
            del vars(layer)["layers"]
