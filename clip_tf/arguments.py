"""What a call is given: arguments by name, one mapping in their place, and calls that subclasses override."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from clip_core.errors import InputTypeError
from clip_tf.layers import plain_errors

TENSORS = ("input_ids", "pixel_values", "attention_mask", "position_ids")
"""The inputs of models. A call of a subclass that begins with another name takes a batch as a whole."""

OWN, REST = inspect.Parameter.KEYWORD_ONLY, (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def named_arguments(
    owner: object, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments for a call, by name where it has names; a mapping in the first place is unpacked if they are its keys.

    Raises:
        InputTypeError: arguments that the call does not have.
    """
    if args and isinstance(args[0], Mapping):
        if next(iter(signature.parameters), None) in TENSORS:
            args, kwargs = args[1:], {**args[0], **kwargs}
        else:
            args = (dict(args[0]), *args[1:])
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        expected = ", ".join(signature.parameters)
        name = type(owner).__name__
        raise InputTypeError(f"{name}: {error}; expected arguments or keys of {expected}.") from None
    if any(parameter.kind in REST for parameter in signature.parameters.values()):
        return bound.args, bound.kwargs
    return (), bound.arguments


def unpacked(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that also takes one mapping of its arguments, as `fit` and subclasses hand it over."""
    signature = inspect.signature(method)
    inner = signature.replace(parameters=list(signature.parameters.values())[1:])  # without self

    @wraps(method)
    def run(self: object, *args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], Mapping):
            with plain_errors():
                args, kwargs = named_arguments(self, inner, args, kwargs)
        return method(self, *args, **kwargs)

    return run


def overriding_signature(call: Callable[..., Any], overridden: Callable[..., Any]) -> inspect.Signature:
    """The signature of a call that hands ``*args`` or ``**kwargs`` on to the one that it overrides, with their names.

    Keras looks there for ``training``, and `fit` for the names of its inputs.
    """
    signature = inspect.signature(call)
    parameters = list(signature.parameters.values())
    own = [parameter for parameter in parameters if parameter.kind not in REST]
    rest = {parameter.kind for parameter in parameters if parameter.kind in REST}
    if inspect.Parameter.VAR_KEYWORD not in rest:
        return signature
    names = {parameter.name for parameter in own}
    added = [parameter for name, parameter in inspect.signature(overridden).parameters.items() if name not in names]
    if len(own) > 1 or len(rest) == 1:  # only names reach the overridden call in their places
        added = [parameter.replace(kind=OWN) for parameter in added if parameter.kind not in REST]
    return signature.replace(parameters=[*sorted([*own, *added], key=lambda parameter: parameter.kind)])
