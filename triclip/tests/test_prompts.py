"""The data of others are what their notice says."""

import hashlib
from pathlib import Path

from triclip import IMAGENET_LABELS, OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES, prompts

FOLDER = Path(prompts.__file__).parent


def test_each_file_has_the_digest_that_its_notice_says() -> None:
    files = sorted(FOLDER.glob("*.txt"))
    assert len(files) == 3
    notice = (FOLDER / "NOTICE.md").read_text(encoding="utf-8")
    for file in files:
        (row,) = (line for line in notice.splitlines() if line.startswith(f"| `{file.name}`"))
        assert hashlib.sha256(file.read_bytes()).hexdigest() in row


def test_there_are_as_many_as_published_and_two_labels_come_twice() -> None:
    assert (len(OPENAI_IMAGENET_TEMPLATES), len(SIMPLE_IMAGENET_TEMPLATES)) == (80, 7)
    assert set(SIMPLE_IMAGENET_TEMPLATES) < set(OPENAI_IMAGENET_TEMPLATES)
    assert all(template.count("{}") == 1 for template in OPENAI_IMAGENET_TEMPLATES)
    assert (len(IMAGENET_LABELS), len(set(IMAGENET_LABELS))) == (1000, 998)
    assert (IMAGENET_LABELS[0], IMAGENET_LABELS[-1]) == ("tench", "toilet paper")
