"""The examples of docs/jax.md are executed as they stand there, one after the other."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "jax.md"


def test_the_page_runs():
    names = {}
    for example in re.findall(r"^```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        exec(compile(example, str(PAGE), "exec"), names)  # the page is ours
    assert names["embeds"].shape == (2, names["model"].config.projection_dim)


def test_what_replaces_code_for_transformers_runs(capsys, monkeypatch):
    monkeypatch.chdir(ROOT / "triclip" / "samples")
    changes = re.findall(r"^```diff\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    printed = []
    for change in changes:
        program = "".join(line[1:] for line in change.splitlines(keepends=True) if line[0] in " +")
        exec(compile(program.replace("openai/clip-vit-base-patch32", "triclip-emoji"), str(PAGE), "exec"), {})
        printed.append(capsys.readouterr().out)
    assert printed[0].startswith("[[0. 1.]] ['logit_scale', 'text_model', ")
    assert printed[1] == "bfloat16 (1, 3, 128) float32\n"
    assert printed[2] == "['embeddings', 'encoder', 'final_layer_norm'] (1, 128)\n"
