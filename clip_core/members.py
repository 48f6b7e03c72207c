"""Members of transformers' models that code around them touches, as far as they need no framework."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, ClassVar

from clip_core.config import CLIPConfig
from clip_core.errors import InputError
from clip_core.model_weights import ModelWeights
from clip_core.vocabulary import changes_for, resized_table, rounded_count

_TOWERS = ("text_model", "vision_model")
_TABLES = ("token_embedding", "position_embedding", "positional_embedding")


class ModelMembers(ModelWeights):
    """Part of `clip_core.pretrained.PretrainedModel`."""

    text_model: Any

    base_model_prefix: ClassVar[str] = "clip"
    supports_gradient_checkpointing: ClassVar[bool] = True
    name_or_path: str = ""
    """What `from_pretrained` was given; nothing for a model that was not loaded."""

    @property
    def main_input_name(self) -> str:
        """The first input's name."""
        return "input_ids" if hasattr(self, "text_model") else "pixel_values"

    def can_generate(self) -> bool:
        """No CLIP writes texts."""
        return False

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """How many numbers the parameters hold, those of adapters and heads that were added among them.

        Args:
            only_trainable: count those that training changes.
            exclude_embeddings: leave out the tables of tokens and positions.
        """
        return sum(
            prod(parameter.shape)
            for name, parameter in self.all_parameters().items()
            if self.is_counted(parameter)
            and (not only_trainable or self.is_trainable(parameter))
            and not (exclude_embeddings and any(table in name for table in _TABLES))
        )

    def all_parameters(self) -> dict[str, Any]:
        """All that there are to count, by the framework's own names; unless a backend says so, those held."""
        return self.held_parameters()

    def is_counted(self, parameter: Any) -> bool:
        """Whether it is a parameter, of those that the framework holds."""
        return True

    def is_trainable(self, parameter: Any) -> bool:
        """Whether training changes it; each backend's own."""
        raise NotImplementedError

    # ---- what reads the inputs

    def input_layers(self) -> list[Any]:
        """The layers that read ids or pixels, one of each tower."""
        return [_input_layer(tower) for tower in self._towers()]

    def get_input_embeddings(self) -> Any:
        """The token embedding; of a vision tower the patch embedding, of a ResNet its first convolution."""
        return self.input_layers()[0]

    def get_output_embeddings(self) -> None:
        """There are none: CLIP predicts no tokens."""

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> Any:
        """Gives the text tower another number of tokens; the configuration follows, so that it is saved with it.

        New rows are the mean of the old ones, until they are trained or set. Optimisers have to be made anew.

        Args:
            new_num_tokens: rows of the table, such as ``len(tokenizer)``; unchanged if left out.
            pad_to_multiple_of: rounds their number up.
            mean_resizing: ``True``; transformers draws new rows about the mean, or with ``False`` about zero.

        Returns:
            The token embedding.

        Raises:
            InputError: no text tower, fewer tokens than have to be, or ``mean_resizing=False``.
        """
        if not hasattr(self, "text_model"):
            raise InputError(f"{type(self).__name__} has no tokens.")
        if mean_resizing is not True:
            raise InputError("mean_resizing: expected True; set the rows of get_input_embeddings() afterwards.")
        config, layer = self.text_model.config, self.get_input_embeddings()
        count = config.vocab_size if new_num_tokens is None else new_num_tokens
        count = rounded_count(count, pad_to_multiple_of)
        if count != config.vocab_size:
            changes = changes_for(config, count)
            table = self.named_weights()["text_model.embeddings.token_embedding.weight"]
            self.set_table(layer, resized_table(table, count))
            self.change_text_config(changes)
        return layer

    def set_table(self, layer: Any, table: Any) -> None:
        """Gives an embedding other rows, in its dtype and place; each backend's own.

        Raises:
            InputError: it cannot.
        """
        raise InputError(
            f"{type(self).__name__}: its framework cannot change the shape of a variable. Make another model: "
            "Model(model.config.changed(...), weights={**model.named_weights(), name: table})."
        )

    def change_text_config(self, changes: Mapping[str, Any]) -> None:
        """Gives fields of the text tower's configuration other values, wherever the model keeps it."""
        self.text_model.config = tower = self.text_model.config.changed(changes)
        whole = self.config
        self.config = whole.changed({"text_config": changes}) if isinstance(whole, CLIPConfig) else tower

    # ---- gradient checkpointing

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None) -> None:
        """Recomputes each block in the backward pass of training instead of keeping its activations.

        Args:
            gradient_checkpointing_kwargs: torch's words; ``{"use_reentrant": False}`` is how it is done.

        Raises:
            InputError: another way.
        """
        if dict(gradient_checkpointing_kwargs or {}) not in ({}, {"use_reentrant": False}):
            raise InputError(
                "gradient_checkpointing_kwargs: expected nothing or {'use_reentrant': False}, got "
                f"{gradient_checkpointing_kwargs!r:.80}. The reentrant way loses gradients where inputs need none."
            )
        self._set_gradient_checkpointing(True)

    def gradient_checkpointing_disable(self) -> None:
        """Keeps the activations of each block."""
        self._set_gradient_checkpointing(False)

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether blocks are recomputed."""
        return any(_stack(tower).gradient_checkpointing for tower in self._towers())

    def _set_gradient_checkpointing(self, value: bool) -> None:
        for tower in self._towers():
            _stack(tower).gradient_checkpointing = value

    def _towers(self) -> list[Any]:
        return [getattr(self, tower) for tower in _TOWERS if hasattr(self, tower)]


def _input_layer(tower: Any) -> Any:
    if not hasattr(tower, "embeddings"):  # a ResNet
        return tower.conv1
    embeddings = tower.embeddings
    return embeddings.token_embedding if hasattr(embeddings, "token_embedding") else embeddings.patch_embedding


def _stack(tower: Any) -> Any:
    """The part of a tower that knows whether its blocks are recomputed: the encoder; a ResNet is its own."""
    return getattr(tower, "encoder", tower)
