"""Where checkpoints lie that were fetched in another format and converted: Triclip's own cache, beside that of the hub.

Each is a directory in the Hugging Face layout, under the commit or the digest of what it was made from, so it never
becomes old. It may be deleted at any time.
"""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

from clip_core.checkpoint.hub_cache import Repository

CONVERTED_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Weights for which a repository is converted, where it has none of Triclip's own; open_clip's names."""


def own_cache(cache_dir: str | PathLike[str] | None) -> Path:
    """Triclip's cache: below a cache that was given, ``$TRICLIP_CACHE``, or where caches usually are."""
    if cache_dir is not None:
        return Path(cache_dir).expanduser() / "triclip"
    if os.environ.get("TRICLIP_CACHE"):
        return Path(os.environ["TRICLIP_CACHE"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "triclip"


def converted_from_hub(cache: Path, repository: Repository, meant: str = "") -> Path:
    """Where the conversion of a revision of a repository lies, or of the file or the layout that is meant of it."""
    parts = [repository.name.replace("/", "--"), *filter(None, [repository.subfolder.replace("/", "--"), meant])]
    return cache / "hub" / "--".join(parts) / repository.snapshot.name


def converted_from_address(cache: Path, url: str, sha256: str) -> Path:
    """Where the conversion of a file with a published digest lies, if it was made."""
    return cache / "files" / Path(url).name / sha256
