"""What the models return: one set of output classes for every backend.

An output is a named tuple of the fields that are there. A documented field that was not asked for (``loss``,
``hidden_states``, ``attentions``) is no element of the tuple and reads as ``None``, so ``out[0]`` is the first field
that is there, as in transformers. Named tuples are pytrees of every framework without registration: the outputs pass
through ``torch.compile``, ``torch.export``, ``tf.function``, Keras functional models, ``jax.jit`` and pickle. (A plain
dataclass is refused by ``jax.jit``; a tuple that holds ``None`` is refused by Keras' symbolic calls.)

The set of optional fields is small, so every variant is made here, at import: no class is created while a framework
traces a model, and pickle finds each by name.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator
from itertools import combinations
from typing import Any, ClassVar


class ModelOutput:
    """Base of all outputs: access by field name, by attribute and by position among the fields that are there."""

    FIELDS: ClassVar[tuple[str, ...]] = ()
    OPTIONAL: ClassVar[tuple[str, ...]] = ()
    _fields: ClassVar[tuple[str, ...]] = ()
    _kind: ClassVar[str] = ""
    _variants: ClassVar[dict[tuple[str, ...], type]] = {}

    __slots__ = ()

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Any:
        """The output that holds those of ``fields`` that are not ``None``, in documented order."""
        present = tuple([name for name in cls.FIELDS if fields[name] is not None])
        return cls._variants[present](*[fields[name] for name in present])

    def get(self, name: str, default: Any = None) -> Any:
        """The field of that name, or the default if it is not there."""
        return self[name] if name in self._fields else default

    def keys(self) -> tuple[str, ...]:
        """Names of the fields that are there."""
        return self._fields

    def values(self) -> tuple[Any, ...]:
        """The fields that are there."""
        return tuple(self[name] for name in self._fields)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Pairs of name and value of the fields that are there."""
        return zip(self._fields, self.values(), strict=True)

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields that are there as a plain tuple; outputs inside become plain tuples, too."""
        return tuple(value.to_tuple() if isinstance(value, ModelOutput) else value for value in self.values())

    def __getattr__(self, name: str) -> Any:
        if name in type(self).FIELDS:
            return None
        raise AttributeError(f"{type(self).__name__} has no field {name!r}; its fields are {', '.join(self.FIELDS)}")

    def __contains__(self, key: object) -> bool:
        """Whether a field of that name is there; of anything else than a name, whether it is one of the values."""
        return key in self._fields if isinstance(key, str) else key in self.values()

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self._fields:
                raise KeyError(f"{key!r} is not in this output; it holds {', '.join(self._fields)}")
            return getattr(self, key)
        return tuple.__getitem__(self, key)  # type: ignore[call-overload]  # every variant is a tuple

    def __reduce__(self) -> Any:
        return _rebuild, (self._kind, self._fields, tuple(self.values()))


def _new(cls: Any, *values: Any, **named: Any) -> Any:
    """One value per field, by position or by name; or, as generic code rebuilds lists and tuples, one iterable of them.

    Of a class with one field one value is that field's, as frameworks rebuild trees with any leaves, unless it is an
    iterator, which no leaf is.

    Raises:
        TypeError: another number of values, or other names.
    """
    if len(values) == 1 and not named and (len(cls._fields) > 1 or isinstance(values[0], Iterator)):
        values = tuple(values[0])
    rest = cls._fields[len(values) :]
    if len(values) > len(cls._fields) or set(named) != set(rest):
        raise TypeError(f"{cls.__name__}: expected values for {', '.join(cls._fields)}, got {len(values)} {[*named]}.")
    return tuple.__new__(cls, (*values, *(named[name] for name in rest)))


def _rebuild(kind: str, present: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    return globals()[kind]._variants[present](*values)


def _with_variants(cls: type[ModelOutput]) -> type[ModelOutput]:
    """Class decorator: makes one named tuple type per subset of the optional fields."""
    cls._variants = {}
    for count in range(len(cls.OPTIONAL) + 1):
        for chosen in combinations(cls.OPTIONAL, count):
            present = tuple(name for name in cls.FIELDS if name not in cls.OPTIONAL or name in chosen)
            name = "And".join([cls.__name__, *(option.title().replace("_", "") for option in chosen)])
            fields = namedtuple(name, present)  # type: ignore[misc]  # known only here
            own = {"__slots__": (), "_kind": cls.__name__, "__module__": __name__, "__new__": _new}
            variant = type(name, (cls, fields), own)
            variant._fields = present  # type: ignore[attr-defined]
            cls._variants[present] = variant
    return cls


@_with_variants
class BaseModelOutputWithPooling(ModelOutput):
    """Output of a tower.

    Fields:
        last_hidden_state: ``[batch, token, hidden]``; text: after the final LayerNorm; vision: before the post one.
        pooler_output: ``[batch, hidden]``; text: at the end-of-text token; vision: class token, post LayerNorm.
        hidden_states: one ``[batch, token, hidden]`` per layer and one before the first (``output_hidden_states``).
        attentions: one ``[batch, head, token, token]`` per layer, after softmax (``output_attentions``).

    Of a ResNet tower (decision 27) ``last_hidden_state`` is the last stage, row by row; ``pooler_output`` what its
    attention pooled, before the projection; ``hidden_states`` are ``[batch, channel, row, column]``, of the stem and of
    every stage; ``attentions`` is one ``[batch, head, 1, token]``, of the mean token, which is also the first of those
    that it attends to.
    """

    FIELDS = ("last_hidden_state", "pooler_output", "hidden_states", "attentions")
    OPTIONAL = ("hidden_states", "attentions")
    __slots__ = ()


class _ProjectedOutput(ModelOutput):
    """Output of a tower with projection: its embeddings in the place of the pooled output."""

    OPTIONAL = ("hidden_states", "attentions")
    __slots__ = ()

    @classmethod
    def from_tower(cls, embeds: Any, tower: Any) -> Any:
        """The output that holds ``embeds`` and what the tower's `BaseModelOutputWithPooling` has besides."""
        return cls.of({**{name: getattr(tower, name) for name in cls.FIELDS[1:]}, cls.FIELDS[0]: embeds})


