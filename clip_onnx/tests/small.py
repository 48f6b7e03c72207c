"""A small model for tests, its sizes all distinct, and what it is called with."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.config import CLIPConfig
from clip_onnx import CLIPModel

CONFIG = CLIPConfig.from_dict(
    {
        "projection_dim": 6,
        "text_config": {
            "vocab_size": 41,
            "hidden_size": 12,
            "intermediate_size": 28,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "max_position_embeddings": 9,
            "eos_token_id": 37,
        },
        "vision_config": {
            "hidden_size": 20,
            "intermediate_size": 44,
            "num_hidden_layers": 1,
            "num_attention_heads": 5,
            "image_size": 21,
            "patch_size": 7,
        },
    }
)
END = 37


def model(**options: Any) -> CLIPModel:
    """With drawn weights."""
    return CLIPModel(CONFIG, seed=4, threads=1, **options)


def texts() -> dict[str, NDArray[Any]]:
    """Two, of which the second is shorter."""
    ids = np.array([[3, 40, 9, 11, END], [8, END, 0, 0, 0]])
    return {"input_ids": ids, "attention_mask": np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])}


def pixels(count: int = 3) -> NDArray[np.float32]:
    """Images of noise."""
    return np.random.default_rng(5).standard_normal((count, 3, 21, 21)).astype(np.float32)
