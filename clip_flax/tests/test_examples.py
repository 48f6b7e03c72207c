"""The program of examples/ for JAX is executed as it stands there."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
FINETUNE = ROOT / "examples" / "finetune_jax.py"


def test_fine_tuning_learns_in_the_text_tower_alone(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [str(FINETUNE), str(tmp_path / "new")])
    names = runpy.run_path(str(FINETUNE), run_name="__main__")
    shares = [int(share) for share in re.findall(r"(\d+)% of the pictures", capsys.readouterr().out)]
    assert (shares[0] < 50, shares[-1]) == (True, 100)
    before, after = (names["FlaxCLIPModel"].from_pretrained(name) for name in ("triclip-emoji", tmp_path / "new"))
    same = names["jax"].tree.map(np.array_equal, before.params, after.params)
    assert all(names["jax"].tree.leaves([same["vision_model"], same["visual_projection"], same["logit_scale"]]))
    assert not any(names["jax"].tree.leaves([same["text_projection"], same["text_model"]["final_layer_norm"]]))
