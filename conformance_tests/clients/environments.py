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

ENVIRONMENTS = {
    # diffusers 0.37 and newer want a huggingface_hub that transformers 4.57 refuses
    "diffusers": Environment(
        "diffusion", "diffusers", (*_TORCH_4, "diffusers==0.36.0", "peft>=0.21", "accelerate>=1.15")
    ),
}
