import json
import shutil

from clip_core.image.processor import CLIPImageProcessor
from weights_convert import convert
from weights_convert.tests import checkpoints


def test_preprocessor_and_tokenizer_travel_through_every_format(tmp_path):
    path = checkpoints.save(tmp_path / "start")
    files = {
        "preprocessor_config.json": {
            "size": 28,
            "crop_size": 28,
            "image_mean": [0.5, 0.4, 0.3],
            "image_std": [0.2, 0.3, 0.1],
        },
        "vocab.json": {"a</w>": 0},
    }
    for name, content in files.items():
        (path / name).write_text(json.dumps(content))
    (path / "merges.txt").write_text("#version: 0.2\n")
    for to in (*checkpoints.FORMATS, "hf"):
        following = checkpoints.destination(tmp_path, to, f"after_{path.stem}_")
        convert(path, following, to=to)
        path = following
    found = json.loads((path / "preprocessor_config.json").read_text())
    assert (found["image_mean"], found["image_std"]) == ([0.5, 0.4, 0.3], [0.2, 0.3, 0.1])
    assert found["size"] == {"shortest_edge": 28}
    assert json.loads((path / "vocab.json").read_text()) == files["vocab.json"]
    assert (path / "merges.txt").read_text() == "#version: 0.2\n"


def test_the_preprocessor_of_transformers_5_travels_along(source, tmp_path):
    shutil.copytree(source, tmp_path / "in")
    options = {**CLIPImageProcessor(size=28, crop_size=28, image_mean=[0.5] * 3).to_dict()}
    (tmp_path / "in/processor_config.json").write_text(json.dumps({"image_processor": options}))
    convert(tmp_path / "in", tmp_path / "out", to="open_clip")
    described = json.loads((tmp_path / "out/open_clip_config.json").read_text())
    assert described["preprocess_cfg"]["mean"] == [0.5] * 3
