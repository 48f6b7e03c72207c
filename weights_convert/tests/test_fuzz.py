import io
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clip_core.checkpoint.restricted_pickle import read_pickle
from clip_core.errors import CheckpointFormatError, CLIPError
from weights_convert.containers.opened import open_container
from weights_convert.tests import fuzz, fuzz_directories

INSTRUCTIONS = [
    *(bytes([code]) for code in b".(t]})012NRbQsuae\x81\x85\x86\x93\x94"),
    *(b"q\0", b"h\0", b"K\1", b"X\1\0\0\0a", b"\x8c\1b"),
    *(b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"c__torch__\nM\n"),
]
HEADS = [b"\x82", b"\xde\0\2", b"\x88\0\0\0\0\0\0\0{", b"PK\3\4", b"\x80\2", b""]


@given(st.lists(st.sampled_from(INSTRUCTIONS) | st.binary(max_size=3), max_size=40))
def test_any_pickle_is_read_or_refused(instructions):
    with suppress(CheckpointFormatError):
        read_pickle(io.BytesIO(b"".join(instructions) + b"."), "file")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(head=st.sampled_from(HEADS), rest=st.binary(max_size=200))
def test_any_file_is_opened_or_refused(tmp_path, head, rest):
    (tmp_path / "file").write_bytes(head + rest)
    with suppress(CLIPError):
        open_container(tmp_path / "file")


@pytest.mark.filterwarnings("ignore")
def test_mutated_files_are_read_or_refused(tmp_path):
    outcomes = {outcome for _, outcome, _ in fuzz.run(200, 1, fuzz.seeds(tmp_path, torch=False))}
    assert {"read", "CheckpointFormatError", "changed, CheckpointError"} <= outcomes


def test_directories_of_strangers_are_read_or_refused_and_not_touched(tmp_path):
    outcomes = {outcome.partition(": ")[2] for _, outcome, _ in fuzz_directories.run(60, 1, tmp_path)}
    assert {"done", "CheckpointFormatError"} <= outcomes
