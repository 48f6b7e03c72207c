import math
from collections import Counter

import pytest

from clip_core.config import CLIPConfig
from clip_core.published.contradictions import config_differences, preprocessing_differences, processor_of
from clip_core.published.names import by_digest
from clip_core.published.table import architectures, models
from clip_core.weights import weight_specs

PUBLISHED = {  # OpenAI's paper and open_clip's profiles of its models, to the last parameter
    "RN50": 102_007_137,
    "RN101": 119_688_033,
    "RN50x4": 178_300_601,
    "RN50x16": 290_979_217,
    "RN50x64": 623_258_305,
    "ViT-B-32": 151_277_313,
    "ViT-B-16": 149_620_737,
    "ViT-L-14": 427_616_513,
    "ViT-L-14-336": 427_944_193,
    "ViT-B-32-256": 151_288_833,
    "ViT-B-16-plus-240": 208_377_345,
    "ViT-H-14": 986_109_441,
    "ViT-g-14": 1_366_678_273,
    "ViT-bigG-14": 2_539_567_105,
    "ViT-e-14": 4_581_086_465,
}


@pytest.mark.parametrize("name", architectures())
def test_the_weights_of_every_architecture_are_as_many_as_were_published(name):
    found = architectures()[name]
    specs = weight_specs(CLIPConfig.from_dict(found.described("gelu")))
    assert sum(math.prod(spec.shape) for spec in specs if spec.is_parameter) == found.parameters
    assert found.parameters == PUBLISHED.get(name, found.parameters)


def test_every_row_agrees_with_itself():
    """What the table says becomes a configuration and an image processor that the table does not contradict."""
    assert len(models()) == 77
    for model in models().values():
        config = CLIPConfig.from_dict(model.described)
        assert config_differences(model, config) == []
        assert preprocessing_differences(model, processor_of(model).to_dict()) == []
        assert config.text_config.eos_token_id == config.text_config.vocab_size - 1


def test_every_place_is_one_model_s():
    places = [(place.hub, place.layout, place.file, place.url) for model in models().values() for place in model.places]
    assert [place for place, count in Counter(places).items() if count > 1] == []
    for model in models().values():
        for place in model.places:
            assert bool(place.hub) != bool(place.url), model.name
            assert place.url.startswith("https://") or not place.url


def test_the_digests_of_openai_s_nine_models_are_those_in_their_addresses():
    assert len(by_digest()) == 9
    for digest, model in by_digest().items():
        assert f"/{digest}/" in model.source.url


def test_what_differs_from_model_to_model():
    """The facts that other loaders get wrong."""
    found = models()
    assert found["ViT-B-32/laion400m_e32"].activation == "quick_gelu"
    assert found["ViT-B-32/laion2b_s34b_b79k"].activation == "gelu"
    assert found["ViT-L-14/laion2b_s32b_b82k"].preprocessing.image_mean == (0.5, 0.5, 0.5)
    assert found["ViT-H-14-378/dfn5b"].preprocessing.resize_mode == "squash"
    assert found["ViT-H-14/metaclip_altogether"].activation == "gelu"
    assert found["LongCLIP-L"].described["text_config"]["max_position_embeddings"] == 248
    big = found["ViT-bigG-14/laion2b_s39b_b160k"].described["vision_config"]
    assert (big["hidden_size"] // big["num_attention_heads"], big["intermediate_size"]) == (104, 8192)
