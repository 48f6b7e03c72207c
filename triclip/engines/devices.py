"""Names of devices, one spelling for all frameworks."""

from __future__ import annotations

from collections.abc import Iterable

from clip_core.errors import InputError


def choose_device(name: str | None, there: Iterable[str]) -> str:
    """The device of that name, or without one the first that is there.

    Args:
        name: ``"cpu"``, ``"gpu"`` or ``"cuda"``, ``"mps"``, ``"tpu"``, with a number or without (``"cuda:1"``), or as
            TensorFlow writes it (``"/GPU:1"``).
        there: what the framework has, in the spelling ``"gpu:1"``.

    Raises:
        InputError: the framework has no such device.
    """
    known = list(there)
    if name is None:
        return known[0]
    kind, _, number = name.lower().removeprefix("/").removeprefix("device:").partition(":")
    wanted = f"{'gpu' if kind == 'cuda' else kind}:{number or 0}"
    if wanted not in known:
        raise InputError(f"device: expected one that the framework finds here, {', '.join(known)}, got {name!r}.")
    return wanted
