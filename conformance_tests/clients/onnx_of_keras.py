"""onnxruntime: what Keras exports of our models through tf2onnx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime

from conformance_tests.clients.keras_exports import Run, add_trials


def _load(path: Path) -> Run:
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]

    def run(batch: dict[str, Any]) -> dict[str, Any]:
        return dict(zip(names, session.run(None, batch), strict=True))

    return run


add_trials("onnx", ".onnx", _load)
