"""Every number of the recipe: change one here and `python -m pretraining` makes another model."""

from __future__ import annotations

from dataclasses import dataclass

from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from pretraining.icons import TRAINING_STYLES

MERGE_COUNT = 2558
"""Of CLIP's 48,894 merges; with the 512 byte symbols and the two special tokens that makes 3,072 tokens."""
VOCAB_SIZE = 512 + MERGE_COUNT + 2
CONTEXT_LENGTH = 32
IMAGE_SIZE = 64


def model_config() -> CLIPConfig:
    """The architecture: 3.2 million weights, 13 MB in float32."""
    text = CLIPTextConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=128,
        intermediate_size=512,
        projection_dim=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT_LENGTH,
        bos_token_id=VOCAB_SIZE - 2,
        eos_token_id=VOCAB_SIZE - 1,
        pad_token_id=VOCAB_SIZE - 1,
        hidden_act="quick_gelu",
    )
    vision = CLIPVisionConfig(
        hidden_size=192,
        intermediate_size=640,
        projection_dim=128,
        num_hidden_layers=6,
        num_attention_heads=3,
        image_size=IMAGE_SIZE,
        patch_size=8,
        hidden_act="quick_gelu",
    )
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=128)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the model is trained; sides are pixels."""

    steps: int
    low_side: int
    """Side of the images of the first `low_steps` steps; the position embeddings are resampled for them."""
    low_steps: int
    decay_steps: int
    """The last steps, over which the learning rate falls to zero."""
    styles: tuple[str, ...] = TRAINING_STYLES
    batch_size: int = 256
    negatives: int = 256
    """Concepts whose captions join each batch without an image."""
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.98)
    max_gradient_norm: float = 1.0
    max_logit_scale: float = 100.0
    averaging: float = 0.998
    """Decay of the running mean of the weights; the mean is what ships."""
    seed: int = 0


RECIPE = Recipe(steps=4050, low_side=48, low_steps=3650, decay_steps=1050)
