"""The byte-pair-encoding table: its files, and how it splits a word into tokens.

Ids of a table made from merges: 256 byte symbols, the same 256 ending a word, one per merge, the two special tokens.
The table of CLIP has 48,894 merges, so 49,408 ids (openai/CLIP, clip/simple_tokenizer.py).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from heapq import heappop, heappush
from itertools import pairwise
from pathlib import Path
from typing import cast

from clip_core.checkpoint.files import read_json, read_small
from clip_core.errors import CheckpointFormatError, CheckpointNotFoundError, InputError
from clip_core.tokenizer.remembered import Remembered
from clip_core.tokenizer.text import END_OF_TEXT, END_OF_WORD, ORDERED_SYMBOLS, START_OF_TEXT, to_symbols

Merge = tuple[str, str]

MERGE_COUNT = 48_894
_BUILTIN_TABLE = Path(__file__).parent / "vocabulary" / "bpe_simple_vocab_16e6.txt.gz"
_MERGES_HEADER = "#version: 0.2"
_MAX_MERGES_BYTES = 10_000_000  # CLIP's file has 0.5
_CLIP_DIGEST = "f61f2adf497e6f5357c347aeb4646fabe82f341e946de5bdec5d2858e41bef4a"
"""Of CLIP's merges. With these, a word that is a token becomes that token, all 34,483; with others it need not."""
_SHORT = 32
"""Symbols. A word of so many is merged faster by looking at all of it again and again than with a heap."""


def digest_of(merges: Sequence[Merge]) -> str:
    """SHA-256 of merges, one a line."""
    return sha256("\n".join(map(" ".join, merges)).encode()).hexdigest()


@cache
def builtin_merges() -> tuple[Merge, ...]:
    """The merges of CLIP, in order, from the table inside the package."""
    lines = gzip.decompress(_BUILTIN_TABLE.read_bytes()).decode("utf-8").split("\n")[1 : MERGE_COUNT + 1]
    return tuple((first, second) for first, second in (line.split() for line in lines))


def vocabulary_of(merges: Sequence[Merge]) -> dict[str, int]:
    """The vocabulary that OpenAI's rule gives for these merges: `514 + len(merges)` tokens."""
    symbols = [*ORDERED_SYMBOLS, *(symbol + END_OF_WORD for symbol in ORDERED_SYMBOLS)]
    tokens = [*symbols, *(first + second for first, second in merges), START_OF_TEXT, END_OF_TEXT]
    return {token: index for index, token in enumerate(tokens)}


def builtin_table(merge_count: int = MERGE_COUNT) -> tuple[dict[str, int], list[Merge]]:
    """Vocabulary and merges of CLIP, or of the smaller table that its first `merge_count` merges make.

    Raises:
        InputError: `merge_count` is negative or more than CLIP has.
    """
    if not 0 <= merge_count <= MERGE_COUNT:
        raise InputError(f"expected between 0 and {MERGE_COUNT} merges, got {merge_count}")
    merges = list(builtin_merges()[:merge_count])
    return vocabulary_of(merges), merges


def read_vocabulary(path: Path) -> dict[str, int]:
    """The token ids of a `vocab.json`.

    Raises:
        CheckpointNotFoundError: no such file.
        CheckpointFormatError: not JSON, or not one distinct id per token.
    """
    return checked_vocabulary(read_json(path), path)


def checked_vocabulary(vocabulary: dict[str, int], path: Path) -> dict[str, int]:
    """The vocabulary itself, if each of its tokens has an id of its own.

    Raises:
        CheckpointFormatError: an id is no whole number of 0 or more, two tokens share one, or there is no token.
    """
    if not set(map(type, vocabulary.values())) <= {int} or min(vocabulary.values(), default=0) < 0:
        token, index = next(item for item in vocabulary.items() if type(item[1]) is not int or item[1] < 0)
        raise CheckpointFormatError(f"{path}: expected the id of token {token!r} to be 0 or more, got {index!r}")
    if not vocabulary or len(set(vocabulary.values())) != len(vocabulary):
        raise CheckpointFormatError(f"{path}: expected one id of its own for each of the {len(vocabulary)} tokens")
    return vocabulary


def read_merges(path: Path, vocabulary: dict[str, int]) -> list[Merge]:
    """The merges of a `merges.txt`: a header line, then two symbols a line, each making a token of the vocabulary.

    Raises:
        CheckpointNotFoundError: no such file.
        CheckpointFormatError: a line is not a merge, makes no token, or the file ends too early; the line is named.
        CheckpointError: it cannot be opened, or is no regular file.
    """
    try:
        text = read_small(path, _MAX_MERGES_BYTES).decode("utf-8")
    except CheckpointNotFoundError:
        raise CheckpointNotFoundError(f"{path}: no such file; it belongs beside vocab.json") from None
    except UnicodeDecodeError as error:
        raise CheckpointFormatError(f"{path}: expected UTF-8 text, got {error}. Fetch the file again.") from None
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")[1:]
    return parse_merges(lines, vocabulary, f"{path}, line", 2)


