"""Runs jobs with transformers 4: ``python -m conformance_tests.run_transformers torch|tf|flax JOBS RESULTS``.

Its TensorFlow and Flax models read the very same files (``from_pt=True``). TensorFlow's need ``TF_USE_LEGACY_KERAS=1``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import transformers
from numpy.typing import NDArray

from clip_core.backends import BACKENDS
from conformance_tests.adapter import CLASSES, flat
from conformance_tests.jobs import Job, main


@lru_cache(maxsize=1)
def _loaded(framework: str, kind: str, checkpoint: str) -> Any:
    model_class = getattr(transformers, BACKENDS[framework].class_prefix + CLASSES[kind])
    if framework == "torch":
        return model_class.from_pretrained(checkpoint, attn_implementation="eager").eval()
    return model_class.from_pretrained(checkpoint, from_pt=True)


def _tensor(framework: str, value: NDArray[Any]) -> Any:
    if framework == "torch":
        import torch

        return torch.from_numpy(value)
    if framework == "tf":
        import tensorflow as tf

        return tf.constant(value)
    return value


def _array(value: Any) -> NDArray[Any]:
    return value.detach().numpy() if hasattr(value, "detach") else np.asarray(value)


def _plain(value: Any) -> Any:
    """An output as dicts and tuples."""
    if isinstance(value, transformers.utils.ModelOutput):
        return {name: _plain(inner) for name, inner in value.items()}
    return value


def run(framework: str, job: Job) -> dict[str, NDArray[Any]]:
    """Every array that a job gives."""
    model = _loaded(framework, job.kind, job.checkpoint)
    fields: dict[str, NDArray[Any]] = {}
    if job.inputs:
        inputs = {name: _tensor(framework, value) for name, value in job.inputs.items()}
        fields |= flat(_plain(getattr(model, job.method or "__call__")(**inputs, **job.options)), _array)
    if job.weights:
        fields |= {f"weights.{name}": _array(value) for name, value in model.state_dict().items()}
    return fields


if __name__ == "__main__":
    main(run)
