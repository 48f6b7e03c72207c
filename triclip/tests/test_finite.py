"""Results that are no numbers are errors that name what made them so."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

import triclip
from clip_core.errors import ConfigError, NonFiniteError
from triclip.finite import check_results
from triclip.tests.conftest import changed_copy, draw_picture

LAYER = "text_model.encoder.layers.1.mlp.fc1.bias"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({LAYER: np.nan}, f"vectors of texts are NaN or infinite: so are 80 of 80 numbers of the weight {LAYER}"),
        ({"text_projection.weight": 0.0}, "vectors of texts have no direction: the model projects them to zeros"),
        ({"visual_projection.weight": 0.0}, "vectors of images have no direction"),
        ({"logit_scale": 200.0}, "logits are NaN or infinite: the weight logit_scale is 200, whose exponential is"),
        ({"logit_scale": np.nan}, "logits are NaN or infinite: so are 1 of 1 numbers of the weight logit_scale"),
        ({"visual_projection.weight": 3e38}, "vectors of images are NaN or infinite: all weights are finite, but"),
    ],
)
def test_the_cause_is_named(checkpoint: str, tmp_path: Path, values: dict[str, float], message: str) -> None:
    encoder = triclip.load(changed_copy(checkpoint, tmp_path / "broken", values), "torch")
    with pytest.raises(NonFiniteError, match=message):
        encoder.classify(draw_picture(tmp_path / "p.png", 1), ["cat", "dog"])


def test_features_that_are_zero_are_numbers(checkpoint: str, tmp_path: Path) -> None:
    encoder = triclip.load(changed_copy(checkpoint, tmp_path / "zero", {"text_projection.weight": 0.0}), "torch")
    assert not encoder.encode_texts("cat", normalize=False).any()


def test_another_dtype_is_advised_where_one_is_too_narrow() -> None:
    model = SimpleNamespace(named_weights=lambda: {"logit_scale": np.float32(1)})
    with pytest.raises(NonFiniteError, match="results exceed float16. Compute in float32."):
        check_results(cast(Any, SimpleNamespace(model=model, dtype="float16")), np.float32([np.inf]), "vectors")


def test_statistics_that_divide_by_next_to_nothing_are_refused(checkpoint: str, tmp_path: Path) -> None:
    directory = Path(changed_copy(checkpoint, tmp_path / "broken", {}))
    file = directory / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"image_std": [1e-300] * 3}))
    with pytest.raises(ConfigError, match="image_std.*expected pixel values of at most 1e.06"):
        triclip.load(directory, "torch")


def test_weights_are_looked_at_only_where_there_is_something_to_explain(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = triclip.load(checkpoint, "torch")
    monkeypatch.setattr(encoder._engine.model, "named_weights", None)
    encoder.logits(encoder.encode_texts("cat"), encoder.encode_texts("dog"))
