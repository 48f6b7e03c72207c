"""Both sides of the page's blocks print the same, where the library is among those of development.

transformers 5 and open_clip are clients: ``python -m conformance_tests.clients run transformers-5`` and ``open_clip``.
"""

import pytest

from conformance_tests.clients.migration import check_blocks, program, sections

HERE = ("transformers 4, PyTorch", "transformers 4, TensorFlow", "transformers 4, Flax")
ELSEWHERE = ("transformers 5", "open_clip", "keras-hub")


def test_every_section_is_run_somewhere():
    assert set(sections()) == {*HERE, *ELSEWHERE}


@pytest.mark.parametrize("title", [title for title in HERE if sections()[title]])
def test_both_sides_print_the_same(title, tmp_path):
    print(check_blocks(sections()[title], tmp_path))


def test_a_block_is_two_programs():
    block = " a = 1\n-print(a)\n+print(a + 0)\n\n x\n"
    assert program(block, "-") == "a = 1\nprint(a)\nx\n"
    assert program(block, "+") == "a = 1\nprint(a + 0)\nx\n"


def test_sides_that_differ_or_print_nothing_fail(tmp_path):
    with pytest.raises(AssertionError, match="before:\n1"):
        check_blocks(["-print(1)\n+print(2)\n"], tmp_path)
    with pytest.raises(AssertionError, match="nothing is printed"):
        check_blocks([" print(1)\n", " a = 1\n"], tmp_path)
