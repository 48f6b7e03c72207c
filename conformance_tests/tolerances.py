"""Every tolerance of the suite, each with the measured noise that it came from.

An error is the largest difference of a field, divided by the largest expected value of the field (``relative``), or as
it is (logits, which are compared at scale 100, and loss). Noise is the largest error of the three backends' CPU runs
over all generated cases, as the summary of a passing run prints it; a tolerance is a few times that, so that another
CPU's order of summation passes and no defect of ``meta`` does.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """The largest error that passes.

    Attributes:
        limit: of the error.
        noise: the error that was measured.
        relative: whether errors are divided by the largest expected value of their field.
    """

    limit: float
    noise: float
    relative: bool = True


TOLERANCES = {
    "layers": Tolerance(5e-6, 7e-7),
    "layers: std 1e-3": Tolerance(1e-6, 1.7e-7),
    "layers: mean 300": Tolerance(2e-4, 4e-5),  # of float32 at 300, divided by a deviation of 1
    "layers: constant + 1e-4 noise": Tolerance(2e-3, 6.1e-4),  # of float32 at 1, divided by sqrt(eps)
    "blocks": Tolerance(5e-6, 9.4e-7),
    "towers": Tolerance(1e-5, 1.1e-6),
    "classification": Tolerance(1e-5, 1.2e-6),
    "hidden_states": Tolerance(1e-5, 1.2e-6),
    "logits": Tolerance(2e-4, 4e-5, relative=False),
    "loss": Tolerance(1e-4, 1e-5, relative=False),
    "gradients": Tolerance(1e-4, 1.7e-5),
    "step": Tolerance(1e-4, 2.3e-5),
    "statistics": Tolerance(2e-4, 4e-5),
    "compiled": Tolerance(1e-5, 2.4e-6),
    # measured on "legacy", the noisiest case; the rung runs on "base" alone, where bfloat16 has 1.6e-2, float16 3e-3
    "dtypes: bfloat16": Tolerance(6e-2, 3.7e-2),
    "dtypes: float16": Tolerance(1e-2, 4e-3),
    # of each element, not of the field: half a unit in the last place (2^-8, 2^-11), and what float32 adds to it
    "rounded once: bfloat16": Tolerance(4.5e-3, 3.9e-3),
    "rounded once: float16": Tolerance(5.6e-4, 4.9e-4),
    "dtypes: logits": Tolerance(1e-6, 1e-7),  # against the products of the embeddings that come with them
    "traps": Tolerance(1e-5, 1.2e-6),
}
