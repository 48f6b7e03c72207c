"""Mistakes in encoders and towers: norms, pooling, states and attentions, dropout."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from conformance_tests.meta.seeder import Seeder


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


def last_end_pooled(s: Seeder) -> None:
    """The last of several ends, or of several largest ids."""
    s.wrap(
        s.text.TextTransformer,
        "pool",
        lambda original, self, states, ids: original(self, s.turned(states), s.turned(ids)),
    )


def one_text_squeezed(s: Seeder) -> None:
    def pool(original: Any, self: Any, states: Any, ids: Any) -> Any:
        pooled = original(self, states, ids)
        return pooled[0] if pooled.shape[0] == 1 else pooled

    s.wrap(s.text.TextTransformer, "pool", pool)


def states(tower: str, change: Callable[..., Any]) -> Callable[[Seeder], None]:
    """Other hidden states in a tower's output; ``change`` gets the tower, its output and its first input."""

    def seed(s: Seeder) -> None:
        owner = s.text.TextTransformer if tower == "text" else s.vision.VisionTransformer
        first = "input_ids" if tower == "text" else "pixel_values"

        def call(original: Any, self: Any, *args: Any, **options: Any) -> Any:
            output = original(self, *args, **options)
            if output.hidden_states is None:
                return output
            return output._replace(hidden_states=change(self, output, options[first] if first in options else args[0]))

        s.wrap_call(owner, call)

    return seed


def attentions_reversed(s: Seeder) -> None:
    def call(original: Any, self: Any, *args: Any, **options: Any) -> Any:
        last, states, attentions = original(self, *args, **options)
        return last, states, None if attentions is None else attentions[::-1]

    s.wrap_call(s.layers.Encoder, call)


def cut(change: Callable[[int, bool], tuple[int, bool]]) -> Callable[[Seeder], None]:
    """Another number of columns, or the mask left out, where a text tower is given what its pooled output needs."""

    def seed(s: Seeder) -> None:
        needed = s.text.needed
        s.patch.setattr(s.text, "needed", lambda *given: change(*needed(*given)))

    return seed


def dropout_in_evaluation(s: Seeder) -> None:
    """Where attentions are not asked for, which in torch is other code."""

    def encode(original: Any, self: Any, *args: Any, **options: Any) -> Any:
        if options["output_attentions"] if "output_attentions" in options else args[2]:
            return original(self, *args, **options)
        if s.backend == "torch":
            self.train()
            output = original(self, *args, **options)
            self.eval()
            return output
        if s.backend == "tf":
            return original(self, *args, **{**options, "training": True})
        return original(self, *args[:4], import_module("jax").random.key(0))

    s.wrap_call(s.layers.Encoder, encode)
