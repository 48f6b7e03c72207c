import json
import shutil

import pytest

from clip_core.errors import CheckpointFormatError
from weights_convert import open_source


@pytest.mark.parametrize(
    ("part", "setting"),
    [
        ("vision_cfg", {"timm_model_name": "vit"}),
        ("vision_cfg", {"ls_init_value": 1e-4}),
        ("vision_cfg", {"pool_type": "avg"}),
        ("text_cfg", {"hf_model_name": "roberta"}),
        ("text_cfg", {"no_causal_mask": True}),
        ("text_cfg", {"pool_type": "eos", "eos_id": 2}),
        ("text_cfg", {"tokenizer_kwargs": {"clean": "canonicalize"}}),
        ("text_cfg", {"tokenizer_kwargs": {"clean": "canonicalize"}, "hf_tokenizer_name": "."}),
    ],
)
def test_open_clip_architectures_that_are_not_clip(in_format, tmp_path, part, setting):
    shutil.copytree(in_format["open_clip"], tmp_path / "other")
    config = json.loads((tmp_path / "other/open_clip_config.json").read_text())
    config["model_cfg"][part].update(setting)
    (tmp_path / "other/open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointFormatError, match=f"{next(iter(setting))}|first id 2"):
        open_source(tmp_path / "other")