@_with_variants
class CLIPTextModelOutput(_ProjectedOutput):
    """Output of a text tower with projection; ``text_embeds`` ``[batch, embed]`` is not normalised."""

    FIELDS = ("text_embeds", "last_hidden_state", "hidden_states", "attentions")
    __slots__ = ()


@_with_variants
class CLIPVisionModelOutput(_ProjectedOutput):
    """Output of a vision tower with projection; ``image_embeds`` ``[batch, embed]`` is not normalised."""

    FIELDS = ("image_embeds", "last_hidden_state", "hidden_states", "attentions")
    __slots__ = ()


@_with_variants
class CLIPOutput(ModelOutput):
    """Output of the full model.

    Fields:
        loss: scalar, the symmetric contrastive loss (``return_loss=True``).
        logits_per_image: ``[image, text]``, cosine similarity times ``exp(logit_scale)``.
        logits_per_text: ``[text, image]``, its transpose.
        text_embeds: ``[text, embed]``, projected and of unit length.
        image_embeds: ``[image, embed]``, projected and of unit length.
        text_model_output: the text tower's `BaseModelOutputWithPooling`.
        vision_model_output: the vision tower's `BaseModelOutputWithPooling`.
    """

    FIELDS = (
        "loss",
        "logits_per_image",
        "logits_per_text",
        "text_embeds",
        "image_embeds",
        "text_model_output",
        "vision_model_output",
    )
    OPTIONAL = ("loss",)
    __slots__ = ()


@_with_variants
class ImageClassifierOutput(ModelOutput):
    """Output of an image classifier.

    Fields:
        loss: scalar (``labels``).
        logits: ``[image, label]``; ``[image, hidden]`` where there are no labels.
        hidden_states: one ``[batch, token, hidden]`` per layer and one before the first (``output_hidden_states``).
        attentions: one ``[batch, head, token, token]`` per layer, after softmax (``output_attentions``).
    """

    FIELDS = ("loss", "logits", "hidden_states", "attentions")
    OPTIONAL = ("loss", "hidden_states", "attentions")
    __slots__ = ()


def all_output_types() -> list[type]:
    """Every named tuple type that a model can return, for frameworks that want them registered."""
    kinds = (
        BaseModelOutputWithPooling,
        CLIPTextModelOutput,
        CLIPVisionModelOutput,
        CLIPOutput,
        ImageClassifierOutput,
    )
    return [variant for kind in kinds for variant in kind._variants.values()]
