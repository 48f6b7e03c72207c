"""Mistakes in weights, layers and blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from clip_core.initialization import draw_weights
from clip_core.pretrained import PretrainedModel
from conformance_tests.meta.seeder import Seeder


def stored_otherwise(change: Callable[[str, Any], Any]) -> Callable[[Seeder], None]:
    """A wrong entry in a backend's table of layouts: what it loads it reads back, but computes with something else."""

    def seed(s: Seeder) -> None:
        def initial_values(original: Any, self: Any, seed: int, weights: Any) -> Any:
            if weights is None:
                weights = dict(draw_weights(self.config, seed=seed, projection=self.has_projection))
            return original(self, seed, {name: change(name, value) for name, value in weights.items()})

        def read(original: Any, self: Any) -> Any:
            return {name: change(name, value) for name, value in original(self).items()}

        s.wrap(PretrainedModel, "initial_values", initial_values)
        s.wrap(PretrainedModel, "named_weights", read)

    return seed


def untransposed(name: str, value: Any) -> Any:
    """A square matrix the wrong way round."""
    return value.T if value.ndim == 2 and value.shape[0] == value.shape[1] else value


def turned_kernel(name: str, value: Any) -> Any:
    """Height and width of the patches exchanged."""
    return value.swapaxes(2, 3) if value.ndim == 4 else value


def activation(name: str, other: Callable[[Seeder, Any], Any]) -> Callable[[Seeder], None]:
    """Another function under an activation's name."""
    return lambda s: s.patch.setitem(s.layers.ACTIVATIONS, name, other(s, s.layers.ACTIVATIONS[name]))


def epsilon(value: float) -> Callable[[Seeder], None]:
    """A framework's default instead of the configuration's."""
    return lambda s: s.wrap_everywhere(
        "layer_norm",
        lambda original, config, *rest, **options: original(replace(config, layer_norm_eps=value), *rest, **options),
    )


def attention_weights(change: Callable[..., Any]) -> Callable[[Seeder], None]:
    """Other scores; ``change`` gets the original, the layer, queries, keys and the mask."""
    return lambda s: s.wrap(s.layers.Attention, "attention_weights", change)


def one_head(s: Seeder) -> None:
    """As guessed from a width, not read from the configuration."""

    def construct(original: Any, self: Any, config: Any, *rest: Any, **options: Any) -> None:
        original(self, config, *rest, **options)
        self.num_heads, self.head_dim = 1, config.hidden_size

    s.wrap(s.layers.Attention, "__init__", construct)


def without_bias(layer: str, leaf: str, part: int | None) -> Callable[[Seeder], None]:
    """A layer's last bias taken off again; ``part`` is the place of the hidden states in what it returns."""

    def seed(s: Seeder) -> None:
        def call(original: Any, self: Any, *args: Any, **options: Any) -> Any:
            output, bias = original(self, *args, **options), getattr(self, leaf).bias
            return output - bias if part is None else (output[part] - bias, *output[part + 1 :])

        s.wrap_call(getattr(s.layers, layer), call)

    return seed


def without_query_bias(original: Any, self: Any, query: Any, key: Any, mask: Any) -> Any:
    return original(self, query - self.split_heads(self.q_proj.bias[None, None]), key, mask)


def without_residual(s: Seeder) -> None:
    def call(original: Any, self: Any, hidden_states: Any, *args: Any, **options: Any) -> Any:
        output, weights = original(self, hidden_states, *args, **options)
        return output - hidden_states, weights

    s.wrap_call(s.layers.EncoderLayer, call)


def softmax(change: Callable[[Any, Any], Any]) -> Callable[[Seeder], None]:
    """Another softmax of the scores; ``change`` gets the framework's functions and the scores."""
    return lambda s: s.patch.setattr(s.functions, "softmax", lambda scores, **axis: change(s.numpy, scores))


def unshifted(numpy: Any, scores: Any) -> Any:
    """Exponentials of scores as they are, which overflow."""
    exponentials = numpy.exp(scores)
    return exponentials / numpy.sum(exponentials, -1)[..., None]


def shifted(numpy: Any, scores: Any) -> Any:
    """Exponentials, their sum and the quotients, each in the dtype of the scores."""
    return unshifted(numpy, scores - numpy.amax(scores, -1)[..., None])


def lowest(score: float) -> Callable[[Any, Any], Any]:
    """The softmax of scores that are at least this: what masks them out is not low enough."""
    return lambda numpy, scores: shifted(numpy, numpy.clip(scores, score, 1e30))


def half_softmax(s: Seeder) -> None:
    """In the dtype of the weights. (By steps, for torch's own rounds once on CPUs whatever the dtype.)"""

    def weights(original: Any, self: Any, query: Any, key: Any, mask: Any) -> Any:
        softmax(lambda numpy, scores: shifted(numpy, s.cast(scores, query.dtype)))(s)
        return original(self, query, key, mask)

    s.wrap(s.layers.Attention, "attention_weights", weights)


def masked_after_softmax(s: Seeder) -> None:
    def weights(original: Any, self: Any, query: Any, key: Any, mask: Any) -> Any:
        found = original(self, query, key, None)
        return found if mask is None else found * s.cast(mask, found.dtype)

    s.wrap(s.layers.Attention, "attention_weights", weights)


def layer_norm(variance: Callable[[Any, Any, Any], Any]) -> Callable[[Seeder], None]:
    """LayerNorm by steps, each in the dtype of the input; ``variance`` from the functions, the input and its mean."""

    def seed(s: Seeder) -> None:
        names = {"torch": ("weight", "bias", "eps"), "tf": ("gamma", "beta", "epsilon")}
        scale, bias, epsilon = names.get(s.backend, ("scale", "bias", "epsilon"))

        def call(original: Any, self: Any, inputs: Any) -> Any:  # by this name, as Keras passes them
            mean = average(s.numpy, inputs)
            deviation = s.numpy.sqrt(variance(s.numpy, inputs, mean) + getattr(self, epsilon))
            return (inputs - mean) / deviation * s.value(getattr(self, scale)) + s.value(getattr(self, bias))

        s.wrap_call(s.layer_norm_class, call)

    return seed


def average(numpy: Any, x: Any) -> Any:
    """Of the last axis."""
    return numpy.sum(x, -1)[..., None] / x.shape[-1]


def fast_variance(numpy: Any, x: Any, mean: Any) -> Any:
    """The mean square less the squared mean."""
    return average(numpy, numpy.square(x)) - numpy.square(mean)


def narrow_variance(numpy: Any, x: Any, mean: Any) -> Any:
    """Right, but for the dtype."""
    return average(numpy, numpy.square(x - mean))


def first_block_again(s: Seeder) -> None:
    """Every block computed with the weights of the first."""

    def call(original: Any, self: Any, *args: Any, **options: Any) -> Any:
        layers = list(self.layers)
        for index in range(len(layers)):
            self.layers[index] = layers[0]
        output = original(self, *args, **options)
        for index, layer in enumerate(layers):
            self.layers[index] = layer
        return output

    s.wrap_call(s.layers.Encoder, call)
