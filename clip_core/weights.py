"""THE weight table: which weights a configuration has, under which name, of which kind and shape.

Names are the keys of a Hugging Face v4 ``CLIPModel`` state dict, so every such checkpoint is a native one. How
frameworks and formats spell leaves and order axes is said in `clip_core.schemes`; permutations are derived from the
axis names here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import WeightMismatchError
from clip_core.resnet import stage_blocks, stem_channels

AXES = {
    "linear": "out in",
    "linear_bias": "out",
    "conv": "out in height width",
    "embedding": "row hidden",
    "norm_scale": "hidden",
    "norm_bias": "hidden",
    "norm_mean": "hidden",
    "norm_variance": "hidden",
    "table": "row hidden",
    "vector": "hidden",
    "scalar": "",
    "counter": "",
}
"""Axis names of each kind of weight, in the order in which checkpoints store them."""

STATISTICS = ("norm_mean", "norm_variance", "counter")
"""Kinds that no gradient changes: what batch normalisation keeps of the batches that it was trained with, and how many
there were."""

IGNORED_NAMES = {
    "text_model.embeddings.position_ids": "an arange that transformers before 4.31 stored as a buffer",
    "vision_model.embeddings.position_ids": "an arange that transformers before 4.31 stored as a buffer",
}

_LEAVES = {
    "linear": "weight",
    "linear_bias": "bias",
    "conv": "weight",
    "embedding": "weight",
    "norm_scale": "weight",
    "norm_bias": "bias",
    "norm_mean": "running_mean",
    "norm_variance": "running_var",
    "counter": "num_batches_tracked",
}
_PARTS = {"logit_scale", "text_model", "vision_model", "text_projection", "visual_projection"}
_CLEAN, _STORED = "vision_model.pre_layernorm.", "vision_model.pre_layrnorm."
# upstream's misspelling, part of every checkpoint; files written from modules with the clean one are read, too

Shape = tuple[int, ...]
Layout: TypeAlias = Mapping[str, tuple[np.dtype[Any], Shape]]
"""Dtype and shape of weights by their names."""
DTYPES = ("float64", "float32", "float16", "bfloat16")
"""The dtypes that weights can have, but for counters."""
COUNTER_DTYPE = "int64"


@dataclass(frozen=True)
class WeightSpec:
    """One weight.

    Attributes:
        path: attribute path in every backend's model, of the module that owns the weight (kinds ``table``, ``vector``
            and ``scalar``: of the weight itself).
        kind: a key of `AXES`.
        shape: sizes of the axes, in the order of `AXES`.
    """

    path: str
    kind: str
    shape: Shape

    @property
    def name(self) -> str:
        """The name in checkpoints."""
        return f"{self.path}.{_LEAVES[self.kind]}" if self.kind in _LEAVES else self.path

    @property
    def is_parameter(self) -> bool:
        """Whether a gradient changes it; parameters are what published parameter counts count."""
        return self.kind not in STATISTICS

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes that it can have."""
        return (COUNTER_DTYPE, "int32") if self.kind == "counter" else DTYPES

    def dtype_in(self, dtype: str) -> str:
        """The dtype that it has in a model of a dtype, and after a conversion to it.

        Counters stay integers. Running statistics stay float32 in half precision: a variance can be beyond the range of
        float16, and a tenth of a new one is lost in the digits of bfloat16.
        """
        if self.kind == "counter":
            return COUNTER_DTYPE
        return "float32" if self.kind in STATISTICS and dtype in ("float16", "bfloat16") else dtype


def permutation(stored_axes: str, wanted_axes: str) -> tuple[int, ...]:
    """The argument of a transpose from one order of axis names to another: ``("out in", "in out") -> (1, 0)``."""
    stored = stored_axes.split()
    return tuple(stored.index(axis) for axis in wanted_axes.split())


def weight_specs(
    config: CLIPConfig | CLIPTextConfig | CLIPVisionConfig, *, projection: bool = False, classifier: bool = False
) -> tuple[WeightSpec, ...]:
    """Every weight of the model that ``config`` describes, in order.

    Args:
        config: of the full model, or of one tower.
        projection: whether a tower has its projection to the shared space (the full model always has both).
        classifier: whether it is the image classifier that ``config``, of a full model, describes.
    """
    if classifier:
        assert isinstance(config, CLIPConfig)
        head = _linear("classifier", config.num_labels, config.vision_config.hidden_size) if config.num_labels else ()
        return (*_vision_tower(config.vision_config), *head)
    if isinstance(config, CLIPConfig):
        return (
            WeightSpec("logit_scale", "scalar", ()),
            *_text_tower(config.text_config),
            *_vision_tower(config.vision_config),
            *_projection(config.vision_config, config.projection_dim),
            *_projection(config.text_config, config.projection_dim),
        )
    tower = _text_tower(config) if isinstance(config, CLIPTextConfig) else _vision_tower(config)
    return (*tower, *(_projection(config, config.projection_dim) if projection else ()))


