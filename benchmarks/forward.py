"""How fast the models run, as ratios to transformers 4.57 in the same process.

Run with ``python -m benchmarks.forward [torch|tf|flax ...]``. A ViT-B/32-shaped model with fewer layers, the same
weights in both libraries, calls in turns, so that a busy computer slows both alike; each ratio is the median over the
turns.
Below 1 is faster than transformers. TensorFlow and JAX functions are compiled, as their users run them.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

TURNS = 15
BATCH = 8


def save_checkpoint_to(directory: str) -> None:
    """A seeded checkpoint of ViT-B/32's sizes with 3 layers in each tower."""
    from clip_core.checkpoint.directory import save_checkpoint
    from clip_core.config import CLIPConfig
    from clip_core.initialization import draw_weights

    layers = {"num_hidden_layers": 3}
    config = CLIPConfig(text_config=layers, vision_config=layers)
    save_checkpoint(directory, config, dict(draw_weights(config, seed=0)), architecture="CLIPModel")


def inputs() -> dict[str, Any]:
    """A batch of images and of texts, all of full length."""
    generator = np.random.default_rng(0)
    ids = generator.integers(0, 49000, (BATCH, 77))
    ids[:, -1] = 49407
    pixels = generator.standard_normal((BATCH, 3, 224, 224), np.float32)
    return {"input_ids": ids, "pixel_values": pixels, "attention_mask": np.ones_like(ids)}


def torch_calls(directory: str) -> dict[str, Callable[[], Any]]:
    """Both libraries' models for PyTorch."""
    import torch
    import transformers

    from clip_torch import CLIPModel

    batch = {name: torch.from_numpy(value) for name, value in inputs().items()}

    def call(model: Any) -> Callable[[], Any]:
        def run() -> Any:
            with torch.no_grad():
                return model(**batch).logits_per_image

        return run

    theirs = transformers.CLIPModel.from_pretrained(directory).eval()
    return {"triclip": call(CLIPModel.from_pretrained(directory)), "transformers": call(theirs)}


def tf_calls(directory: str) -> dict[str, Callable[[], Any]]:
    """Both libraries' models for TensorFlow, as ``tf.function``."""
    import tensorflow as tf
    import transformers

    from clip_tf import TFCLIPModel

    batch = {name: tf.constant(value) for name, value in inputs().items()}

    def call(model: Any) -> Callable[[], Any]:
        function = tf.function(lambda **values: model(values).logits_per_image)
        return lambda: function(**batch).numpy()

    theirs = transformers.TFCLIPModel.from_pretrained(directory, from_pt=True)
    return {"triclip": call(TFCLIPModel.from_pretrained(directory)), "transformers": call(theirs)}


def flax_calls(directory: str) -> dict[str, Callable[[], Any]]:
    """Both libraries' models for JAX, in their functional form under ``jax.jit``."""
    import jax
    import transformers

    from clip_flax import FlaxCLIPModel

    batch = inputs()

    def call(model: Any) -> Callable[[], Any]:
        function = jax.jit(lambda params, values: model(**values, params=params).logits_per_image)
        params = model.params
        return lambda: function(params, batch).block_until_ready()

    theirs = transformers.FlaxCLIPModel.from_pretrained(directory, from_pt=True)
    return {"triclip": call(FlaxCLIPModel.from_pretrained(directory)), "transformers": call(theirs)}


CALLS = {"torch": torch_calls, "tf": tf_calls, "flax": flax_calls}


def measure(backend: str) -> None:
    """Prints the line of one backend."""
    with tempfile.TemporaryDirectory() as directory:
        save_checkpoint_to(directory)
        calls = CALLS[backend](directory)
        for call in calls.values():  # compiles
            call()
        turns = [{name: seconds(call) for name, call in calls.items()} for _ in range(TURNS)]
    ours = statistics.median(turn["triclip"] for turn in turns)
    ratio = statistics.median(turn["triclip"] / turn["transformers"] for turn in turns)
    print(f"{backend:<8} {ours:8.3f} s  {ratio:6.2f} times transformers", flush=True)


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Measures one backend in this process, or each in a process of its own."""
    backends = sys.argv[1:] or list(CALLS)
    if len(backends) == 1:
        measure(backends[0])
        return
    for backend in backends:
        environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.forward", backend]
        subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
