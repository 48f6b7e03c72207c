import json

import pytest
from click.testing import CliRunner

from triclip import cli


def run(*arguments):
    result = CliRunner().invoke(cli.main, ["models", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_all_models_are_listed():
    lines = run().splitlines()
    assert len(lines) == 77
    assert lines[0].split()[:5] == ["RN50", "102M", "quick_gelu", "224", "shortest"]
    assert any(line.startswith("ViT-H-14-378/dfn5b ") and "378 squash" in line for line in lines)


def test_a_model_is_described_under_each_of_its_names():
    found = run("ViT-H-14/laion2b_s32b_b79k")
    assert found == run("laion/CLIP-ViT-H-14-laion2B-s32B-b79K")
    assert "ViT-H-14/laion2b_s32b_b79k: ViT-H-14, 986,109,441 parameters\n" in found
    assert "32 layers, width 1280, 16 heads, MLP 5120, gelu, eps 1e-05, patches of 14" in found
    assert "ResNet 3-4-6-3, width 2048, 32 heads in its pooling, relu" in run("RN50")
    assert "licence: cc-by-nc-4.0" in run("geolocal/StreetCLIP")


def test_an_architecture_lists_its_models():
    assert [line.split()[0] for line in run("ViT-g-14").splitlines()] == [
        "ViT-g-14/laion2b_s12b_b42k",
        "ViT-g-14/laion2b_s34b_b88k",
    ]


def test_json_has_everything():
    assert len(json.loads(run("--json"))) == 77
    found = json.loads(run("ViT-L-14/laion2b_s32b_b82k", "--json"))
    assert found["preprocessing"]["image_mean"] == [0.5, 0.5, 0.5]
    assert found["config"]["text_config"]["hidden_act"] == "gelu"
    assert found["source"] == {"hub": "laion/CLIP-ViT-L-14-laion2B-s32B-b82K", "layout": "open_clip"}


@pytest.mark.parametrize("name", ["ViT-H-14/laion2b", "someone/else"])
def test_what_is_no_published_model_is_an_error(name):
    result = CliRunner().invoke(cli.main, ["models", name])
    assert result.exit_code == 2
    assert "no published model" in result.output
