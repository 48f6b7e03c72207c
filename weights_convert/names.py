"""Where a format keeps the weights of the shared table: under which names, in which order of axes, fused with which."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.schemes import Scheme
from clip_core.weights import WeightSpec, weight_specs

LAYER = "{i}"
"""Stands for the number of a layer in names."""
LAYER_SUFFIX = "{_i}"
"""Stands for the suffix that Keras gives to the layers of a list: nothing for the first, then ``_1``, ``_2``."""
LAYER_IN_PATH = re.compile(r"(?:(?<=\.layers\.)|(?<=\.layer[1-9]\.))[0-9]+(?=\.)")
"""The number of a block: of a transformer, or of a stage of a ResNet."""


@dataclass(frozen=True)
class Place:
    """Where a format keeps a weight.

    Attributes:
        name: with `LAYER` or `LAYER_SUFFIX` for the number of the layer.
        axes: the order of axes there; ``None`` for that of the table. ``out/head out/head_dim`` are two axes that the
            table has as one, and an axis that the table does not have is of size one.
        part: which of how many parts of a fused weight this is, along its first axis.
    """

    name: str
    axes: str | None = None
    part: tuple[int, int] | None = None


def _templates(vision: CLIPVisionConfig) -> tuple[WeightSpec, ...]:
    specs = weight_specs(CLIPConfig(text_config=CLIPTextConfig(num_hidden_layers=1), vision_config=vision))
    return tuple(replace(spec, path=LAYER_IN_PATH.sub(LAYER, spec.path)) for spec in specs)


TEMPLATES = _templates(CLIPVisionConfig(num_hidden_layers=1))
"""The weights of every model, those of the layers once, with `LAYER` for the number."""
RESNET_TEMPLATES = _templates(CLIPVisionConfig(stage_depths=(1, 1, 1, 1), hidden_size=64, num_attention_heads=1))
"""The same of every model with a ResNet as vision tower."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """How a format names weights and lays out their axes.

    Attributes:
        scheme: leaf and order of axes, by kind of weight.
        separator: between modules, and before the leaf.
        modules: parts of the table's paths to the format's own, replaced in this order.
        leaf: what the name ends with; ``{}`` stands for the scheme's leaf.
        axes: orders of axes that hold for some modules only, by the last name of the path and the kind.
        places: what lies elsewhere, by name in the table.
        templates: the weights of the models that it names.
    """

    scheme: Scheme
    separator: str = "."
    modules: Mapping[str, str] = field(default_factory=dict)
    leaf: str = "{}"
    axes: Mapping[tuple[str, str], str] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)
    templates: tuple[WeightSpec, ...] = TEMPLATES

    def of_resnets(self, modules: Mapping[str, str] | None = None, places: Mapping[str, Place] | None = None) -> Names:
        """The same names for models with a ResNet as vision tower.

        Args:
            modules: besides its own, replaced before these, or instead of one of the same name.
            places: besides its own, but for those of its vision tower.
        """
        kept = {name: place for name, place in self.places.items() if not name.startswith("vis")}
        first = modules or {}
        rest = {shared: theirs for shared, theirs in self.modules.items() if shared not in first}
        return replace(
            self,
            modules={**first, **rest},
            places={**kept, **(places or {})},
            templates=RESNET_TEMPLATES,
        )

    def place(self, template: WeightSpec) -> Place:
        """Where a weight lies; paths have `LAYER` for the number of a layer."""
        if template.name in self.places:
            return self.places[template.name]
        path, leaf, axes = self.scheme.place(template)
        module = path.replace(".", self.separator)
        for shared, theirs in self.modules.items():
            module = module.replace(shared.replace(".", self.separator), theirs)
        name = f"{module}{self.separator}{self.leaf.format(leaf)}" if module else self.leaf.format(leaf)
        return Place(name, self.axes.get((path.rpartition(".")[2], template.kind), axes))

    @cached_property
    def signatures(self) -> tuple[frozenset[str], ...]:
        """Of each tower, what the norms and the first block are called; who has none of these, has not the tower.

        Of a ResNet, the first block of each stage: a transformer has a first convolution, too.
        """
        return tuple(
            frozenset(
                numbered(self.place(template).name, 0)
                for template in self.templates
                if template.path.startswith(tower)
                and ("embeddings" not in template.path if is_transformer else ".layer" in template.path)
            )
            for tower, is_transformer in (("text_model.", True), ("vision_model.", self.templates is TEMPLATES))
        )


def numbered(name: str, number: int) -> str:
    """A name with the number of the layer in its place."""
    return name.replace(LAYER, str(number)).replace(LAYER_SUFFIX, f"_{number}" if number else "")
