import subprocess
import sys


def test_frameworks_are_quiet_unless_something_goes_wrong() -> None:
    code = """
import os
from triclip.quiet import quiet_framework
with quiet_framework():
    os.write(2, b"greeting ")
os.write(2, b"after ")
try:
    with quiet_framework():
        os.write(2, b"reason ")
        raise RuntimeError
except RuntimeError:
    os.write(2, b"end")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr == "after reason end"


def test_threads_that_load_at_once_leave_standard_error_where_it_was() -> None:
    code = """
import os, warnings
from triclip.quiet import quiet_framework
filters = list(warnings.filters)
first, second = quiet_framework(), quiet_framework()
first.__enter__()
second.__enter__()
first.__exit__(None, None, None)
os.write(2, b"greeting ")
second.__exit__(None, None, None)
os.write(2, b"after")
assert warnings.filters == filters
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr == "after"
