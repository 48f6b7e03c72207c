"""The program of examples/ for Keras is executed as it stands there."""

import json
import re
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FINETUNE = ROOT / "examples" / "finetune_keras.py"


def test_fine_tuning_learns_and_saves_a_plain_checkpoint(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [str(FINETUNE), str(tmp_path / "new")])
    names = runpy.run_path(str(FINETUNE), run_name="__main__")
    shares = [int(share) for share in re.findall(r"(\d+)% of the pictures", capsys.readouterr().out)]
    assert (shares[0] < 50, shares[-1]) == (True, 100)
    assert json.loads((tmp_path / "new" / "config.json").read_text())["architectures"] == ["CLIPModel"]
    model = names["TFCLIPModel"].from_pretrained(tmp_path / "new")
    processor = names["CLIPProcessor"].from_pretrained(tmp_path / "new")
    image = names["Image"].open("triclip/samples/umbrella.png")
    inputs = processor(text=list(names["CAPTIONS"].values()), images=image, return_tensors="np", padding=True)
    assert int(names["keras"].ops.argmax(model(inputs).logits_per_image)) == list(names["CAPTIONS"]).index("umbrella")
