"""How fast the models run on a GPU, beside transformers and the card's own matrix product.

    python -m benchmarks.gpu [torch|flax ...] [--turns 7] [--model ViT-L/14] [--precision bfloat16]

Random weights of the sizes of ViT-B/32 and ViT-L/14, one process for each framework; calls of both libraries in turns,
each ratio the median over the turns: below 1 is faster than transformers. ``share`` is the arithmetic of the model's
products per second as a part of what the product of two square matrices reaches in the same precision. JAX has no peer:
transformers 5 has no Flax models. ``apart`` is the largest difference between the libraries' results, as a part of
their largest.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.limits import operations
from benchmarks.materials import VIT_L_14
from clip_core.checkpoint.saving import save_checkpoint
from clip_core.config import CLIPConfig
from clip_core.initialization import draw_weights

MODELS: dict[str, dict[str, Any]] = {"ViT-B/32": {}, "ViT-L/14": VIT_L_14}
PRECISIONS = ("float32", "tf32", "bfloat16")
WORK = (("images", 1), ("images", 256), ("texts", 1), ("texts", 256))
SIDE = 8192
"""Of the matrices whose product tells what the card can do."""
Call = Callable[[], Any]


def seconds(call: Call, repetitions: int) -> float:
    """Wall time of one of several calls, which waits for its result."""
    start = time.perf_counter()
    for _ in range(repetitions):
        call()
    return (time.perf_counter() - start) / repetitions


def in_turns(calls: dict[str, Call], turns: int) -> list[dict[str, float]]:
    """The time of every call in every turn, after two calls that do not count."""
    repetitions = {name: max(1, round(0.05 / min(seconds(call, 1), seconds(call, 3)))) for name, call in calls.items()}
    return [{name: seconds(call, repetitions[name]) for name, call in calls.items()} for _ in range(turns)]


def inputs(config: CLIPConfig, what: str, batch: int) -> tuple[str, Any]:
    """The method to call and its argument: images, or texts of the full length."""
    generator = np.random.default_rng(0)
    if what == "images":
        side = config.vision_config.image_size
        return "get_image_features", generator.standard_normal((batch, 3, side, side), np.float32)
    ids = generator.integers(0, 49000, (batch, config.text_config.max_position_embeddings))
    ids[:, -1] = config.text_config.eos_token_id
    return "get_text_features", ids


class TorchSide:
    """Models, inputs and products of PyTorch."""

    def __init__(self, directory: Path, precision: str) -> None:
        import torch
        import transformers

        import clip_torch

        self.torch = torch
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        self.dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        classes: dict[str, Any] = {"triclip": clip_torch.CLIPModel, "transformers": transformers.CLIPModel}
        self.models = {name: c.from_pretrained(directory, dtype=self.dtype).cuda() for name, c in classes.items()}

    def calls(self, method: str, argument: Any) -> dict[str, Call]:
        """A call for each library."""
        value = self.torch.from_numpy(argument).cuda()
        value = value.to(self.dtype) if value.is_floating_point() else value

        def call(model: Any) -> Call:
            def run() -> Any:
                with self.torch.inference_mode():
                    found = getattr(model, method)(value)
                self.torch.cuda.synchronize()
                return getattr(found, "pooler_output", found)

            return run

        return {name: call(model) for name, model in self.models.items()}

    def product(self) -> Call:
        """The product of two square matrices."""
        left, right = (self.torch.randn(SIDE, SIDE, device="cuda", dtype=self.dtype) for _ in range(2))

        def run() -> None:
            left @ right
            self.torch.cuda.synchronize()

        return run

    @staticmethod
    def array(found: Any) -> Any:
        """A result in float64."""
        return found.double().cpu().numpy()


class FlaxSide:
    """The model, inputs and products of JAX."""

    def __init__(self, directory: Path, precision: str) -> None:
        import jax

        from clip_flax import FlaxCLIPModel

        self.jax = jax
        self.dtype = "bfloat16" if precision == "bfloat16" else "float32"
        self.precision = "default" if precision == "tf32" else "highest"
        self.model = FlaxCLIPModel.from_pretrained(directory, dtype=self.dtype, precision=self.precision)

    def calls(self, method: str, argument: Any) -> dict[str, Call]:
        """One call, compiled as docs tell users to."""
        value = self.jax.numpy.asarray(argument)
        value = value.astype(self.dtype) if value.dtype == "float32" else value
        function = self.jax.jit(lambda model, x: getattr(model, method)(x))
        return {"triclip": lambda: function(self.model, value).block_until_ready()}

    def product(self) -> Call:
        """The product of two square matrices."""
        keys = self.jax.random.split(self.jax.random.key(0))
        left, right = (self.jax.random.normal(key, (SIDE, SIDE), self.dtype) for key in keys)
        function = self.jax.jit(lambda a, b: self.jax.numpy.matmul(a, b, precision=self.precision))
        return lambda: function(left, right).block_until_ready()

    @staticmethod
    def array(found: Any) -> Any:
        """A result in float64."""
        return np.asarray(found, np.float64)


SIDES: dict[str, Any] = {"torch": TorchSide, "flax": FlaxSide}


def measure(framework: str, turns: int, models: Iterable[str], precisions: Iterable[str]) -> Iterator[str]:
    """The lines of a framework."""
    for name in models:
        config = CLIPConfig(**MODELS[name])
        with checkpoint(config) as directory:
            for precision in precisions:
                side = SIDES[framework](directory, precision)
                peak = (
                    2
                    * SIDE**3
                    / statistics.median(turn["product"] for turn in in_turns({"product": side.product()}, 5))
                )
                for what, batch in WORK:
                    tower = config.vision_config if what == "images" else config.text_config
                    calls = side.calls(*inputs(config, what, batch))
                    found = {library: side.array(call()) for library, call in calls.items()}
                    rounds = in_turns(calls, turns)
                    ours = statistics.median(turn["triclip"] for turn in rounds)
                    rate = operations(tower, batch) / ours
                    line = f"{framework:<6}{name:<10}{precision:<10}{what:<7}{batch:>4}{1e3 * ours:>10.2f} ms"
                    line += f"{batch / ours:>10.0f} /s{rate / 1e12:>8.1f} TFLOP/s{rate / peak:>8.2f}"
                    if "transformers" in calls:
                        ratio = statistics.median(turn["triclip"] / turn["transformers"] for turn in rounds)
                        apart = np.abs(found["triclip"] - found["transformers"]).max() / np.abs(found["triclip"]).max()
                        line += f"{ratio:>8.2f}{apart:>10.1e}"
                    yield line


@contextmanager
def checkpoint(config: CLIPConfig) -> Iterator[Path]:
    """A directory with seeded weights."""
    with tempfile.TemporaryDirectory() as directory:
        save_checkpoint(directory, config, dict(draw_weights(config, seed=0)), architecture="CLIPModel")
        yield Path(directory)


@click.command()
@click.argument("frameworks", nargs=-1, type=click.Choice(list(SIDES)))
@click.option("--turns", default=7)
@click.option("--model", "models", multiple=True, type=click.Choice(list(MODELS)), default=list(MODELS))
@click.option("--precision", "precisions", multiple=True, type=click.Choice(PRECISIONS), default=PRECISIONS)
def main(frameworks: tuple[str, ...], turns: int, models: tuple[str, ...], precisions: tuple[str, ...]) -> None:
    """Measures each framework in a process of its own."""
    if len(frameworks) == 1:
        for line in measure(frameworks[0], turns, models, precisions):
            print(line, flush=True)
        return
    print(f"{'':<26}{'work':<11}{'time':>13}{'':>13}{'':>16}{'share':>8}{'ratio':>8}{'apart':>10}", flush=True)
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    for framework in frameworks or SIDES:
        command = [sys.executable, "-m", "benchmarks.gpu", framework, "--turns", str(turns)]
        command += [f"--model={model}" for model in models] + [f"--precision={precision}" for precision in precisions]
        subprocess.run(command, check=True, env=environment)


if __name__ == "__main__":
    main()
