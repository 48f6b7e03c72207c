from dataclasses import replace

from clip_core.checkpoint.saving import save_checkpoint
from clip_core.image.processor import CLIPImageProcessor
from weights_convert import convert
from weights_convert.tests import checkpoints


def test_settings_that_a_format_has_no_place_for_are_told(tmp_path):
    config = replace(checkpoints.CONFIG, text_config=replace(checkpoints.CONFIG.text_config, pad_token_id=7))
    save_checkpoint(tmp_path / "in", config, checkpoints.weights(), architecture="CLIPModel")
    CLIPImageProcessor(size=28, crop_size=28, do_normalize=False).save_pretrained(tmp_path / "in")
    notes = {to: convert(tmp_path / "in", tmp_path / to, to=to).notes for to in ("hf", "open_clip", "keras-hub")}
    padding = "configuration: text_config.pad_token_id 7 has no place in this format, where it is 1"
    cropping = "preprocessor: profile 'huggingface' has no place in this format, where it is 'openai'"
    normalising = "preprocessor: do_normalize False has no place in this format, where it is True"
    assert {to: [note for note in found if "no place" in note] for to, found in notes.items()} == {
        "hf": [],
        "open_clip": [normalising, cropping],
        "keras-hub": [padding, normalising],
    }


def test_what_is_said_in_another_way_is_not_told_as_lost(tmp_path):
    config = replace(checkpoints.CONFIG, text_config=replace(checkpoints.CONFIG.text_config, eos_token_id=2))
    save_checkpoint(tmp_path / "in", config, checkpoints.weights(), architecture="CLIPModel")
    CLIPImageProcessor(size=28, crop_size=28, rescale_factor=1 / 127.5).save_pretrained(tmp_path / "in")
    notes = convert(tmp_path / "in", tmp_path / "out", to="keras-hub", verify="none").notes
    assert not [note for note in notes if "no place" in note]


def test_another_way_to_resize_is_told(tmp_path):
    save_checkpoint(tmp_path / "in", checkpoints.CONFIG, checkpoints.weights(), architecture="CLIPModel")
    options = {"size": {"longest_edge": 28}, "crop_size": 28, "profile": "openai", "fill_color": 3}
    CLIPImageProcessor(**options).save_pretrained(tmp_path / "in")
    done = {to: convert(tmp_path / "in", tmp_path / to, to=to) for to in ("open_clip", "keras-hub")}
    assert not [note for note in done["open_clip"].notes if "no place" in note]
    lost = "preprocessor: size 'longest_edge 28' has no place in this format, where it is 'shortest_edge 28'"
    assert lost in done["keras-hub"].notes
