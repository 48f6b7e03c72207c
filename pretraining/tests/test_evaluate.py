from __future__ import annotations

from pathlib import Path

import numpy as np

from pretraining.concepts import Concept
from pretraining.evaluate import compare, on_white, scores, unit_length
from pretraining.render import Drawings

CONCEPTS = tuple(
    Concept(codepoints=str(i), group=group, names=(f"name {i}",), keywords=(), shortcodes=())
    for i, group in enumerate(["Objects"] * 7 + ["Flags"] * 5)
)
SHOWN = np.array([0, 3, 7, 9])


def with_ranks(ranks: list[int]) -> np.ndarray:
    """Similarities ``[drawing, name]`` in which the right name has the given rank."""
    similarity = np.zeros((len(ranks), len(CONCEPTS)))
    for row, own, rank in zip(similarity, SHOWN, ranks, strict=True):
        row[own] = 0.5
        row[[i for i in range(len(CONCEPTS)) if i != own][: rank - 1]] = 0.9
    return similarity


def test_scores_count_ranks_overall_and_by_group() -> None:
    result = scores(with_ranks([1, 6, 1, 11]), SHOWN, CONCEPTS)
    assert result["all"] == {"drawings": 4, "top 1": 50, "top 5": 50, "top 10": 75, "median rank": 3.5}
    assert result["without flags"] == result["Objects"]
    assert result["Objects"] == {"drawings": 2, "top 1": 50, "top 5": 50, "top 10": 100, "median rank": 3.5}
    assert result["Flags"]["top 10"] == 50


def test_compare_says_when_backends_differ(tmp_path: Path) -> None:
    drawings = Drawings(pixels=np.zeros((4, 2, 2, 4), np.uint8), concepts=SHOWN, variants=np.zeros(4))
    np.save(tmp_path / "flax.npy", with_ranks([1, 6, 1, 11]))
    np.save(tmp_path / "torch.npy", with_ranks([1, 6, 1, 11]) + 1e-7)
    result = compare(tmp_path, drawings, CONCEPTS)
    assert result["backends"] == ["flax", "torch"]
    assert result["equal scores"]
    assert 0 < result["largest difference of a cosine"] < 2e-7
    np.save(tmp_path / "tf.npy", with_ranks([1, 6, 2, 11]))
    assert not compare(tmp_path, drawings, CONCEPTS)["equal scores"]


def test_drawings_are_put_on_white_by_their_alpha() -> None:
    pixels = np.array([[10, 20, 30, 0], [10, 20, 30, 255], [10, 20, 30, 51]], np.uint8)
    assert on_white(pixels).tolist() == [[255, 255, 255], [10, 20, 30], [206, 208, 210]]


def test_unit_length() -> None:
    assert np.allclose(np.linalg.norm(unit_length(np.array([[3.0, 4], [0.1, 0]])), axis=1), 1)
