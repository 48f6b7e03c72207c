"""Texts to ids in the graph: words by a regular expression, merges by a table of pairs.

What needs Unicode's tables or ftfy cannot be had of TensorFlow, so texts beyond ASCII are an error, never other ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from clip_core.errors import ConfigError, InputError, InputTypeError
from clip_core.tokenizer.clip import CLIPTokenizer
from clip_core.tokenizer.text import END_OF_WORD, WORD_PATTERN
from clip_tf.in_graph.layer import GraphLayer, require

LONGEST_WORD = 256
"""In letters: merging takes a step for each."""

_PLAIN = r"[\t\n\r -~]*"
_REFERENCE = r"(?s).*&(#|[0-9A-Za-z]{2}).*"  # what may be a character reference, such as &amp; or &lt
_FIRST, _LAST = ord("!"), ord("~")
_NO_MERGE = np.iinfo(np.int64).max
_RANK = 2**20  # a rank counts so much in the value of a pair; the rest is the id that the pair becomes
_PLACES = 2**16  # of a word, more than LONGEST_WORD
_PROBES = [
    *("", " a\tphoto\n OF  a cat.", "don't they'll 2026 (x) -- isn't 'sup", "Tom & Jerry's R&D, #1!", "zzzz" * 16),
    "antidisestablishmentarianism supercalifragilistic qxjkvbwz https://a.b/c?d=e_f",
]


@keras.saving.register_keras_serializable(package="triclip")
class TFCLIPTokenizer(GraphLayer):
    """CLIP's tokenizer as a layer: in ``dataset.map``, in a functional model, in a SavedModel that takes strings.

    The ids of `CLIPTokenizer`, for texts of printable ASCII. All else is an error when the graph runs: other
    characters, what may be a character reference (``&`` and two letters or digits, ``&#``), a special or added token, a
    word of more than `LONGEST_WORD` letters.

    Args:
        tokenizer: whose table and settings are taken, those of OpenAI's CLIP without.
        max_length: of a row, in tokens with the special ones; the tokenizer's `model_max_length` without.
        padding: "longest", as long as the longest text of the batch needs, or "max_length".
        truncation: whether longer texts are cut; an error otherwise.

    Raises:
        ConfigError, InputError: a tokenizer that does otherwise than the layer can, or no length.
    """

    def __init__(
        self,
        tokenizer: CLIPTokenizer | None = None,
        *,
        max_length: int | None = None,
        padding: str = "longest",
        truncation: bool = False,
        **keywords: Any,
    ) -> None:
        super().__init__(**keywords)
        if padding not in ("longest", "max_length"):
            raise InputError(f"padding: expected 'longest' or 'max_length', got {padding!r}.")
        self.max_length, self.padding, self.truncation = max_length, padding, truncation
        self._take(CLIPTokenizer() if tokenizer is None else tokenizer)

    @classmethod
    def from_pretrained(cls, name_or_path: str | PathLike[str], **keywords: Any) -> Self:
        """With the tokenizer of a checkpoint; keywords are the layer's."""
        return cls(CLIPTokenizer.from_pretrained(name_or_path), **keywords)

    def _take(self, tokenizer: CLIPTokenizer) -> None:
        if type(tokenizer) is not CLIPTokenizer:
            raise InputTypeError(f"tokenizer: expected a CLIPTokenizer, got {type(tokenizer).__name__}.")
        self.tokenizer, self._length = tokenizer, int(self.max_length or tokenizer.model_max_length)
        if not 2 <= self._length < 2**31:
            raise InputError(f"max_length: expected 2 or more, as the model takes, got {self._length:.9g}. Pass it.")
        ids = tokenizer.get_vocab()
        letters = [chr(code) for code in range(_FIRST, _LAST + 1)]
        try:
            self._symbols = np.array([[ids[a + end] for a in letters] for end in ("", END_OF_WORD)], np.int64)
            keys, values = _pair_table(tokenizer.merges, ids)
        except KeyError as error:
            raise ConfigError(f"TFCLIPTokenizer: expected {error} in the vocabulary, which lacks it.") from None
        with tf.init_scope():
            self._pairs = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), _NO_MERGE)
            special = [token.lower() for token in tokenizer.added_tokens_encoder]
            probes = [text for text in _PROBES if not any(token in text.lower() for token in special)]
            expected = tokenizer(probes, padding=True, truncation=True, max_length=self._length)
            for name, found in self._encoded(tf.constant(probes), truncation=True, padding="longest").items():
                if expected[name] != found.numpy().tolist():
                    raise ConfigError(f"TFCLIPTokenizer: cannot do in the graph what {tokenizer!r:.200} does.")

    def call(self, texts: Any) -> dict[str, Any]:
        """``input_ids`` and ``attention_mask``, int32, ``[text, token]``; ``[token]`` for a single text.

        Args:
            texts: strings ``[text]``, or a string.

        Raises:
            InputTypeError, InputError: no strings, or more axes than one.
            tf.errors.InvalidArgumentError: a text that the layer cannot encode as `CLIPTokenizer` does, or that is
                longer than ``max_length``, when the graph runs.
        """
        texts = tf.convert_to_tensor(texts)
        if texts.dtype != tf.string:
            raise InputTypeError(f"texts: expected strings, got {texts.dtype.name}.")
        if texts.shape.rank not in (0, 1):
            raise InputError(f"texts: expected a string or strings [text], got {texts.shape}.")
        rows = self._encoded(tf.reshape(texts, [-1]), self.truncation, self.padding)
        return {name: row[0] for name, row in rows.items()} if texts.shape.rank == 0 else rows

    def _encoded(self, texts: Any, truncation: bool, padding: str) -> dict[str, Any]:
        words = tf.strings.split(tf.strings.regex_replace(self._cleaned(texts), f"({WORD_PATTERN})", r" \1 "))
        different, places = tf.unique(words.values)
        tokens = tf.gather(self._split(different), places)  # [word, (token)]
        rows = tf.RaggedTensor.from_row_splits(tokens, words.row_splits).merge_dims(1, 2)  # [text, (token)]
        rows = rows[:, : self._length - 2] if truncation else rows
        start, end, pad = (
            tf.cast(index, tf.int64)
            for index in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id)
        )
        column = tf.ones_like(rows.row_lengths())[:, None]
        rows = tf.concat([start * column, rows, end * column], axis=1)
        lengths = rows.row_lengths()
        require(
            lengths <= self._length,
            f"texts: expected at most {self._length} tokens. Pass truncation=True, or shorten",
            [tf.boolean_mask(texts, lengths > self._length)[:1]],
        )
        shape = [None, self._length if padding == "max_length" else None]
        ids = tf.cast(rows.to_tensor(pad, shape=shape), tf.int32)
        return {"input_ids": ids, "attention_mask": tf.sequence_mask(lengths, tf.shape(ids)[1], tf.int32)}

    def _cleaned(self, texts: Any) -> Any:
        lower = tf.strings.lower(texts)
        is_fine = tf.strings.regex_full_match(lower, _PLAIN) & ~tf.strings.regex_full_match(lower, _REFERENCE)
        for token in self.tokenizer.added_tokens_encoder:
            part = "".join(f"\\x{{{ord(letter):x}}}" for letter in token.lower())
            is_fine &= ~tf.strings.regex_full_match(lower, f"(?s).*{part}.*")
        checked = require(
            is_fine,
            "texts: expected printable ASCII, without special tokens and without what may be a character reference. "
            "Encode with CLIPTokenizer, before the graph",
            [tf.boolean_mask(texts, ~is_fine)[:1]],
        )
        with tf.control_dependencies([checked]):  # or what follows stumbles first, with words of its own
            return tf.identity(lower)

    def _split(self, words: Any) -> Any:
        """The tokens of words in lower case: ``[word, (token)]``."""
        codes = tf.strings.unicode_decode(words, "UTF-8")  # [word, (letter)]
        lengths = codes.row_lengths()
        is_short = lengths <= LONGEST_WORD
        checked = require(is_short, f"texts: expected words of at most {LONGEST_WORD} letters", [words[~is_short][:1]])
        with tf.control_dependencies([checked]):
            letters = tf.cast(codes.to_tensor(_FIRST), tf.int32) - _FIRST
        column = tf.range(tf.shape(letters, tf.int64)[1])[None]  # [1, letter]
        inside, ending = (tf.gather(symbols, letters) for symbols in self._symbols)
        tokens = tf.where(column == lengths[:, None] - 1, ending, inside)
        tokens = tf.where(column < lengths[:, None], tokens, -1)
        shape = tf.TensorShape([None, None])
        _, merged = tf.while_loop(lambda goes_on, _: goes_on, self._merge, [True, tokens], [tf.TensorShape([]), shape])
        return tf.RaggedTensor.from_tensor(merged, lengths=tf.reduce_sum(tf.cast(merged >= 0, tf.int64), axis=1))

    def _merge(self, _: Any, tokens: Any) -> tuple[Any, Any]:
        """In each word the first pair of the lowest rank becomes one token; whether there was one."""
        left, right = tokens[:, :-1], tokens[:, 1:]
        column = tf.range(tf.shape(tokens, tf.int64)[1])[None]
        found = self._pairs.lookup(tf.where(right >= 0, _key(left, right), -1))  # [word, token]
        ranked = tf.where(found < _NO_MERGE, found * _PLACES + column[:, :-1], _NO_MERGE)
        best = tf.reduce_min(ranked, axis=1, keepdims=True)  # the largest number where a word has but one token
        place = tf.where(best < _NO_MERGE, best % _PLACES, _NO_MERGE)
        following = tf.pad(tokens, [[0, 0], [0, 1]], constant_values=-1)[:, 1:]
        moved = tf.where(column > place, following, tokens)
        return tf.reduce_any(best < _NO_MERGE), tf.where(column == place, best // _PLACES % _RANK, moved)

    def save_assets(self, directory: str) -> None:
        self.tokenizer.save_pretrained(directory)

    def load_assets(self, directory: str) -> None:
        self._take(CLIPTokenizer.from_directory(Path(directory)))

    def get_config(self) -> dict[str, Any]:
        own = {"max_length": self.max_length, "padding": self.padding, "truncation": self.truncation}
        return {**super().get_config(), **own}


def _key(left: Any, right: Any) -> Any:
    return left * _RANK + right


def _pair_table(merges: Sequence[tuple[str, str]], ids: dict[str, int]) -> tuple[Any, Any]:
    """Keys and values of the pairs that merge.

    Raises:
        KeyError: a token that is not in the vocabulary.
        ConfigError: more ids than have room, or a merge before one of its parts is made, which one pair at a time
            would not follow.
    """
    if max(ids.values()) >= _RANK:
        raise ConfigError(f"TFCLIPTokenizer: expected ids below {_RANK}, got {max(ids.values())}.")
    made = {first + second: rank for rank, (first, second) in enumerate(merges)}
    keys, values = [], []
    for rank, (first, second) in enumerate(merges):
        if made[first + second] != rank or max(made.get(first, -1), made.get(second, -1)) >= rank:
            raise ConfigError(f"TFCLIPTokenizer: expected merges in the order of their parts, got {first} {second}.")
        keys.append(_key(ids[first], ids[second]))
        values.append(rank * _RANK + ids[first + second])
    return np.array(keys, np.int64), np.array(values, np.int64)
