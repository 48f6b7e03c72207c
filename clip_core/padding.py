"""How much of a batch of texts the pooled output depends on: nothing behind the last end of text.

The text tower is causal, and the result is read at the end of a text. So the columns behind the last end, which are
most of a batch that is padded to the whole context, can be left out, and with them a mask that hides only what is
behind an end. The values are needed to know, so this is done where they lie in host memory, outside of any graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.checks import LEGACY_EOS_TOKEN_ID
from clip_core.config import CLIPTextConfig

LENGTHS = (8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64)
"""Of texts where each new length is compiled anew; what is longer stays as it is."""


def needed(ids: NDArray[Any], mask: NDArray[Any] | None, config: CLIPTextConfig) -> tuple[int, bool]:
    """How many columns the pooled output depends on, and whether it depends on the mask.

    Args:
        ids, mask: ``[batch, token]``, which passed `clip_core.checks.check_text_values`.
        config: of the text tower; the end of a text is where its towers pool.
    """
    if not ids.size:
        return ids.shape[1], mask is not None
    if config.eos_token_id == LEGACY_EOS_TOKEN_ID:
        ends = ids.argmax(axis=-1)  # [batch]
    else:
        ends = (ids == config.eos_token_id).argmax(axis=-1)  # [batch]
    seen = np.arange(ids.shape[1]) <= ends[:, None]  # [batch, token]
    return int(ends.max()) + 1, mask is not None and bool((seen & (mask == 0)).any())


def rounded_up(length: int, longest: int) -> int:
    """The next of `LENGTHS`, at most ``longest``."""
    return min(next((known for known in LENGTHS if known >= length), longest), longest)
