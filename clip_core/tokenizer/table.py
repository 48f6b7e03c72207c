"""The token table: a vocabulary and the tokens that were added to it, from ids to tokens and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from clip_core.errors import CheckpointFormatError, InputError


@dataclass(frozen=True, kw_only=True)
class AddedToken:
    """A token that is found in the text before it is split into words.

    `single_word` asks for spaces around it; the other flags matter to the fast tokenizer and to files only.
    """

    content: str
    lstrip: bool = False
    normalized: bool = True
    rstrip: bool = False
    single_word: bool = False
    special: bool = False

    @classmethod
    def of(cls, token: Any, *, special: bool = False) -> Self:
        """From a string, from the entry of a file, or from the `AddedToken` of another library."""
        if isinstance(token, str):
            return cls(content=token, normalized=not special, special=special)
        flags = token if isinstance(token, Mapping) else {name.name: getattr(token, name.name) for name in fields(cls)}
        known = {flag.name: flags[flag.name] for flag in fields(cls) if flag.name in flags}
        return cls(**{**known, "special": special or bool(known.get("special"))})


class TokenTable:
    """A vocabulary and what was added to it.

    Attributes:
        vocabulary: the token ids of the table as it was saved, without added tokens.
        ids: every token with its id, added ones included.
        added: the tokens taken out of a text before it is split into words, special ones included, by id. A new dict
            whenever it changes.
    """

    def __init__(self, vocabulary: dict[str, int]) -> None:
        self.vocabulary = vocabulary
        self.ids = dict(vocabulary)
        self.added: dict[int, AddedToken] = {}
        self._tokens = {index: token for token, index in vocabulary.items()}

    @property
    def vocab_size(self) -> int:
        """Number of tokens without added ones."""
        return len(self.vocabulary)

    def __len__(self) -> int:
        return len(self.ids)

    def id_of(self, token: str) -> int | None:
        """The id of a token, if there is such a token."""
        return self.ids.get(token)

    def token_of(self, index: int) -> str | None:
        """The token of an id, if there is such an id."""
        return self._tokens.get(index)

    def add(self, tokens: Sequence[AddedToken]) -> int:
        """Add tokens, those that are new at the end of the vocabulary; how many were new."""
        before = len(self.ids)
        placed = {}
        for token in tokens:
            index = self.ids.get(token.content)
            placed[self._place(token, max(self._tokens, default=-1) + 1 if index is None else index)] = token
        self.added = dict(sorted({**self.added, **placed}.items()))
        return len(self.ids) - before

    def restore(self, added: Mapping[int, AddedToken]) -> None:
        """Add saved tokens under the ids that they had.

        Raises:
            CheckpointFormatError: an id is another token's.
        """
        for index, token in added.items():
            if self._tokens.get(index, token.content) != token.content:
                raise CheckpointFormatError(
                    f"expected id {index} to be free for the added token {token.content!r}, "
                    f"it is {self._tokens[index]!r} in the vocabulary"
                )
            self._place(token, index)
        self.added = dict(sorted({**self.added, **added}.items()))

    def _place(self, token: AddedToken, index: int) -> int:
        self.ids[token.content] = index
        self._tokens[index] = token.content
        return index


def known_id(id_of: Callable[[str], int | None], token: str, unk_token: str) -> int:
    """The id that a table's `id_of` gives for a token, or that of the unknown token.

    Raises:
        InputError: the table has neither.
    """
    index = id_of(token)
    if index is None:
        index = id_of(unk_token)
    if index is None:
        raise InputError(f"{token!r} is not in the vocabulary, and neither is the unknown token {unk_token!r}")
    return index
