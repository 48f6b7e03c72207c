"""The format that docs/adding.md invents works as it stands there: nothing but its record is needed."""

import re
from pathlib import Path

import pytest

from clip_core.checkpoint.safetensors_file import SafetensorsFile
from clip_core.errors import InputError
from weights_convert import FORMATS, convert, diff, inspect
from weights_convert.format import Format
from weights_convert.tests import checkpoints

PAGE = Path(__file__).parents[3] / "docs/adding.md"


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> Format:
    """The record of the page, registered."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    module: dict[str, object] = {}
    exec(compile(code, str(PAGE), "exec"), module)
    monkeypatch.setitem(FORMATS, "acme", module["ACME"])
    return module["ACME"]


def test_the_format_of_the_page_is_written_recognised_and_read(acme, source, tmp_path):
    convert(source, tmp_path / "out", to="acme")
    assert inspect(tmp_path / "out").format == "acme"
    assert diff(source, tmp_path / "out").same
    convert(tmp_path / "out", tmp_path / "back", to="hf")
    assert diff(source, tmp_path / "back").same
    stored = SafetensorsFile(tmp_path / "out/acme.safetensors")
    given = checkpoints.weights()["text_model.encoder.layers.1.self_attn.q_proj.weight"]
    assert (stored["words/blocks/1/attention/q_proj/kernel"] == given.T).all()
    assert stored["temperature"] == checkpoints.weights()["logit_scale"]


def test_the_format_of_the_page_refuses_what_it_cannot_say(acme, in_format, tmp_path):
    path = tmp_path / "in"
    convert(in_format["hf"], path, to="hf")
    config = path / "config.json"
    config.write_text(config.read_text().replace('"quick_gelu"', '"gelu"'))
    with pytest.raises(InputError, match="Acme: has quick_gelu only"):
        convert(path, tmp_path / "out", to="acme")
