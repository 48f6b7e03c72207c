"""Teaches the text tower German words for the sample pictures, the image tower frozen; Flax NNX and Optax."""

import sys

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from PIL import Image

from clip_core import CLIPProcessor
from clip_flax import FlaxCLIPModel

CAPTIONS = {
    "apple": "ein Apfel",
    "banana": "eine Banane",
    "car": "ein Auto",
    "cat": "eine Katze",
    "guitar": "eine Gitarre",
    "mushroom": "ein Pilz",
    "snowman": "ein Schneemann",
    "umbrella": "ein Regenschirm",
}


def main(directory: str = "finetuned") -> None:
    model = FlaxCLIPModel.from_pretrained("triclip-emoji")
    processor = CLIPProcessor.from_pretrained("triclip-emoji")
    images = [Image.open(f"triclip/samples/{name}.png") for name in CAPTIONS]
    pairs = processor(text=list(CAPTIONS.values()), images=images, padding=True, return_tensors="jax").data

    text_tower = nnx.All(nnx.Param, nnx.Any(nnx.PathContains("text_model"), nnx.PathContains("text_projection")))
    graph, trained, frozen = nnx.split(model, text_tower, ...)
    optimizer = optax.adamw(1e-4)

    def loss(trained, frozen, pairs):
        outputs = nnx.merge(graph, trained, frozen)(**pairs, return_loss=True)
        return outputs.loss, jnp.mean(outputs.logits_per_image.argmax(axis=1) == jnp.arange(len(images)))

    @jax.jit
    def step(trained, state, frozen, pairs):
        (value, right), gradients = jax.value_and_grad(loss, has_aux=True)(trained, frozen, pairs)
        updates, state = optimizer.update(gradients, state, trained)
        return optax.apply_updates(trained, updates), state, value, right

    state = optimizer.init(trained)
    for number in range(21):
        trained, state, value, right = step(trained, state, frozen, pairs)
        if number % 5 == 0:
            print(f"after {number:2} steps: loss {value:.2f}, {right:.0%} of the pictures find their caption")

    nnx.update(model, trained)
    model.save_pretrained(directory)  # loads in every framework, and in transformers
    processor.save_pretrained(directory)
    print(f"saved: {directory}")


if __name__ == "__main__":
    main(*sys.argv[1:])
