"""Writes the checkpoint directory: weights, configuration, tokenizer, image processor."""

from __future__ import annotations

from pathlib import Path

from clip_core.image.processor import CLIPImageProcessor
from clip_core.tokenizer.bpe import builtin_table
from clip_core.tokenizer.clip import CLIPTokenizer
from clip_torch import CLIPModel
from pretraining.recipe import CONTEXT_LENGTH, IMAGE_SIZE, MERGE_COUNT


def make_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer with the first merges of its table only."""
    vocabulary, merges = builtin_table(MERGE_COUNT)
    return CLIPTokenizer(vocabulary, merges, model_max_length=CONTEXT_LENGTH)


def make_image_processor() -> CLIPImageProcessor:
    """CLIP's image processor for this model's image size."""
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return CLIPImageProcessor(size={"shortest_edge": IMAGE_SIZE}, crop_size=size)


def export(model: CLIPModel, directory: Path) -> None:
    """Writes all files that a user of the checkpoint needs; the model card and notices lie there already."""
    model.save_pretrained(directory)
    make_tokenizer().save_pretrained(directory)
    make_image_processor().save_pretrained(directory)