def _projection(config: CLIPTextConfig | CLIPVisionConfig, embed: int) -> Iterator[WeightSpec]:
    name = "text_projection" if isinstance(config, CLIPTextConfig) else "visual_projection"
    yield WeightSpec(name, "linear", (embed, config.hidden_size))
    if isinstance(config, CLIPVisionConfig) and config.is_resnet:  # it is the output layer of the attention pooling
        yield WeightSpec(name, "linear_bias", (embed,))


def _text_tower(config: CLIPTextConfig) -> Iterator[WeightSpec]:
    embeddings, hidden = "text_model.embeddings", config.hidden_size
    yield WeightSpec(f"{embeddings}.token_embedding", "embedding", (config.vocab_size, hidden))
    yield WeightSpec(f"{embeddings}.position_embedding", "embedding", (config.max_position_embeddings, hidden))
    yield from _encoder("text_model", config)
    yield from _norm("text_model.final_layer_norm", hidden)


def _vision_tower(config: CLIPVisionConfig) -> Iterator[WeightSpec]:
    if config.stage_depths is not None:
        yield from _resnet(config, config.stage_depths)
        return
    embeddings, hidden, patch = "vision_model.embeddings", config.hidden_size, config.patch_size
    tokens = config.patches_per_side**2 + 1
    yield WeightSpec(f"{embeddings}.class_embedding", "vector", (hidden,))
    yield WeightSpec(f"{embeddings}.patch_embedding", "conv", (hidden, config.num_channels, patch, patch))
    yield WeightSpec(f"{embeddings}.position_embedding", "embedding", (tokens, hidden))
    yield from _norm("vision_model.pre_layrnorm", hidden)
    yield from _encoder("vision_model", config)
    yield from _norm("vision_model.post_layernorm", hidden)


def _resnet(config: CLIPVisionConfig, depths: Iterable[int]) -> Iterator[WeightSpec]:
    """OpenAI's names, with ``vision_model`` for ``visual``."""
    hidden, pooling = config.hidden_size, "vision_model.attnpool"
    in_ = config.num_channels
    for number, out in enumerate(stem_channels(hidden), 1):
        yield from _convolution("vision_model", f"{number}", out, in_, 3)
        in_ = out
    for number, blocks in enumerate(stage_blocks(tuple(depths), hidden), 1):
        for index, block in enumerate(blocks):
            path = f"vision_model.layer{number}.{index}"
            yield from _convolution(path, "1", block.channels, block.in_channels, 1)
            yield from _convolution(path, "2", block.channels, block.channels, 3)
            yield from _convolution(path, "3", block.out_channels, block.channels, 1)
            if block.has_shortcut:
                kernel = (block.out_channels, block.in_channels, 1, 1)
                yield WeightSpec(f"{path}.downsample.0", "conv", kernel)
                yield from _batch_norm(f"{path}.downsample.1", block.out_channels)
    yield WeightSpec(f"{pooling}.positional_embedding", "table", (config.patches_per_side**2 + 1, hidden))
    for projection in ("q_proj", "k_proj", "v_proj"):
        yield from _linear(f"{pooling}.{projection}", hidden, hidden)


def _convolution(path: str, number: str, out: int, in_: int, size: int) -> Iterator[WeightSpec]:
    """A convolution without bias and its batch normalisation."""
    yield WeightSpec(f"{path}.conv{number}", "conv", (out, in_, size, size))
    yield from _batch_norm(f"{path}.bn{number}", out)


def _batch_norm(path: str, hidden: int) -> Iterator[WeightSpec]:
    yield from _norm(path, hidden)
    yield WeightSpec(path, "norm_mean", (hidden,))
    yield WeightSpec(path, "norm_variance", (hidden,))
    yield WeightSpec(path, "counter", ())


def _encoder(tower: str, config: CLIPTextConfig | CLIPVisionConfig) -> Iterator[WeightSpec]:
    hidden, wide = config.hidden_size, config.intermediate_size
    for index in range(config.num_hidden_layers):
        layer = f"{tower}.encoder.layers.{index}"
        yield from _norm(f"{layer}.layer_norm1", hidden)
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _linear(f"{layer}.self_attn.{projection}", hidden, hidden)
        yield from _norm(f"{layer}.layer_norm2", hidden)
        yield from _linear(f"{layer}.mlp.fc1", wide, hidden)
        yield from _linear(f"{layer}.mlp.fc2", hidden, wide)


def _linear(path: str, out: int, in_: int) -> Iterator[WeightSpec]:
    yield WeightSpec(path, "linear", (out, in_))
    yield WeightSpec(path, "linear_bias", (out,))


