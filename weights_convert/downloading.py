"""A file from an address, whole and with the digest that was published, or not at all."""

from __future__ import annotations

import hashlib
import http.client
import urllib.request
from pathlib import Path

from clip_core.errors import CheckpointError, CheckpointNotFoundError
from weights_convert.progress import show_progress

_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without a byte


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, path: Path, sha256: str, advice: str) -> None:
    """Downloads a file.

    Args:
        url: of the file.
        path: where it is written; on an error it is to be thrown away.
        sha256: of the file, or how it begins.
        advice: what messages end with.

    Raises:
        CheckpointNotFoundError: it cannot be downloaded, or not all of it.
        CheckpointError: it has another digest.
    """
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response, open(path, "wb") as file:
            length = int(response.headers.get("Content-Length") or 0)
            advance = show_progress(length)
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                digest.update(chunk)
                advance(len(chunk))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CheckpointNotFoundError(f"{url}: the download failed: {error}. {advice}".strip()) from error
    got = path.stat().st_size
    if length and got != length:
        raise CheckpointNotFoundError(
            f"{url}: the download ended after {got:,} of {length:,} bytes; try again. {advice}".strip()
        )
    found = digest.hexdigest()
    if not found.startswith(sha256):
        message = f"{url}: is not the file that was published: expected sha256 {sha256}, got {found}. {advice}"
        raise CheckpointError(message.strip())
