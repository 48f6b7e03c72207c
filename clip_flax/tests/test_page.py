"""The examples of docs/jax.md are executed as they stand there, one after the other."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "jax.md"


def test_the_page_runs():
    names = {}
    for example in re.findall(r"^```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        exec(compile(example, str(PAGE), "exec"), names)  # the page is ours
    assert names["embeds"].shape == (2, names["model"].config.projection_dim)
