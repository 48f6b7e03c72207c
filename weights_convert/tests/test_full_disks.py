"""Conversions onto disks that become full: an error, nothing torn, nothing left behind.

A limit on the size of files stands for the disk: what goes beyond it fails with the same kind of error. It is set in a
process of its own, since a failure in C code may end it.
"""

import errno
import json
import subprocess
import sys
import tempfile

import pytest

from clip_core.errors import CheckpointError
from weights_convert.scratch import scratch_directory
from weights_convert.tests import checkpoints

SCRIPT = """
import json, resource, sys
from pathlib import Path
from clip_core.errors import CheckpointError
from weights_convert import convert
from weights_convert.tests import checkpoints

source, directory, to, limits = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
path = checkpoints.destination(directory, to)
for limit in limits:
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        convert(source, path, to=to)
        outcome = "written"
    except CheckpointError as error:
        outcome = str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(json.dumps([outcome, [entry.name for entry in directory.iterdir()]]))
"""


@pytest.mark.parametrize("to", checkpoints.FORMATS)
def test_a_full_disk_is_an_error_wherever_it_becomes_full(source, in_format, tmp_path, to):
    files = (
        [in_format[to]] if in_format[to].is_file() else [file for file in in_format[to].rglob("*") if file.is_file()]
    )
    size = max(file.stat().st_size for file in files)
    limits = [0, 100, size // 3, size - 60_000, size - 1500, size - 1]
    command = [sys.executable, "-c", SCRIPT, source, tmp_path, to, json.dumps(limits)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-1000:]
    outcomes = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(outcomes) == len(limits)
    for message, left in outcomes:
        assert message.endswith("cannot be written: [Errno 27] File too large"), message
        assert not left


def test_room_for_temporary_files_is_asked_for(monkeypatch):
    def is_full(**options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", is_full)
    message = "Temporary files cannot be written: No space left on device.*set TMPDIR"
    with pytest.raises(CheckpointError, match=message), scratch_directory():
        pass
