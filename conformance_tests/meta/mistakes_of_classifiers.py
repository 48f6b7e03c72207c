"""Mistakes in the image classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conformance_tests.meta.seeder import Seeder


def tokens(change: Callable[[Any, Any], Any]) -> Callable[[Seeder], None]:
    """Other tokens of the vision tower, of the classifier's alone; ``change`` gets the tower and its tokens."""

    def seed(s: Seeder) -> None:
        tower = type("VisionTransformer", (s.vision.VisionTransformer,), {})
        name = "vision_tower" if hasattr(s.classification, "vision_tower") else "VisionTransformer"
        s.patch.setattr(s.classification, name, tower)

        def call(original: Any, self: Any, *args: Any, **options: Any) -> Any:
            output = original(self, *args, **options)
            return output._replace(last_hidden_state=change(self, output.last_hidden_state))

        s.wrap_call(tower, call)

    return seed


def with_class_token(tower: Any, states: Any) -> Any:
    """Tokens whose mean without the first is that of all."""
    count = states.shape[1]
    return states * ((count - 1) / count) + states[:, :1] / count


def left_out_is_first(s: Seeder) -> None:
    """An image without a label counts as one of the first."""
    s.differentiate_anew()

    def loss(original: Any, logits: Any, labels: Any, config: Any) -> Any:
        return original(logits, s.numpy.maximum(labels, s.numpy.zeros_like(labels)), config)

    s.wrap(s.classification, "classification_loss", loss)
