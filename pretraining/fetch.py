"""Downloads the pinned npm packages with the npm client and checks every byte of them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

CACHE = Path(__file__).parent / "cache"


@dataclass(frozen=True, kw_only=True)
class Package:
    """An npm package: what `npm pack` is asked for, and the digest that its archive must have."""

    name: str
    version: str
    sha256: str

    @property
    def archive(self) -> Path:
        return CACHE / "npm" / f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


PACKAGES = {
    package.name.removeprefix("@iconify-json/"): package
    for package in (
        Package(
            name="@iconify-json/noto",
            version="1.2.9",
            sha256="3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        ),
        Package(
            name="@iconify-json/noto-v1",
            version="1.2.5",
            sha256="2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
        ),
        Package(
            name="@iconify-json/fluent-emoji",
            version="1.2.7",
            sha256="8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
        ),
        Package(
            name="@iconify-json/fluent-emoji-flat",
            version="1.2.6",
            sha256="7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        ),
        Package(
            name="@iconify-json/twemoji",
            version="1.2.5",
            sha256="19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
        ),
        Package(
            name="@iconify-json/fxemoji",
            version="1.2.2",
            sha256="f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef",
        ),
        Package(
            name="@iconify-json/emojione",
            version="1.2.3",
            sha256="26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
        ),
        Package(
            name="@iconify-json/streamline-emojis",
            version="1.2.4",
            sha256="5dac87c876b322500989828c5823143e0100d78881627a2e4081a4b897cbfdbc",
        ),
        Package(
            name="@iconify-json/openmoji",
            version="1.2.29",
            sha256="03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5",
        ),
        Package(
            name="cldr-annotations-full",
            version="48.2.0",
            sha256="28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1",
        ),
        Package(
            name="emojibase-data",
            version="17.0.0",
            sha256="d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
        ),
        Package(
            name="unicode-emoji-json",
            version="0.9.0",
            sha256="ae7efacb55533385bf8767d613dbd36c71226669759d95919a6e9059f5e4c401",
        ),
    )
}


def fetch_all() -> None:
    """Makes sure that every package lies in the cache, unaltered."""
    for package in PACKAGES.values():
        fetch(package)


def fetch(package: Package) -> Path:
    """The checked archive of a package, downloaded when it is not in the cache.

    Raises:
        ValueError: the archive is not the one that the recipe was made with.
        subprocess.CalledProcessError: npm could not fetch it.
    """
    if not package.archive.exists():
        package.archive.parent.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
        subprocess.run(command, cwd=package.archive.parent, check=True)
    digest = hashlib.sha256(package.archive.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise ValueError(
            f"{package.archive}: expected sha256 {package.sha256}, got {digest}. "
            "Delete the file and run again; if that does not help, the registry serves another file than before."
        )
    return package.archive


@cache
def read_package_json(package_name: str, member: str) -> Any:
    """A JSON file inside a package; an empty object when the package has no such file."""
    with tarfile.open(fetch(PACKAGES[package_name])) as archive:
        if f"package/{member}" not in archive.getnames():
            return {}
        file = archive.extractfile(f"package/{member}")
        assert file is not None, "the member is a directory"
        return json.load(file)
