"""The search for garbage while a command starts. In processes of their own: what is left out stays left out."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("was_on", [True, False])
def test_collection_is_as_before_and_leaves_out_what_was_made(was_on: bool) -> None:
    program = f"""
import gc
from triclip.garbage import without_collection
gc.enable() if {was_on} else gc.disable()
try:
    with without_collection():
        assert not gc.isenabled()
        made = [[] for _ in range(1000)]
        raise ValueError
except ValueError:
    print(gc.isenabled(), gc.get_freeze_count() > len(made))
"""
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert printed.split() == [str(was_on), str(was_on)]


def test_the_command_imports_no_framework_with_collections_in_between() -> None:
    """And so none of those at the end of the process goes through what the framework is made of."""
    program = """
import gc, sys
from triclip.cli import main
unfrozen = []
gc.callbacks.append(lambda *_: unfrozen.append("onnxruntime" in sys.modules and gc.get_freeze_count() == 0))
main(["classify", "--backend", "onnx", "--label=cat", "--label=dog", sys.argv[1]], standalone_mode=False)
print(any(unfrozen), gc.isenabled(), gc.get_freeze_count() > 0)
"""
    from triclip.tests.encode_samples import SAMPLES

    command = [sys.executable, "-c", program, str(SAMPLES[0])]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed.splitlines()[-1] == "False True True"
