"""The tree of exceptions is the one that its module draws."""

import re

from clip_core import errors
from clip_core.errors import CLIPError, MissingExtraError


def drawn() -> dict[str, tuple[str, str]]:
    """Each drawn class: its parent in the tree and the built-in class in brackets."""
    above, found = [], {}
    for line in errors.__doc__.splitlines():
        match = re.match(r"^    ([│ ├└─]*)(\w+Error)(?: +\((\w+)\))?(?:  |$)", line)
        if match:
            depth = len(match[1]) // 4
            above[depth:] = [match[2]]
            found[match[2]] = (above[depth - 1] if depth else "Exception", match[3] or "")
    return found


def test_the_drawing_is_the_code():
    classes = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    assert {
        name: (value.__bases__[0].__name__, value.__bases__[1].__name__ if len(value.__bases__) > 1 else "")
        for name, value in classes.items()
    } == drawn()
    assert all(issubclass(value, CLIPError) for value in classes.values())


def test_a_missing_extra_says_how_to_install_it():
    message = str(MissingExtraError("jax", "flax", "the backend flax"))
    assert message == "the backend flax needs 'jax', which is not installed. Run: pip install 'triclip[flax]'"
