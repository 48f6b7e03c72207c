"""How frameworks and file formats spell the weights of the table: per kind, the leaf's name and the order of its axes.

The table itself, `clip_core.weights`, says which weights there are; a scheme says what a framework calls the parameter
of a linear layer and which of its axes comes first. Every such choice, the foreign formats' too, stands here, and
permutations follow from the names of the axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clip_core.weights import AXES, WeightSpec

CHANNELS_LAST = {**AXES, "linear": "in out", "conv": "height width in out"}
"""Axis orders of frameworks that keep the output axis last, by kind."""


@dataclass(frozen=True)
class Scheme:
    """Names and layouts of the leaves.

    Attributes:
        leaves: the leaf's name in its module, by kind; a kind that is absent (``table``, ``vector``, ``scalar``) is a
            parameter of the module above, under the last part of its own path.
        axes: the order of the axes, by kind.
    """

    leaves: Mapping[str, str]
    axes: Mapping[str, str]

    def place(self, spec: WeightSpec) -> tuple[str, str, str]:
        """Path of the module that owns a weight, the leaf's name in it, and the order of its axes."""
        if spec.kind in self.leaves:
            return spec.path, self.leaves[spec.kind], self.axes[spec.kind]
        owner, _, leaf = spec.path.rpartition(".")
        return owner, leaf, self.axes[spec.kind]


def _named(
    linear: str, embedding: str, norm: tuple[str, str], bias: str, statistics: tuple[str, str], counter: str
) -> dict[str, str]:
    return {
        "linear": linear,
        "linear_bias": bias,
        "conv": linear,
        "embedding": embedding,
        "norm_scale": norm[0],
        "norm_bias": norm[1],
        "norm_mean": statistics[0],
        "norm_variance": statistics[1],
        "counter": counter,
    }


_COUNTER = "num_batches_tracked"  # PyTorch's; the layers of the others have it from us

TORCH = Scheme(_named("weight", "weight", ("weight", "bias"), "bias", ("running_mean", "running_var"), _COUNTER), AXES)
"""Attributes of PyTorch modules; also the names and layouts of Hugging Face's files."""

KERAS = Scheme(
    _named("kernel", "embeddings", ("gamma", "beta"), "bias", ("moving_mean", "moving_variance"), _COUNTER),
    CHANNELS_LAST,
)
"""Attributes of Keras layers; also the names in transformers' TensorFlow files."""

KERAS_FILES = Scheme(_named("0", "0", ("0", "1"), "1", ("2", "3"), "4"), CHANNELS_LAST)
"""Keras' HDF5 files, which number the variables of a layer, those that are trained first."""

FLAX = Scheme(_named("kernel", "embedding", ("scale", "bias"), "bias", ("mean", "var"), _COUNTER), CHANNELS_LAST)
"""Attributes of NNX modules and leaves of Linen's trees; also the names in transformers' Flax files."""

KERAS_HUB_ATTENTION = {
    **{(projection, "linear"): "in out/head out/head_dim" for projection in ("q_proj", "k_proj", "v_proj")},
    **{(projection, "linear_bias"): "out/head out/head_dim" for projection in ("q_proj", "k_proj", "v_proj")},
    ("out_proj", "linear"): "in/head in/head_dim out",
}
"""Where Keras Hub's attention has an axis for the heads (else `KERAS_FILES`), by module and kind."""

OPENAI_PROJECTION = "in out"
"""Of OpenAI's projections to the shared space, which are matrices and no linear layers (else `TORCH`)."""

HF_TF_SCALAR = "one"
"""Of the temperature in transformers' TensorFlow files, which has an axis of size one (else `KERAS`)."""
