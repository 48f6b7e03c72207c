"""A checkpoint for images of another size or longer texts: its position embeddings, resampled when it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clip_core.checkpoint.directory import LoadedCheckpoint
from clip_core.checkpoint.lazy_weights import LazyWeights
from clip_core.checkpoint.tensors import Tensor
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import InputError
from clip_core.interpolation import antialiased_matrix, linear_matrix, position_matrix, stretched_matrix

AnyConfig: TypeAlias = CLIPConfig | CLIPTextConfig | CLIPVisionConfig
Matrix: TypeAlias = NDArray[np.float64]

VISION_RECIPES: dict[str, Callable[[int, int, int], Matrix]] = {
    "open_clip": antialiased_matrix,
    "transformers": position_matrix,
}
TEXT_RECIPES: dict[str, Callable[[int, int], Matrix]] = {"open_clip": linear_matrix, "longclip": stretched_matrix}
_TEXT_TABLE = "text_model.embeddings.position_embedding.weight"
_VISION_TABLES = ("vision_model.embeddings.position_embedding.weight", "vision_model.attnpool.positional_embedding")
_OF_VISION, _OF_TEXT = ("image_size", "vision_positions"), ("max_position_embeddings", "text_positions")


@dataclass(frozen=True, kw_only=True)
class NewSizes:
    """What ``from_pretrained`` shall make of a checkpoint's position embeddings.

    Attributes:
        image_size: pixels along a side of the images.
        vision_positions: how patches are resampled: ``"open_clip"`` (the default) is what open_clip does when it loads
            another image size, ``"transformers"`` what ``interpolate_pos_encoding=True`` does in every call.
        max_position_embeddings: tokens of a text. The tokenizer has a ``model_max_length`` of its own.
        text_positions: how the positions of a text are resampled. ``"open_clip"`` spreads all of them evenly,
            ``"longclip"`` keeps the first 20 and stretches the others. There is no default: the results differ
            everywhere.
    """

    image_size: int | None = None
    vision_positions: str | None = None
    max_position_embeddings: int | None = None
    text_positions: str | None = None

    @staticmethod
    def keywords(config_class: type[AnyConfig]) -> tuple[str, ...]:
        """Those of the attributes that are keywords of a class with such a configuration."""
        if config_class is CLIPConfig:
            return tuple(f.name for f in fields(NewSizes))
        return _OF_TEXT if config_class is CLIPTextConfig else _OF_VISION

    def changed(self, config: AnyConfig) -> AnyConfig:
        """The configuration with these sizes.

        Raises:
            ConfigError: a size that describes no model.
            InputError: a recipe that is unknown, missing, or given without a size.
        """
        _check_recipe(self.vision_positions, VISION_RECIPES, self.image_size, *_OF_VISION)
        _check_recipe(self.text_positions, TEXT_RECIPES, self.max_position_embeddings, *_OF_TEXT)
        vision = {"image_size": self.image_size}
        text = {"max_position_embeddings": self.max_position_embeddings}
        if isinstance(config, CLIPConfig):
            return config.changed({"vision_config": vision, "text_config": text})
        return config.changed(text if isinstance(config, CLIPTextConfig) else vision)

    def matrices(self, config: AnyConfig) -> dict[str, Matrix]:
        """By the name of a table ``[token, hidden]``, the matrix ``[new token, token]`` that resamples it.

        Args:
            config: of the checkpoint, with its own sizes.
        """
        new, found = self.changed(config), {}
        for before, after in zip(_towers(config), _towers(new), strict=True):
            if isinstance(before, CLIPTextConfig) and isinstance(after, CLIPTextConfig):
                lengths = before.max_position_embeddings, after.max_position_embeddings
                if lengths[0] != lengths[1]:
                    found[_TEXT_TABLE] = self._text_recipe(*lengths)(*lengths)
            elif isinstance(before, CLIPVisionConfig) and isinstance(after, CLIPVisionConfig):
                side, new_side = before.patches_per_side, after.patches_per_side
                if side != new_side:
                    patches = VISION_RECIPES[self.vision_positions or "open_clip"](side, new_side, new_side)
                    found[_VISION_TABLES[before.is_resnet]] = _with_class_token(patches)
        return found

    def applied(self, loaded: LoadedCheckpoint) -> LoadedCheckpoint:
        """The checkpoint with the new sizes; tables are resampled when they are read.

        Raises:
            ConfigError: a size that describes no model.
            InputError: a recipe that is unknown, missing, or given without a size.
        """
        weights = {name: loaded.weights.tensor(name) for name in loaded.weights}
        for name, matrix in self.matrices(loaded.config).items():
            if name in weights:  # a model of one tower can have the configuration of both
                weights[name] = _resampled_tensor(weights[name], matrix)
        return replace(loaded, config=self.changed(loaded.config), weights=LazyWeights(weights))

    def _text_recipe(self, length: int, new_length: int) -> Callable[[int, int], Matrix]:
        if self.text_positions is None:
            raise InputError(
                f"max_position_embeddings={new_length}: the checkpoint has {length} positions. Say how they become "
                f"{new_length}: text_positions='open_clip' spreads all of them evenly, 'longclip' keeps the first 20 "
                "and stretches the others."
            )
        return TEXT_RECIPES[self.text_positions]


def resampled(table: NDArray[Any], matrix: Matrix) -> NDArray[Any]:
    """Rows of a table ``[token, hidden]``, resampled in float64 and rounded once to its dtype."""
    return (matrix @ table.astype(np.float64)).astype(table.dtype)


def _resampled_tensor(tensor: Tensor, matrix: Matrix) -> Tensor:
    shape = (len(matrix), *tensor.shape[1:])
    return Tensor(tensor.dtype, shape, lambda: resampled(tensor.read(), matrix), fresh=True)


def _with_class_token(patches: Matrix) -> Matrix:
    """The first row of the table, of the class token or of the mean, stays as it is."""
    matrix = np.zeros((len(patches) + 1, patches.shape[1] + 1))
    matrix[0, 0] = 1
    matrix[1:, 1:] = patches
    return matrix


def _towers(config: AnyConfig) -> tuple[CLIPTextConfig | CLIPVisionConfig, ...]:
    return (config.text_config, config.vision_config) if isinstance(config, CLIPConfig) else (config,)


def _check_recipe(recipe: str | None, known: Collection[str], size: int | None, size_name: str, name: str) -> None:
    if recipe is None:
        return
    if recipe not in known:
        raise InputError(f"{name}: expected one of {', '.join(map(repr, known))}, got {recipe!r:.60}.")
    if size is None:
        raise InputError(f"{name}={recipe!r}: expected {size_name}= beside it, the size that the positions shall fit.")
