"""LiteRT: what Keras exports of our models, run by LiteRT's own package, without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter

from conformance_tests.clients.keras_exports import Run, add_trials


def _load(path: Path) -> Run:
    runner = Interpreter(model_path=str(path)).get_signature_runner()

    def run(batch: dict[str, Any]) -> dict[str, Any]:
        return dict(runner(**batch))

    return run


add_trials("litert", ".tflite", _load)
