"""What importing the core brings along: no framework, whichever of its modules is imported."""

import subprocess
import sys

IMPORT_EVERYTHING = """
import pkgutil, sys
from importlib import import_module

import clip_core

names = [found.name for found in pkgutil.walk_packages(clip_core.__path__, "clip_core.") if ".tests" not in found.name]
for name in names:
    import_module(name)
for name in clip_core.__all__:
    getattr(clip_core, name)
print(len(names))
print(*sorted({"torch", "tensorflow", "keras", "jax", "flax", "transformers"} & set(sys.modules)))
"""


def test_no_module_of_the_core_imports_a_framework():
    done = subprocess.run([sys.executable, "-c", IMPORT_EVERYTHING], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    count, frameworks = done.stdout.splitlines()
    assert int(count) >= 30
    assert frameworks == ""
