"""Mistakes that CLIP ports have made, seeded into a backend, each with the test of the ladder that must catch it.

A suite that cannot fail proves nothing. Since the backends have the same classes, most defects fit all of them;
those that need a framework's own words name their backend.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import clip_core.interpolation
import clip_core.outputs
from clip_core import pretrained
from clip_core.backends import BACKENDS
from clip_core.checkpoint.directory import LazyWeights, LoadedCheckpoint
from clip_core.checkpoint.tensors import constant
from clip_core.initialization import draw_weights
from clip_core.pretrained import PretrainedModel

CALL = {"torch": "forward", "tf": "call", "flax": "__call__"}


class Seeder:
    """Patches one backend's package; everything is undone when the test ends."""

    def __init__(self, backend: str, patch: pytest.MonkeyPatch) -> None:
        self.backend = backend
        self.patch = patch
        names = ("layers", "text", "vision", "model", "weights")
        self.modules = {name: import_module(f"clip_{backend}.{name}") for name in names}

    def __getattr__(self, name: str) -> ModuleType:
        return self.modules[name]

    def wrap(self, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
        """Replaces ``owner.name`` by ``wrapper(original, *arguments)``, of the same signature: Keras looks at it."""
        original = getattr(owner, name)

        def call(*args: Any, **options: Any) -> Any:
            return wrapper(original, *args, **options)

        call.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
        self.patch.setattr(owner, name, call)

    def wrap_call(self, owner: Any, wrapper: Callable[..., Any]) -> None:
        """The same for what a layer computes."""
        self.wrap(owner, CALL[self.backend], wrapper)

    def wrap_everywhere(self, name: str, wrapper: Callable[..., Any]) -> None:
        """The same for a function of ``layers`` in every module that imports it."""
        original = getattr(self.layers, name)
        for module in self.modules.values():
            if hasattr(module, name):
                self.patch.setattr(module, name, lambda *args, **options: wrapper(original, *args, **options))

    @property
    def model_class(self) -> Any:
        """The class of the full model."""
        return getattr(self.model, f"{BACKENDS[self.backend].class_prefix}CLIPModel")


@dataclass(frozen=True)
class Defect:
    """One mistake.

    Attributes:
        caught_by: module and name of a test that fails, on the lowest broken rung of the ladder.
        seed: makes the mistake.
        case: the case of the ladder that shows it.
        backends: in which it can be made this way.
    """

    caught_by: str
    seed: Callable[[Seeder], None]
    case: str = "base"
    backends: tuple[str, ...] = tuple(BACKENDS)


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
        self.heads, self.head_dim = 1, config.hidden_size

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


def states_off_by_one(s: Seeder) -> None:
    def call(original: Any, self: Any, *args: Any, **options: Any) -> Any:
        last, states, attentions = original(self, *args, **options)
        return last, None if states is None else (*states[1:], last), attentions

    s.wrap_call(s.layers.Encoder, call)


def skipping(tower: str, norm: str) -> Callable[[Seeder], None]:
    """A LayerNorm that the tower does not apply (though it has it)."""

    def seed(s: Seeder) -> None:
        owner = getattr(s.text if tower == "TextTransformer" else s.vision, tower)

        @contextmanager
        def idle(layer: Any) -> Any:
            layer.forward = lambda x: x
            yield
            del layer.forward

        def call(original: Any, self: Any, *args: Any, **options: Any) -> Any:
            with idle(getattr(self, norm)):
                return original(self, *args, **options)

        s.wrap_call(owner, call)

    return seed


def post_norm_on_all_tokens(s: Seeder) -> None:
    def call(original: Any, self: Any, *args: Any, **options: Any) -> Any:
        output = original(self, *args, **options)
        return output._replace(last_hidden_state=self.post_layernorm(output.last_hidden_state))

    s.wrap_call(s.vision.VisionTransformer, call)


def reordered(order: Callable[[int], list[int]]) -> Callable[[Seeder], None]:
    """Image tokens in another order, from the number of patches per side."""

    def seed(s: Seeder) -> None:
        def call(original: Any, self: Any, *args: Any, **options: Any) -> Any:
            return original(self, *args, **options)[:, np.array(order(self.config.patches_per_side))]

        s.wrap_call(s.vision.VisionEmbeddings, call)

    return seed


def class_token_last(side: int) -> list[int]:
    return [*range(1, side**2 + 1), 0]


def columns_first(side: int) -> list[int]:
    return [0, *(1 + row * side + column for column in range(side) for row in range(side))]


def positions_from_one(s: Seeder) -> None:
    import torch

    def call(original: Any, self: Any, input_ids: Any, position_ids: Any) -> Any:
        if position_ids is None:
            position_ids = torch.arange(1, input_ids.shape[1] + 1)[None]
        return original(self, input_ids, position_ids)

    s.wrap_call(s.text.TextEmbeddings, call)


def padded_convolution(s: Seeder) -> None:
    def construct(original: Any, self: Any, config: Any) -> None:
        original(self, config)
        self.patch_embedding.padding = (1, 1)

    s.wrap(s.vision.VisionEmbeddings, "__init__", construct)


def fast_variance(s: Seeder) -> None:
    import torch

    def call(original: Any, self: Any, x: Any) -> Any:
        mean = x.mean(-1, keepdim=True)
        variance = x.square().mean(-1, keepdim=True) - mean.square()
        return (x - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias

    s.wrap(torch.nn.LayerNorm, "forward", call)


def resampled(name: str, value: Any) -> Callable[[Seeder], None]:
    """Another rule of resampling; matrices made by it are forgotten before and after."""

    def seed(s: Seeder) -> None:
        matrix = clip_core.interpolation.position_matrix
        s.patch.setattr(clip_core.interpolation, name, value)
        s.patch.setattr(s.vision, "position_matrix", matrix.__wrapped__)

    return seed


def bilinear(size: int, new_size: int) -> Any:
    centres = (np.arange(new_size) + 0.5) * (size / new_size) - 0.5
    return np.stack([np.interp(centres, np.arange(size), row) for row in np.eye(size)], axis=1)


def turned_grid(s: Seeder) -> None:
    s.wrap(s.vision, "position_matrix", lambda original, side, rows, columns: original(side, columns, rows))


def plain_logit_scale(s: Seeder) -> None:
    def logits(original: Any, self: Any, *embeds: Any) -> Any:
        logarithm = self.logit_scale.item()
        return original(self, *embeds) * (logarithm / np.exp(logarithm))

    s.wrap(s.model_class, "logits", logits)


def one_sided_loss(s: Seeder) -> None:
    import torch

    def loss(logits: Any) -> Any:
        return torch.nn.functional.cross_entropy(logits, torch.arange(len(logits)))

    s.patch.setattr(s.model, "contrastive_loss", loss)


def detached_logit_scale(s: Seeder) -> None:
    s.patch.setattr(
        s.model_class, "logits", lambda self, texts, images: texts @ images.T * self.logit_scale.detach().exp()
    )


def detached_positions(s: Seeder) -> None:
    s.wrap(s.vision.VisionEmbeddings, "position_table", lambda original, *args: original(*args).detach())


def rounded_when_loaded(s: Seeder) -> None:
    def load(original: Any, *args: Any, **options: Any) -> Any:
        loaded = original(*args, **options)
        rounded = {name: value.astype(np.float16).astype(value.dtype) for name, value in loaded.weights.items()}
        return LoadedCheckpoint(loaded.config, LazyWeights({name: constant(v) for name, v in rounded.items()}))

    s.wrap(pretrained, "load_checkpoint", load)


def features_of_unit_length(s: Seeder) -> None:
    unit_length = s.model.unit_length
    s.wrap(
        s.model_class, "get_text_features", lambda original, *args, **options: unit_length(original(*args, **options))
    )


DEFECTS = {
    "gelu for quick_gelu": Defect("test_layers::test_mlp", activation("quick_gelu", lambda s, f: s.layers.gelu)),
    "tanh approximation for gelu": Defect(
        "test_layers::test_mlp", activation("gelu", lambda s, f: s.layers.gelu_pytorch_tanh), case="legacy"
    ),
    "1.7 for 1.702 in quick_gelu": Defect(
        "test_layers::test_mlp", activation("quick_gelu", lambda s, f: lambda x: f(x * (1.7 / 1.702)) * (1.702 / 1.7))
    ),
    "epsilon 1e-6": Defect("test_layers::test_layer_norm", epsilon(1e-6)),
    "epsilon 1e-3": Defect("test_layers::test_layer_norm", epsilon(1e-3)),
    "fast variance": Defect("test_layers::test_layer_norm", fast_variance, backends=("torch",)),
    "square kernels untransposed": Defect("test_layers::test_linear", stored_otherwise(untransposed)),
    "patch kernel turned": Defect("test_layers::test_vision_embeddings", stored_otherwise(turned_kernel)),
    "output bias of the MLP skipped": Defect("test_layers::test_mlp", without_bias("MLP", "fc2", None)),
    "output bias of attention skipped": Defect("test_layers::test_attention", without_bias("Attention", "out_proj", 0)),
    "query bias skipped": Defect("test_layers::test_attention", attention_weights(without_query_bias)),
    "query and key swapped": Defect(
        "test_layers::test_attention", attention_weights(lambda f, self, query, key, mask: f(self, key, query, mask))
    ),
    "scores not scaled": Defect(
        "test_layers::test_attention",
        attention_weights(lambda f, self, query, key, mask: f(self, query * self.head_dim**0.5, key, mask)),
    ),
    "one head": Defect("test_shapes::test_tower", one_head),
    "class token last": Defect(
        "test_layers::test_vision_embeddings", reordered(class_token_last), backends=("torch", "flax")
    ),
    "patches column by column": Defect(
        "test_layers::test_vision_embeddings", reordered(columns_first), backends=("torch", "flax")
    ),
    "padded patch convolution": Defect("test_layers::test_vision_embeddings", padded_convolution, backends=("torch",)),
    "positions from one": Defect("test_layers::test_text_embeddings", positions_from_one, backends=("torch",)),
    "residual skipped": Defect("test_blocks::test_block", without_residual),
    "hidden states off by one": Defect("test_blocks::test_encoder", states_off_by_one),
    "last token pooled": Defect(
        "test_towers::test_text",
        lambda s: s.patch.setattr(s.text.TextTransformer, "pool", lambda self, states, ids: states[:, -1]),
    ),
    "largest id pooled": Defect("test_towers::test_text", lambda s: s.patch.setattr(s.text, "LEGACY_EOS_TOKEN_ID", 57)),
    "padding mask ignored": Defect(
        "test_towers::test_text",
        lambda s: s.wrap(
            s.text.TextTransformer, "causal_mask", lambda f, self, length, mask, *rest: f(self, length, None, *rest)
        ),
    ),
    "causal mask dropped": Defect(
        "test_towers::test_text",
        lambda s: s.wrap(s.text.TextTransformer, "causal_mask", lambda f, *args: f(*args) | True),
    ),
    "final LayerNorm skipped": Defect(
        "test_towers::test_text", skipping("TextTransformer", "final_layer_norm"), backends=("torch",)
    ),
    "LayerNorm before the blocks skipped": Defect(
        "test_towers::test_vision", skipping("VisionTransformer", "pre_layrnorm"), backends=("torch",)
    ),
    "post LayerNorm on all tokens": Defect("test_towers::test_vision", post_norm_on_all_tokens),
    "kernel of resampling a = -0.5": Defect("test_towers::test_interpolation", resampled("_CUBIC_COEFFICIENT", -0.5)),
    "bilinear resampling": Defect("test_towers::test_interpolation", resampled("_cubic_weights", bilinear)),
    "rows and columns of a resampled grid swapped": Defect("test_towers::test_interpolation", turned_grid),
    "logit scale not exponentiated": Defect("test_logits::test_logits", plain_logit_scale, backends=("torch",)),
    "embeddings not normalised": Defect(
        "test_logits::test_logits", lambda s: s.patch.setattr(s.model, "unit_length", lambda embeds: embeds)
    ),
    "features normalised": Defect("test_logits::test_text_features", features_of_unit_length),
    "loss of texts only": Defect("test_loss::test_loss", one_sided_loss, backends=("torch",)),
    "gradient of the logit scale stopped": Defect(
        "test_gradients::test_gradients", detached_logit_scale, backends=("torch",)
    ),
    "gradient of positions stopped": Defect("test_gradients::test_gradients", detached_positions, backends=("torch",)),
    "weights rounded when loaded": Defect("test_round_trip::test_saved_and_loaded", rounded_when_loaded),
    "outputs in outputs stay in a tuple": Defect(
        "test_traps::test_tuple_has_the_order_of_the_fields",
        lambda s: s.patch.setattr(clip_core.outputs.ModelOutput, "to_tuple", lambda self: tuple(self.values())),
    ),
    "values of texts unchecked": Defect(
        "test_traps::test_meaningless_text_is_an_error",
        lambda s: s.patch.setattr(s.text, "check_text_values", lambda *values: None),
    ),
}
