"""Archives as torch writes them, made here by `zipfile`; and what is wrong with others."""

import struct
import zipfile

import pytest

from clip_core.checkpoint import zip_archive
from clip_core.checkpoint.sources import SourceFile
from clip_core.checkpoint.zip_archive import ZipArchive
from clip_core.errors import CheckpointFormatError

CENTRAL = b"PK\1\2"
"""The signature of an entry in the table of contents; its sizes are 20 and 24 bytes further, its offset 42."""


def archive(path, entries, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in entries:
            file.writestr(name, content)
    return path


@pytest.fixture
def good(tmp_path):
    return archive(tmp_path / "a.pt", [("model/data.pkl", b"pickle"), ("model/data/0", bytes(range(7)))])


def overwrite(path, after, distance, content):
    """Changes bytes at a distance behind the last place where ``after`` stands."""
    data = bytearray(path.read_bytes())
    start = data.rindex(after) + distance
    data[start : start + len(content)] = content
    path.write_bytes(data)


def refused(path, message):
    with pytest.raises(CheckpointFormatError, match=f"a.pt: not a whole torch archive: .*{message}"):
        ZipArchive(SourceFile(path))


def test_entries_lie_where_the_archive_says(good):
    opened = ZipArchive(SourceFile(good))
    assert set(opened.entries) == {"data.pkl", "data/0"}
    assert opened.read("data.pkl") == b"pickle"
    entry = opened.entries["data/0"]
    assert good.read_bytes()[entry.offset : entry.offset + entry.size] == bytes(range(7))


def test_compressed_entries_are_not_listed(good):
    archive(good, [("model/code/a.py", b"x" * 999)], zipfile.ZIP_DEFLATED)
    assert ZipArchive(SourceFile(good)).entries == {}
    with pytest.raises(CheckpointFormatError, match="no entry 'code/a.py', or a compressed one"):
        ZipArchive(SourceFile(good)).read("code/a.py")


def test_a_large_entry_is_not_read_at_once(good, monkeypatch):
    monkeypatch.setattr(zip_archive, "MAX_READ_BYTES", 6)
    assert ZipArchive(SourceFile(good)).read("data.pkl") == b"pickle"
    with pytest.raises(CheckpointFormatError, match="'data/0' claims 7 bytes, more than 6"):
        ZipArchive(SourceFile(good)).read("data/0")


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"no archive at all"])
def test_another_file_is_refused(good, content):
    good.write_bytes(content)
    refused(good, "table of contents is unreadable")


def test_a_cut_archive_is_refused(good):
    good.write_bytes(good.read_bytes()[:-30])
    refused(good, "table of contents is unreadable")


@pytest.mark.parametrize("name", ["/etc/passwd", "model/../../x", "..", "model\\x"])
def test_a_path_that_leads_outside_is_refused(good, name):
    refused(archive(good, [(name, b"x")]), "leads outside")


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")  # zipfile's own, of what is wanted here
def test_a_name_that_stands_twice_is_refused(good):
    refused(archive(good, [("model/a", b"x"), ("model/a", b"y")]), "two entries 'model/a'")


@pytest.mark.parametrize("name", ["model/./data/0", "model//data/0", "./model/data/0"])
def test_a_name_that_can_be_read_as_another_is_refused(good, name):
    refused(archive(good, [(name, b"x"), ("model/data/0", b"y")]), "should be called 'model/data/0'")


def test_names_that_differ_in_case_only_are_refused(good):
    refused(archive(good, [("model/a", b"x"), ("model/A", b"y")]), "two entries 'model/A'")


def test_folders_have_entries_in_some_archives(good):
    archive(good, [("model/", b""), ("model/data/", b""), ("model/data/0", b"y")])
    assert ZipArchive(SourceFile(good)).read("data/0") == b"y"


def test_what_stands_before_an_archive_is_refused_since_readers_count_from_elsewhere(good):
    good.write_bytes(b"PK\3\4" + good.read_bytes())
    refused(good, "its table of contents lies at byte [0-9]+, and [0-9]+ is claimed")


def test_several_top_folders_are_refused(good):
    refused(archive(good, [("model/a", b"x"), ("other/a", b"y")]), "several top folders")


def test_too_many_entries_are_refused(good, monkeypatch):
    monkeypatch.setattr(zip_archive, "MAX_ENTRIES", 1)
    refused(good, "has 2 entries, more than 1")


def test_a_large_table_of_contents_is_refused_before_it_is_read(good, monkeypatch):
    monkeypatch.setattr(zip_archive, "_MAX_DIRECTORY_BYTES", 50)
    refused(good, "its table of contents has [0-9]+ bytes, more than 50")


def test_the_size_of_a_table_of_contents_of_64_bits_is_read(good, monkeypatch):
    data = good.read_bytes()
    end = data.rindex(b"PK\5\6")
    size, start = struct.unpack_from("<LL", data, end + 12)
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, size, start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    good.write_bytes(data[:end] + record + locator + data[end : end + 12] + b"\xff" * 8 + data[end + 20 :])
    assert ZipArchive(SourceFile(good)).read("data.pkl") == b"pickle"
    elsewhere = struct.pack("<4sLQL", b"PK\6\7", 0, end - 1, 1)
    good.write_bytes(good.read_bytes().replace(locator, elsewhere))
    refused(good, "the records at its end contradict one another")
    good.write_bytes(good.read_bytes().replace(elsewhere, locator))
    monkeypatch.setattr(zip_archive, "_MAX_DIRECTORY_BYTES", 50)
    refused(good, f"its table of contents has {size} bytes, more than 50")


@pytest.mark.parametrize(
    ("distance", "content", "message"),
    [
        (20, struct.pack("<L", 6), "has two sizes"),
        (20, struct.pack("<LL", 900, 900), "ends at byte .*, behind the last"),
        (42, struct.pack("<L", 0), "overlaps another"),
        (42, struct.pack("<L", 3), "overlaps another"),
        (8, struct.pack("<H", 1), "is encrypted"),
        (10, struct.pack("<H", 8), "not what the table of contents says"),
        (46, b"model/data/1", "not what the table of contents says"),
    ],
)
def test_a_table_of_contents_that_contradicts_its_entries_is_refused(good, distance, content, message):
    overwrite(good, CENTRAL, distance, content)
    refused(good, message)


def test_an_entry_beyond_the_end_is_refused(good):
    overwrite(good, CENTRAL, 42, struct.pack("<L", good.stat().st_size - 5))
    refused(good, "lies beyond the end")
