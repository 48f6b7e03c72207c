"""A small random checkpoint and some pictures."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_core import CLIPConfig, CLIPImageProcessor, CLIPProcessor, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig
from clip_core.checkpoint.saving import save_checkpoint
from clip_core.initialization import draw_weights

CONTEXT = 20


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of a whole checkpoint with random weights, all sizes distinct."""
    directory = tmp_path_factory.mktemp("checkpoint")
    tokenizer = CLIPTokenizer.from_merges(300, model_max_length=CONTEXT)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=80,
        num_attention_heads=4,
        num_hidden_layers=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=40, intermediate_size=96, num_attention_heads=5, num_hidden_layers=2, image_size=30, patch_size=14
    )
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    weights = dict(draw_weights(config, seed=1, projection=True))
    save_checkpoint(directory, config, weights, architecture="CLIPModel")
    side = {"height": 30, "width": 30}
    CLIPProcessor(CLIPImageProcessor(size={"shortest_edge": 30}, crop_size=side), tokenizer).save_pretrained(directory)
    return str(directory)


def changed_copy(checkpoint: str, directory: Path, values: dict[str, float]) -> str:
    """A copy of a checkpoint in which some weights have one value everywhere."""
    shutil.copytree(checkpoint, directory)
    config = CLIPConfig.from_directory(directory)
    weights = dict(draw_weights(config, seed=1, projection=True))
    weights |= {name: np.full_like(weights[name], value) for name, value in values.items()}
    save_checkpoint(directory, config, weights, architecture="CLIPModel")
    return str(directory)


def draw_picture(path: Path, seed: int) -> Path:
    """Writes a picture of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (33 + seed, 41, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, one of them below, one in a name that is no ASCII; and files that are none."""
    pictures = tmp_path / "pictures"
    draw_picture(pictures / "b.png", 1)
    draw_picture(pictures / "a.JPG", 2)
    draw_picture(pictures / "below" / "猫.png", 3)
    draw_picture(pictures / ".hidden.png", 4)
    (pictures / "notes.txt").write_text("no picture")
    return pictures
