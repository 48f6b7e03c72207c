"""What each client needs: the newest versions that install and work together, on the date in ``docs/clients.md``."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version


@dataclass(frozen=True)
class Environment:
    """An environment of a client.

    Attributes:
        module: of this package, which has the trials.
        distribution: the client's name among installed packages, whose version is shown.
        requirements: what pip installs, beside Triclip's own dependencies.
    """

    module: str
    distribution: str
    requirements: tuple[str, ...]

    def client(self) -> str:
        """Name and version of the client, as installed here."""
        return f"{self.distribution} {version(self.distribution)}"


_TORCH_4 = ("torch>=2.13", "transformers==4.57.6")
_OPEN_CLIP = ("torch>=2.14", "torchvision", "transformers==4.57.6")
_KERAS = ("tensorflow>=2.21", "keras>=3.15")
_TORCH_5 = ("torch>=2.13", "transformers>=5.24")

ENVIRONMENTS = {
    # diffusers 0.37 and newer want a huggingface_hub that transformers 4.57 refuses
    "diffusers": Environment(
        "diffusion", "diffusers", (*_TORCH_4, "diffusers==0.36.0", "peft>=0.21", "accelerate>=1.15")
    ),
    "transformers-4": Environment("transformers_code", "transformers", (*_TORCH_4, "accelerate>=1.15")),
    "transformers-5": Environment("transformers_code", "transformers", (*_TORCH_5, "accelerate>=1.15")),
    "peft": Environment("peft_adapters", "peft", (*_TORCH_4, "peft>=0.21")),
    "accelerate": Environment("accelerated", "accelerate", (*_TORCH_4, "accelerate>=1.15")),
    "sentence-transformers": Environment(
        "sentences", "sentence-transformers", (*_TORCH_5, "sentence-transformers>=6.2")
    ),
    "torchmetrics": Environment("scores", "torchmetrics", (*_TORCH_4, "torchmetrics>=1.9")),
    "torchao": Environment("quantised", "torchao", (*_TORCH_5, "torchao>=0.18")),
    "open_clip": Environment("open_clip_code", "open_clip_torch", (*_OPEN_CLIP, "open_clip_torch>=3.3")),
    "onnxruntime-torch": Environment(
        "onnx_of_torch", "onnxruntime", ("torch>=2.13", "onnx>=1.23", "onnxscript>=0.7", "onnxruntime>=1.32")
    ),
    "onnxruntime-keras": Environment("onnx_of_keras", "onnxruntime", (*_KERAS, "tf2onnx>=1.17", "onnxruntime>=1.32")),
    "litert": Environment("litert_of_keras", "ai-edge-litert", (*_KERAS, "ai-edge-litert>=2.3")),
    "keras-hub": Environment("keras_hub_beside", "keras-hub", (*_KERAS, "keras-hub>=0.32")),
    "orbax": Environment(
        "orbax_states", "orbax-checkpoint", ("jax>=0.10.2", "flax>=0.12.8", "orbax-checkpoint>=0.12.8")
    ),
}
