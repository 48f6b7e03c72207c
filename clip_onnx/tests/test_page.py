"""The examples of docs/onnx.md are executed as they stand there, one after the other."""

import re
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "onnx.md"


def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for example in re.findall(r"^```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        here = example.replace('"triclip/samples', f'"{ROOT.as_posix()}/triclip/samples')
        exec(compile(here, str(PAGE), "exec"), names)  # the page is ours
    assert names["best"].tolist() == [1]
    assert names["features"].shape == (1, names["model"].config.projection_dim)
    np.testing.assert_allclose(names["logits"], names["outputs"].logits_per_image, atol=2e-4)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sorted(sizes) == ["clip.onnx", "image.onnx", "text.onnx"]
