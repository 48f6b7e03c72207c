"""Every mistake of the catalogue gets the error that the catalogue says, in every backend."""

import pytest

from clip_core.backends import BACKENDS
from conformance_tests.bad_input.__main__ import CORE, PAGE, page, problems, run_scope
from conformance_tests.bad_input.case import cases

TITLES = [case.title for needs_model in (False, True) for case in cases(needs_model)]


@pytest.mark.parametrize("scope", [CORE, *BACKENDS])
def test_every_mistake_gets_its_error(scope: str) -> None:
    found = run_scope(scope)
    assert [outcome["title"] for outcome in found] == [case.title for case in cases(needs_model=scope != CORE)]
    assert problems(scope, found) == []


def test_the_page_has_every_mistake_once_or_once_per_backend() -> None:
    assert len(set(TITLES)) == len(TITLES)
    text = PAGE.read_text(encoding="utf-8")
    assert text.startswith(f"# Bad input and what it gets\n\n{len(TITLES)} mistakes")
    assert [title for title in TITLES if f"\n| {title} | " not in text] == []


def test_a_message_that_backends_share_stands_once() -> None:
    shared = {"title": "a", "error": "E", "message": "x | y\nz"}
    other = {"title": "a", "error": "E", "message": "other"}
    rows = page({"torch": [shared], "tf": [other], "flax": [shared]}).splitlines()[-2:]
    assert rows == ["| a | torch, flax | `E` | x \\| y<br>z |", "| a | tf | `E` | other |"]


def test_a_wrong_error_is_a_problem() -> None:
    case = next(iter(cases(needs_model=False)))
    right = {"title": case.title, "error": case.error.__name__, "message": " ".join(case.parts)}
    assert problems(CORE, [right]) == []
    assert len(problems(CORE, [{**right, "error": "ValueError"}])) == 1
    assert len(problems(CORE, [{**right, "message": "no"}])) == 1
