"""How fast texts become ids, as ratios to transformers' fast tokenizer in the same process, on one core.

Run with ``python -m benchmarks.tokenize``. 5,000 captions of 6 to 16 words, which are drawn from the vocabulary as
words of a language are, rare ones included; some have punctuation, one in 50 a curly quote, which needs the slow way.
Tokenizers take turns, so that a busy computer slows all alike; each is measured with nothing remembered ("first"), and
again with the words of the round before ("again"). Seconds are of the CPU; a ratio is the median over the rounds.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

CAPTIONS, ROUNDS = 5000, 7


def captions(count: int = CAPTIONS) -> list[str]:
    """Texts of words by Zipf's law."""
    from clip_core.tokenizer.bpe import builtin_table

    generator = np.random.default_rng(0)
    vocabulary, _ = builtin_table()
    words = [token[:-4] for token in vocabulary if token.endswith("</w>") and token[:-4].isalpha() and token.isascii()]
    shares = 1 / np.arange(1, len(words) + 1)
    drawn = iter(generator.choice(words, size=count * 17, p=shares / shares.sum()).tolist())
    texts = []
    for number, length in enumerate(generator.integers(6, 17, count).tolist()):
        text = " ".join(next(drawn) for _ in range(length)).capitalize()
        text = text.replace(" ", ", ", 1) if number % 5 == 0 else text
        texts.append(f"{text}{'’s' if number % 50 == 0 else ''}{'.' if number % 2 else ''}")
    return texts


def tokenizers() -> dict[str, Callable[[], Any]]:
    """What makes each tokenizer, with nothing remembered."""
    import transformers
    from transformers.models.clip.tokenization_clip_fast import CLIPTokenizerFast as TheirFast

    from clip_core.tokenizer.clip import CLIPTokenizer
    from clip_core.tokenizer.fast import CLIPTokenizerFast

    transformers.logging.set_verbosity_error()
    folder = os.environ["TOKENIZER_FOLDER"]
    return {
        "transformers fast": lambda: TheirFast.from_pretrained(folder),
        "CLIPTokenizerFast": lambda: CLIPTokenizerFast.from_pretrained(folder),
        "CLIPTokenizer": lambda: CLIPTokenizer.from_pretrained(folder),
    }


def main() -> None:
    import tempfile

    from clip_core.tokenizer.clip import CLIPTokenizer

    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    texts = captions()
    with tempfile.TemporaryDirectory() as folder:
        CLIPTokenizer().save_pretrained(folder)
        os.environ["TOKENIZER_FOLDER"] = folder
        makers = tokenizers()
        seconds: dict[tuple[str, str], list[float]] = {
            (name, kind): [] for name in makers for kind in ("first", "again")
        }
        for _ in range(ROUNDS):
            made = {name: make() for name, make in makers.items()}
            for kind in ("first", "again"):
                for name, tokenizer in made.items():
                    start = time.process_time()
                    tokenizer(texts, padding=True, truncation=True, max_length=77, return_tensors="np")
                    seconds[name, kind].append(time.process_time() - start)
    for (name, kind), taken in seconds.items():
        base = seconds["transformers fast", kind]
        ratio = statistics.median(a / b for a, b in zip(taken, base, strict=True))
        per_text = 1e6 * statistics.median(taken) / len(texts)
        print(f"{name:<18} {kind:<6} {per_text:7.1f} µs a caption  {ratio:6.3f} times transformers fast")


if __name__ == "__main__":
    main()