def _norm(path: str, hidden: int) -> Iterator[WeightSpec]:
    yield WeightSpec(path, "norm_scale", (hidden,))
    yield WeightSpec(path, "norm_bias", (hidden,))


def match_weights(specs: tuple[WeightSpec, ...], stored: Layout, source: str) -> dict[str, str]:
    """Pairs every wanted weight with the stored one; total and exact, both ways.

    A tower takes its own part of a full checkpoint, and reads a checkpoint of the tower alone with or without the
    tower's prefix (transformers 5 saves it without). ``logit_scale`` may be stored as ``(1,)``, as TensorFlow did, and
    the LayerNorm ``pre_layrnorm`` under its clean spelling.

    Args:
        specs: the weights that the model has.
        stored: dtype and shape of each weight of the checkpoint.
        source: the checkpoint, for the message.

    Returns:
        From the name of each spec to the name under which the checkpoint stores it.

    Raises:
        WeightMismatchError: missing, unexpected or misshapen weights, or of a dtype that weights cannot have, all in
            one list.
    """
    prefix = _absent_prefix(specs, stored)
    bare = {spec.path.split(".")[1] for spec in specs if "." in spec.path} | {_CLEAN.split(".")[1]}
    parts = {spec.path.split(".")[0] for spec in specs}
    unwanted = _PARTS - parts
    if unwanted:  # for a part of a model; a whole one with a classifier is not the model that it was
        unwanted |= {"classifier"} - parts
    found = {
        f"{prefix}{name}" if prefix and name.split(".")[0] in bare else name: name
        for name in stored
        if name not in IGNORED_NAMES
    }
    for name in [name for name in found if name.startswith(_CLEAN)]:
        if name.replace(_CLEAN, _STORED) not in found:  # of both spellings, one would be lost
            found[name.replace(_CLEAN, _STORED)] = found.pop(name)
    wanted = {spec.name: spec for spec in specs}
    problems = [f"- {name} {list(spec.shape)}: missing" for name, spec in wanted.items() if name not in found]
    for name, stored_name in found.items():
        dtype, shape = stored[stored_name]
        shown = stored_name if stored_name.isprintable() else repr(stored_name)
        if name not in wanted:
            if name.split(".")[0] not in unwanted:
                problems.append(f"+ {shown[:200]} {list(shape)}: unexpected")
        elif shape != wanted[name].shape and not (wanted[name].kind == "scalar" and shape == (1,)):
            problems.append(f"- {name} {list(wanted[name].shape)}: the configuration's shape")
            problems.append(f"+ {shown} {list(shape)}: the shape that is there")
        elif dtype.name not in wanted[name].dtypes:
            expected = "counters are" if wanted[name].kind == "counter" else "weights are"
            kinds = ", ".join(wanted[name].dtypes)
            problems.append(f"+ {shown} {list(shape)}: {dtype.name}; {expected} {kinds}, not quantised")
    if problems:
        what = f"{source}: the weights are not those of the configuration"
        raise WeightMismatchError(mismatch_message(problems, what, _advice(wanted, found, problems)))
    return {name: found[name] for name in wanted}


def _advice(wanted: Iterable[str], found: Iterable[str], problems: Iterable[str]) -> str:
    """What to do about weights that are not the wanted ones."""
    ends = tuple(f".{name}" for name in wanted)
    if set(wanted) - set(found) == {"classifier.weight", "classifier.bias"}:
        return "A CLIP without a classifier gets a new one, to be trained, where its labels are said: num_labels=10."
    if all(problem[2:].startswith("classifier.") for problem in problems):
        return "It has other labels. For a new classifier pass state_dict= without classifier.weight, classifier.bias."
    if set(wanted).isdisjoint(found) and any(name.endswith(ends) for name in found):
        return "They are wrapped in something else: `triclip convert` takes them out."
    if all("position" in problem for problem in problems):
        return (
            "Use the config.json that belongs to these weights. To resample their positions, pass image_size= or "
            "max_position_embeddings= to from_pretrained."
        )
    return "Use the config.json that belongs to these weights."


def _absent_prefix(specs: tuple[WeightSpec, ...], stored: Iterable[str]) -> str:
    """The prefix of the only tower that is wanted, where the checkpoint was saved without it; otherwise nothing."""
    towers = {spec.path.split(".")[0] for spec in specs} & {"text_model", "vision_model"}
    if len(towers) != 1 or any(name.startswith(("text_model.", "vision_model.")) for name in stored):
        return ""
    return f"{towers.pop()}."


def mismatch_message(problems: list[str], what: str, advice: str) -> str:
    """The message of a `WeightMismatchError`: what was compared, a list of ``-`` and ``+`` lines, what to do."""
    shown = problems[:40]
    more = [f"... and {len(problems) - len(shown)} more"] if len(problems) > len(shown) else []
    lines = "\n  ".join([*shown, *more])
    return f"{what} (- expected, + found):\n  {lines}\n{advice}"
