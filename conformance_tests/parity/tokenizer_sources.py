"""What the tokenizers are compared on and with, from public packages: multilingual strings and OpenAI's tokenizer."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import random
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

OPENAI_PACKAGE = "openai-clip==1.0.1"
OPENAI_TOKENIZER_SHA256 = "d1b09f10ed3d1e2c343619cb98cbfacb92363dd8607526a43aa7fe2d60d15bad"
ANNOTATIONS_PACKAGE = "cldr-annotations-full@48.2.0"
CASES = Path(__file__).parents[2] / "clip_core" / "tests" / "tokenizer" / "tokenizer_cases.json"

# Pieces that cleaners and word patterns treat by what stands beside them.
_PIECES = (
    *(
        "it’s",
        "“fine”",
        "&amp;",
        "&lt;b&gt;",
        "&nbsp;",
        "&#39;",
        "&amp;amp;",
        "&#x1F600;",
        "schÃ¶n",
        "â€™",
        "ＦＵＬＬ",
        "ﬁle",
        "ĳ",
    ),
    *(
        "ΟΔΟΣ",
        "'ſ",
        "'S",
        "ſt",
        "İ",
        "ß",
        "ǅ",
        "é",
        "e\u0301",
        "한국",
        "ﾊﾝｶｸ",
        "中文",
        "👩‍👩‍👧",
        "🇫🇷",
        "½",
        "٣",
        "Ⅷ",
        "2024",
    ),
    *(
        "<|endoftext|>",
        "<|ENDOFTEXT|>",
        "<|startoftext|>",
        "<|ſtartoftext|>",
        "&lt;|endoftext|&gt;",
        "<|",
        "|>",
        "</w>",
    ),
    *(
        "\x00",
        "\x07",
        "\x0b",
        "\x0c",
        "\x1b[31m",
        "\x1c",
        "\x7f",
        "\x85",
        "\xa0",
        "\xad",
        "\u200b",
        "\u2028",
        "\ufeff",
        "\ufffd",
    ),
    *(" ", "  ", "\n", "\r\n", "\t", "!", "...", "--", "'re", "'LL", "#tag", "a_b", "C++", "@", "$5.00"),
)
_RANGES = (
    (0x20, 0x7F),
    (0x00, 0x100),
    (0x100, 0x600),
    (0x600, 0x1000),
    (0x1E00, 0x2200),
    (0x2C00, 0xD7A0),
    (0xF900, 0x20000),
)


def unpacked(package: str, client: list[str], directory: Path) -> Path:
    """The folder of a package, fetched with its registry's own client unless it is in `directory` already."""
    folder = directory / package.replace("==", "-").replace("@", "-")
    if folder.is_dir():
        return folder
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as fetched:
        subprocess.run([*client, package], cwd=fetched, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(fetched).iterdir()
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    return folder


def openai_tokenizer_module(directory: Path) -> ModuleType:
    """OpenAI's `simple_tokenizer.py`, its bytes checked before it runs."""
    client = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    (path,) = unpacked(OPENAI_PACKAGE, client, directory).glob("*/clip/simple_tokenizer.py")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != OPENAI_TOKENIZER_SHA256:
        raise RuntimeError(f"{path}: expected sha256 {OPENAI_TOKENIZER_SHA256}, got {digest}; not running it")
    spec = importlib.util.spec_from_file_location("openai_simple_tokenizer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def annotation_strings(directory: Path) -> list[str]:
    """Names and keywords of every emoji and symbol in every locale that CLDR has, each string once."""
    strings: dict[str, None] = {}
    for path in sorted(unpacked(ANNOTATIONS_PACKAGE, ["npm", "pack", "--silent"], directory).rglob("annotations.json")):
        (content,) = json.loads(path.read_bytes()).values()
        for symbol, entry in content.get("annotations", {}).items():  # a few locales only inherit
            for name in entry.get("tts", ()):
                strings[f"{symbol} {name}"] = None
            strings[", ".join(entry.get("default", ()))] = None
    return list(strings)


def case_strings() -> list[str]:
    """The texts on which the tokenizers are known to differ, and others that tests hold fixed."""
    return [case["text"] for case in json.loads(CASES.read_bytes())["cases"]]


def random_strings(count: int, generator: random.Random) -> Iterator[str]:
    """Random Unicode, half of it mixed with the pieces that are hard to clean."""
    for index in range(count):
        parts = []
        for _ in range(generator.randrange(1, 9)):
            if index % 2 and generator.random() < 0.6:
                parts.append(generator.choice(_PIECES))
            else:
                low, high = generator.choice(_RANGES)
                codes = [generator.randrange(low, high) for _ in range(generator.randrange(1, 6))]
                parts.append("".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000))
        yield generator.choice(("", " ")).join(parts)
