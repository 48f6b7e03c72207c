import argparse
import io
import os
import pickle
import subprocess
from collections import Counter, OrderedDict
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from clip_core.checkpoint.pickled_tensors import StridedTensor
from clip_core.checkpoint.restricted_pickle import Inert, read_pickle
from clip_core.errors import CheckpointFormatError


def read(content: bytes):
    return read_pickle(io.BytesIO(content), "file.pt")


class Calls:
    """Pickled as a call."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


def storage(kind="FloatStorage", key="0", size=6):
    return (
        b"(X\x07\0\0\0storagectorch\n" + kind.encode() + b"\nX" + len(key).to_bytes(4, "little") + key.encode()
        + b"X\x03\0\0\0cpuK" + bytes([size]) + b"tQ"
    )  # fmt: skip


def tensor(shape=b"K\x02K\x03", strides=b"K\x03K\x01", offset=b"K\x00", of=None, metadata=b""):
    of = storage() if of is None else of
    start = b"ctorch._utils\n_rebuild_tensor_v2\n(" + of
    return start + offset + b"(" + shape + b"t(" + strides + b"t\x89N" + metadata + b"tR"


MALICIOUS = {
    "os.system": (pickle.dumps(Calls(os.system, "touch /tmp/pwned")), "posix.system"),
    "eval": (pickle.dumps(Calls(eval, "1")), "builtins.eval"),
    "exec": (pickle.dumps(Calls(exec, "1")), "builtins.exec"),
    "getattr": (pickle.dumps(Calls(getattr, "", "join")), "builtins.getattr"),
    "import": (pickle.dumps(Calls(__import__, "os")), "builtins.__import__"),
    "open": (pickle.dumps(Calls(open, "/etc/passwd")), "io.open"),
    "Popen": (pickle.dumps(Calls(subprocess.Popen, "true")), "subprocess.Popen"),
    "partial": (pickle.dumps(partial(print, 1)), "functools.partial"),
    "chain of reduce": (pickle.dumps(Calls(Calls, Calls(os.getcwd))), "Calls"),
    "protocol 0": (b"cposix\nsystem\n(S'true'\ntR.", "posix.system"),
    "protocol 4 by stack": (b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.", "posix.system"),
    "dotted global": (b"\x80\x04\x8c\x05torch\x8c\x0cos.system.x.\x93.", "torch.os.system"),
    "global in an allowed module": (b"ctorch._utils\n_import_dotted_name\n.", "_import_dotted_name"),
    "torch.load": (b"ctorch\nload\n(X\x01\0\0\0xtR.", "torch.load"),
    "torch.hub": (b"ctorch.hub\nload\n.", "torch.hub.load"),
    "numpy array": (pickle.dumps(np.zeros(3)), "numpy"),
    "inst": (b"(S'true'\nios\nsystem\n.", "INST"),
    "obj": (b"(cos\nsystem\nS'true'\no.", "os.system"),
    "newobj of a class": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "collections.OrderedDict"),
    "newobj of a tuple without end": (b"\x80\x02)" + b"2\x86" * 60 + b")\x81.", "an object of tuple"),
    "newobj_ex": (b"\x80\x04ccollections\nOrderedDict\n)}\x92.", "NEWOBJ_EX"),
    "extension code": (b"\x80\x02\x82\x01.", "EXT1"),
    "textual persistent id": (b"P../../etc/passwd\n.", "PERSID"),
    "persistent id that is no storage": (b"X\x03\0\0\0keyQ.", "outside"),
    "persistent id of another kind": (b"(X\x06\0\0\0moduleX\x01\0\0\0xNNNtQ.", "outside"),
    "persistent id of a class": (storage("Tensor") + b".", "torch.Tensor"),
    "persistent id of a quantised storage": (storage("QInt8Storage") + b".", "QInt8Storage"),
    "persistent id of a text": (b"(X\x07\0\0\0storageX\x01\0\0\0xNNNtQ.", "storage of the kind str"),
    "storage without a name": (storage().replace(b"X\x01\0\0\x000", b"K\x00") + b".", "malformed key, size or view"),
    "storage of a negative size": (storage().replace(b"K\x06", b"J\xff\xff\xff\xff") + b".", "malformed key, size"),
    "storage with a view": (storage().replace(b"tQ", b"K\x01tQ") + b".", "malformed key, size or view"),
    "protocol of the future": (b"\x80\x06N.", "its protocol 6 is unknown"),
    "build on a list": (b"]}b.", "sets the state of a list"),
    "state of a tensor": (tensor() + b"}b.", "sets the state of a StridedTensor"),
    "setstate by reduce": (pickle.dumps(Calls(OrderedDict, state=(None, {"x": 1}))), "sets the state"),
    "float8": (b"ctorch._utils\n_rebuild_tensor_v3\n.", "float8 or of another rare dtype. Weights are float32"),
    "storage of two kinds": (tensor() + tensor(of=storage("IntStorage")) + b".", "'0' that it has two kinds or sizes"),
    "storage of two sizes": (storage() + storage(size=7) + b".", "'0' that it has two kinds or sizes"),
    "call of data": (b"X\x01\0\0\0x)R.", "calls a str"),
    "call of a dtype": (b"ctorch\nfloat32\n)R.", "torch.float32"),
    "call of a module class": (b"c__torch__\nModel\n)R.", "__torch__.Model"),
    "buffers out of band": (b"\x80\x05\x97.", "NEXT_BUFFER"),
}


@pytest.mark.parametrize("name", MALICIOUS)
def test_a_pickle_that_asks_for_more_is_refused_by_name(name):
    content, met = MALICIOUS[name]
    with pytest.raises(CheckpointFormatError, match="refused, since") as error:
        read(content)
    assert met in str(error.value)


def test_what_lies_beside_weights_in_training_checkpoints_is_no_value_of_its_kind():
    options = argparse.Namespace(path=Path("/data"), scores=[np.float32(0.5)], steps=Counter("ab"))
    for protocol in (2, 3, 4, 5):
        found = read(pickle.dumps({"options": options, "at": Path("/run"), "best": np.float64(1)}, protocol))
        assert {name: type(value) for name, value in found.items()} == dict.fromkeys(found, Inert)


def test_an_inert_object_holds_nothing_that_a_pickle_gives_it():
    with pytest.raises(CheckpointFormatError, match="refused, since it names 'posix.system'"):
        read(pickle.dumps(argparse.Namespace(run=Calls(os.system, "true"))))
    with pytest.raises(CheckpointFormatError, match="Inert where a container belongs"):
        read(b"cpathlib\nPosixPath\n)RK\x01K\x02s.")


def test_views_that_torch_reads_in_its_own_way():
    assert not read(tensor() + b".").negated
    assert read(tensor(metadata=b"}X\x03\0\0\0neg\x88s") + b".").negated
    expanded = read(tensor(b"K\x64K\x02", b"K\x00K\x01") + b".")
    assert (expanded.shape, expanded.strides) == ((100, 2), (0, 1))


MALFORMED = {
    "empty": b"",
    "no end": b"\x80\x02}",
    "cut": b"\x80\x02X\xff\0\0\0abc",
    "a size beyond the file": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "memo that is not there": b"h\x07.",
    "empty stack": b".",
    "group without beginning": b"t.",
    "mark as a value": b"(.",
    "odd pairs": b"}(K\x01u.",
    "huge number as a key": b"}\x8b" + (3000).to_bytes(4, "little") + b"\x7f" * 3000 + b"K\x01s.",
    "list as a key": b"}]K\x01s.",
    "tuple as a key": b"})K\x01s.",
    "append to a text": b"X\x01\0\0\0xK\x01a.",
    "unknown instruction": b"\xfe.",
    "huge number as text": b"L" + b"9" * 100_000 + b"L\n.",
    "tensor beyond its storage": tensor(offset=b"K\x01") + b".",
    "negative stride": tensor(strides=b"J\xff\xff\xff\xffK\x01") + b".",
    "negative size": tensor(shape=b"J\xff\xff\xff\xffK\x03") + b".",
    "expanded from one element": tensor(b"J\0\0\0\x7fJ\0\0\0\x7f", b"K\x00K\x00") + b".",
    "expanded to 2 GB": tensor(b"J\0\0\0\x20", b"K\x00") + b".",
    "conjugated": tensor(metadata=b"}X\x04\0\0\0conj\x88s") + b".",
    "negated truth values": tensor(of=storage("BoolStorage"), metadata=b"}X\x03\0\0\0neg\x88s") + b".",
    "a size of many digits": tensor(of=storage()[:-3] + b"\x8b" + (3000).to_bytes(4, "little") + b"\x7f" * 3000 + b"tQ")
    + b".",
    "shape that is a list": b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage() + b"K\x00]]\x89NtR.",
    "tensor of no storage": tensor(of=b"K\x05") + b".",
    "parameter of no tensor": b"ctorch._utils\n_rebuild_parameter\n(K\x01K\x00NtR.",
    "global whose name is a number": b"\x80\x04K\x01K\x02\x93.",
    "too few arguments": b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
    "too many arguments": b"ccollections\nOrderedDict\n(K\x01K\x02tR.",
    "pairs that are none": b"ccollections\nOrderedDict\n(](K\x01etR.",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_pickle_is_an_error_of_triclip(name):
    with pytest.raises(CheckpointFormatError, match="pickle|malformed"):
        read(MALFORMED[name])


def test_containers_and_values_are_those_of_pickle():
    value = {"a": [1, 2.5, None, True, ("x", b"y")], "b": OrderedDict(c={1: 10**30})}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        given = {**value, "a": value["a"][:4] if protocol < 3 else value["a"]}
        assert read(pickle.dumps(given, protocol)) == given


def test_a_view_of_a_storage_keeps_offset_and_strides():
    found = read(tensor(shape=b"K\x03K\x02", strides=b"K\x01K\x03") + b".")
    assert isinstance(found, StridedTensor)
    assert (found.shape, found.strides, found.storage.size) == ((3, 2), (1, 3), 6)


def test_a_tensor_without_elements_needs_no_storage():
    found = read(tensor(shape=b"K\x00K\x03", of=storage(size=0)) + b".")
    assert (found.shape, found.storage.size) == ((0, 3), 0)


def test_a_size_is_its_tuple():
    assert read(b"ctorch\nSize\n((K\x02K\x03ttR.") == (2, 3)


def test_a_group_can_be_thrown_away():
    assert read(b"K\x05(K\x01K\x021.") == 5


def test_a_memo_bomb_stays_small():
    """Lists of lists of lists, each twice the one before: shared here, endless for whoever copies."""
    levels = [b"]q%c(h%ch%ce" % (level, level - 1, level - 1) for level in range(1, 60)]
    assert len(read(b"]q\0" + b"".join(levels) + b".")) == 2


def test_a_container_that_is_copied_again_and_again_is_refused(monkeypatch):
    monkeypatch.setattr("clip_core.checkpoint.restricted_pickle.MAX_INSTRUCTIONS", 1000)
    pairs = b"](" + b"".join(b"(X\x02\0\0\0%02dNt" % number for number in range(90)) + b"eq\1"
    by_call = pairs + b"ccollections\nOrderedDict\nq\2" + b"h\2h\1\x85R0" * 20 + b"."
    state = b"}(" + b"".join(b"X\x02\0\0\0%02dN" % number for number in range(90)) + b"uq\1"
    by_state = state + b"0" + b"c__torch__\nM\n)\x81h\1b0" * 20 + b"N."
    for content in (by_call, by_state):
        with pytest.raises(CheckpointFormatError, match="it copies more than 1000 elements"):
            read(content)


def test_a_pickle_without_end_is_stopped(monkeypatch):
    monkeypatch.setattr("clip_core.checkpoint.restricted_pickle.MAX_INSTRUCTIONS", 1000)
    with pytest.raises(CheckpointFormatError, match="longer than 1000 instructions"):
        read(b"N0" * 1000 + b"N.")


def test_a_text_that_claims_the_memory_is_not_read(monkeypatch):
    monkeypatch.setattr("clip_core.checkpoint.restricted_pickle.MAX_PICKLE_BYTES", 1000)
    for content in (b"\x8e" + (5000).to_bytes(8, "little") + bytes(5000) + b".", b"L" + b"1" * 5000 + b"L\n."):
        with pytest.raises(CheckpointFormatError, match="longer than 1000 bytes"):
            read(content)


def test_deep_nesting_ends_without_a_crash():
    assert read(b"]" * 200_000 + b"a" * 199_999 + b".") is not None