def parse_merges(lines: Sequence[str], vocabulary: dict[str, int], place: str, first: int) -> list[Merge]:
    """Merges from lines of two symbols; errors name `place` and the number of the line, counted from `first`.

    Lines beyond those that CLIP uses are left out, as OpenAI's tokenizer does with its longer file.

    Raises:
        CheckpointFormatError: as for `read_merges`.
    """
    merges = [tuple(line.split()) for line in lines[:MERGE_COUNT]]
    made = list(map("".join, merges))
    if not (set(map(len, merges)) <= {2} and all(map(vocabulary.__contains__, made))):
        wrong = next(i for i, merge in enumerate(merges) if len(merge) != 2 or made[i] not in vocabulary)
        where, line = f"{place} {first + wrong}", lines[wrong]
        if len(merges[wrong]) != 2:
            raise CheckpointFormatError(f"{where}: expected two symbols, got {line!r:.80}")
        raise CheckpointFormatError(
            f"{where}: {line!r:.80} makes a token that the vocabulary does not have; "
            "the two are not of one tokenizer, or one is cut"
        )
    _check_complete(made, vocabulary, f"{place} {first + len(merges)}")
    return cast(list[Merge], merges)


def _check_complete(made: list[str], vocabulary: dict[str, int], end: str) -> None:
    """Refuse merges, by the tokens that they make, that stop before a token which only a merge could make."""
    symbols = 2 * len(ORDERED_SYMBOLS)
    if [vocabulary[token] for token in made] != list(range(symbols, symbols + len(made))):
        return  # ids in another order tell nothing about what comes next
    after_last = next((token for token, index in vocabulary.items() if index == symbols + len(made)), "")
    splits = ((after_last[:cut], after_last[cut:]) for cut in range(1, len(after_last)))
    if any(left in vocabulary and right in vocabulary for left, right in splits):
        raise CheckpointFormatError(
            f"{end}: expected the merge that makes {after_last!r}, got the end of the merges; "
            "the file is cut. Fetch it again."
        )


def vocabulary_json(vocabulary: dict[str, int]) -> str:
    """The text of `vocab.json` as transformers lays it out."""
    return json.dumps(vocabulary, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def merges_text(merges: Sequence[Merge]) -> str:
    """The text of `merges.txt`."""
    return "\n".join([_MERGES_HEADER, *(f"{first} {second}" for first, second in merges)]) + "\n"


class BytePairEncoder:
    """Splits words into tokens, and remembers the words that it has seen.

    Attributes:
        whole: tokens, ``</w>`` included, that the same word always becomes; none unless the merges are CLIP's.
    """

    def __init__(self, merges: Sequence[Merge]) -> None:
        self.merges = list(merges)
        self._ranks = {merge: rank for rank, merge in enumerate(self.merges)}
        self._seen = Remembered[tuple[str, ...]]()
        is_clip = len(merges) == MERGE_COUNT and digest_of(self.merges) == _CLIP_DIGEST
        self.whole = {first + last for first, last in self.merges if last.endswith(END_OF_WORD)} if is_clip else set()

    def split(self, word: str) -> tuple[str, ...]:
        """The tokens of a word of one character or more, the last ending in `</w>`."""
        tokens = self._seen.get(word)
        if tokens is None:
            symbols = to_symbols(word)
            ended = symbols + END_OF_WORD
            tokens = (ended,) if ended in self.whole else self.merge([*symbols[:-1], symbols[-1] + END_OF_WORD])
            self._seen.put(word, tokens)
        return tokens

    def merge(self, symbols: list[str]) -> tuple[str, ...]:
        """Merge the pair of lowest rank, everywhere from the left, until no neighbours merge."""
        return self._merge_short(symbols) if len(symbols) <= _SHORT else self._merge_long(symbols)

    def _merge_short(self, symbols: list[str]) -> tuple[str, ...]:
        rank_of, none = self._ranks.get, len(self.merges)
        ranks = [rank_of(pair, none) for pair in pairwise(symbols)]  # of each symbol with the next
        while ranks:
            rank = min(ranks)
            if rank == none:
                break
            merged = "".join(self.merges[rank])
            while rank in ranks:  # a pair with what was merged has another rank
                left = ranks.index(rank)
                symbols[left : left + 2] = [merged]
                del ranks[left]
                if left:
                    ranks[left - 1] = rank_of((symbols[left - 1], merged), none)
                if left < len(ranks):
                    ranks[left] = rank_of((merged, symbols[left + 1]), none)
        return tuple(symbols)

    def _merge_long(self, symbols: list[str]) -> tuple[str, ...]:
        """As `merge`, in n log n steps for n symbols: a long text without spaces is one word.

        Candidates wait in a heap by rank and place, and symbols know their neighbours.
        """
        end = len(symbols)
        before, after = list(range(-1, end - 1)), list(range(1, end + 1))
        candidates: list[tuple[int, int]] = []

        def offer(left: int) -> None:
            if left >= 0 and after[left] < end:
                rank = self._ranks.get((symbols[left], symbols[after[left]]))
                if rank is not None:
                    heappush(candidates, (rank, left))

        for left in range(end):
            offer(left)
        while candidates:
            rank = candidates[0][0]
            # All places of this rank go first, even if a merge makes a candidate of lower rank.
            lefts = []
            while candidates and candidates[0][0] == rank:
                lefts.append(heappop(candidates)[1])
            for left in lefts:
                right = after[left]
                if right == end or (symbols[left], symbols[right]) != self.merges[rank]:
                    continue  # a neighbour has merged since
                symbols[left], symbols[right] = symbols[left] + symbols[right], ""
                after[left] = after[right]
                if after[left] < end:
                    before[after[left]] = left
                offer(before[left])
                offer(left)
        return tuple(filter(None, symbols))
