"""Zip archives as torch writes them: stored entries that are read where they lie, checked before they are touched."""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NoReturn

from clip_core.checkpoint.sources import SourceFile
from clip_core.errors import CheckpointFormatError

MAX_ENTRIES = 200_000
MAX_READ_BYTES = 64_000_000
_MAX_DIRECTORY_BYTES = 20_000_000
_LARGEST_END = 22 + 65535 + 20  # the end record with the longest comment, and what points to its 64-bit form
_ZIP64_RECORD_BYTES = 56
_ZIP64_LOCATOR = struct.Struct("<4sLQL")
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class StoredEntry:
    """Where the bytes of an entry lie in the archive."""

    offset: int
    size: int


class ZipArchive:
    """The entries of an archive below its top folder, by their path there.

    Args:
        source: the file.

    Attributes:
        entries: the stored entries. Compressed ones, such as the program text of TorchScript, are not listed: torch
            never compresses what weights are made of.

    Raises:
        CheckpointFormatError: not a whole zip archive; entries that overlap, occur twice, are encrypted or have a path
            that leads outside; a table of contents that contradicts the entries.
    """

    def __init__(self, source: SourceFile) -> None:
        self.source, self.path = source, source.path
        try:
            claimed_start = self._check_directory()
            with zipfile.ZipFile(source.stream()) as archive:
                infos = archive.infolist()
                directory_start = archive.start_dir
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OverflowError, EOFError) as error:
            raise self._broken(f"its table of contents is unreadable ({error})") from error
        if directory_start != claimed_start:  # other readers go by the claim
            self._refuse(f"its table of contents lies at byte {directory_start}, and {claimed_start} is claimed")
        if len(infos) > MAX_ENTRIES:
            self._refuse(f"it has {len(infos)} entries, more than {MAX_ENTRIES}")
        self._check_names(infos)
        self.entries = self._locate(infos, directory_start)

    def read(self, name: str) -> bytes:
        """The bytes of a small entry.

        Raises:
            CheckpointFormatError: no such entry, or it is larger than 64 MB.
        """
        if name not in self.entries:
            self._refuse(f"it has no entry {name!r}, or a compressed one")
        entry = self.entries[name]
        if entry.size > MAX_READ_BYTES:
            self._refuse(f"its entry {name!r} claims {entry.size} bytes, more than {MAX_READ_BYTES}")
        return self.source.read(entry.offset, entry.size)

    def _broken(self, problem: str) -> CheckpointFormatError:
        return CheckpointFormatError(f"{self.path}: not a whole torch archive: {problem}. Fetch or save it again.")

    def _refuse(self, problem: str) -> NoReturn:
        raise self._broken(problem)

    def _check_directory(self) -> int:
        """Where the end of the archive says that its table of contents begins; bounds what `zipfile` reads at once."""
        first = max(0, self.source.size - _LARGEST_END)
        end = self.source.read(first, _LARGEST_END)
        position = end.rfind(b"PK\5\6")
        if position < 0:
            raise zipfile.BadZipFile("it has no end")
        size, start = struct.unpack_from("<LL", end, position + 12)
        locator = max(0, position - _ZIP64_LOCATOR.size)
        if end[locator:position].startswith(b"PK\6\7"):
            _, _, record, _ = _ZIP64_LOCATOR.unpack_from(end, locator)
            if record != first + locator - _ZIP64_RECORD_BYTES or self.source.read(record, 4) != b"PK\6\6":
                self._refuse("the records at its end contradict one another")
            size, start = struct.unpack("<QQ", self.source.read(record + 40, 16))
        if size > _MAX_DIRECTORY_BYTES:
            self._refuse(f"its table of contents has {size} bytes, more than {_MAX_DIRECTORY_BYTES}")
        return int(start)

    def _check_names(self, infos: list[zipfile.ZipInfo]) -> None:
        """Refuses names that readers could take for one another's, or for a path that leads outside."""
        seen = set()
        for info in infos:
            path = PurePosixPath(info.filename)
            if path.is_absolute() or ".." in path.parts or "\\" in info.orig_filename or "\0" in info.orig_filename:
                self._refuse(f"its entry {info.filename[:100]!r} leads outside")
            if str(path) != info.filename.removesuffix("/"):
                self._refuse(f"its entry {info.filename[:100]!r} should be called {str(path)[:100]!r}")
            if str(path).lower() in seen:
                self._refuse(f"it has two entries {info.filename[:100]!r}")
            seen.add(str(path).lower())
        tops = {PurePosixPath(info.filename).parts[:1] for info in infos}
        if len(tops) > 1:
            self._refuse("its entries lie in several top folders")

    def _locate(self, infos: list[zipfile.ZipInfo], directory_start: int) -> dict[str, StoredEntry]:
        entries = {}
        end = 0
        for info in sorted(infos, key=lambda info: info.header_offset):
            if info.header_offset < end:
                self._refuse(f"its entry {info.filename[:100]!r} overlaps another")
            offset = self._content_offset(info)
            end = offset + info.compress_size
            if end > directory_start:
                self._refuse(f"its entry {info.filename[:100]!r} ends at byte {end}, behind the last")
            if info.compress_type == zipfile.ZIP_STORED:
                if info.compress_size != info.file_size:
                    self._refuse(f"its entry {info.filename[:100]!r} has two sizes")
                below_top = "/".join(PurePosixPath(info.filename).parts[1:])
                entries[below_top] = StoredEntry(offset, info.file_size)
        return entries

    def _content_offset(self, info: zipfile.ZipInfo) -> int:
        """Where the bytes of an entry begin, if what stands before them agrees with the table of contents."""
        header = self.source.read(info.header_offset, _LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size:
            self._refuse(f"its entry {info.filename[:100]!r} lies beyond the end")
        signature, _, flags, method, *_, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        name_start = info.header_offset + _LOCAL_HEADER.size
        local_name = self.source.read(name_start, name_length).decode("utf-8", "replace")
        if signature != b"PK\3\4" or local_name != info.orig_filename or method != info.compress_type:
            self._refuse(f"its entry {info.filename[:100]!r} is not what the table of contents says")
        if (flags | info.flag_bits) & _ENCRYPTED:
            self._refuse(f"its entry {info.filename[:100]!r} is encrypted")
        offset: int = name_start + name_length + extra_length
        return offset
