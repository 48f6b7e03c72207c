"""Configurations for tests in which no two sizes are equal, so that no swapped axis goes unnoticed."""

from dataclasses import replace

from clip_core.config import CLIPConfig, CLIPVisionConfig

DISTINCT = CLIPConfig(
    text_config={
        "vocab_size": 61,
        "hidden_size": 24,
        "intermediate_size": 52,
        "projection_dim": 18,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "max_position_embeddings": 11,
        "eos_token_id": 60,
        "bos_token_id": 59,
    },
    vision_config={
        "hidden_size": 20,
        "intermediate_size": 44,
        "projection_dim": 18,
        "num_hidden_layers": 3,
        "num_attention_heads": 5,
        "image_size": 30,
        "patch_size": 7,
    },
    projection_dim=18,
)

# a text tower of the default vocabulary, and image blocks whose wide layers are told from all else
IMAGES = CLIPConfig(
    text_config={"hidden_size": 24, "intermediate_size": 32, "num_attention_heads": 3, "num_hidden_layers": 1},
    vision_config={
        "hidden_size": 40,
        "intermediate_size": 56,
        "num_attention_heads": 5,
        "num_hidden_layers": 3,
        "image_size": 28,
        "patch_size": 7,
    },
    projection_dim=18,
)

RESNET = replace(
    DISTINCT,
    vision_config=CLIPVisionConfig(
        stage_depths=(1, 2, 1, 3), hidden_size=320, num_attention_heads=5, image_size=96, projection_dim=18
    ),
)
