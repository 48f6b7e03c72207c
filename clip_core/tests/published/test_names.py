import pytest

from clip_core.errors import CheckpointNotFoundError
from clip_core.published.names import find_named
from clip_core.published.table import models


@pytest.mark.parametrize(
    ("name", "model", "place"),
    [
        ("ViT-L/14@336px", "ViT-L/14@336px", "https://openaipublic.azureedge.net"),
        ("RN50x64", "RN50x64", "https://openaipublic.azureedge.net"),
        ("ViT-L-14-336/openai", "ViT-L/14@336px", "https://openaipublic.azureedge.net"),
        ("ViT-B-32-quickgelu:openai", "ViT-B/32", "https://openaipublic.azureedge.net"),
        ("openai/clip-vit-base-patch32", "ViT-B/32", "openai/clip-vit-base-patch32"),
        ("ViT-H-14/laion2b_s32b_b79k", "ViT-H-14/laion2b_s32b_b79k", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"),
        ("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "ViT-H-14/laion2b_s32b_b79k", "laion/"),
        ("ViT-B-32-quickgelu/laion400m_e32", "ViT-B-32/laion400m_e32", "timm/"),
        ("ViT-B-16-plus-240/laion400m_e32", "ViT-B-16-plus-240/laion400m_e32", "https://github.com"),
        ("RemoteCLIP/RN50", "RemoteCLIP/RN50", "chendelong/RemoteCLIP (RemoteCLIP-RN50.pt)"),
        ("geolocal/StreetCLIP", "geolocal/StreetCLIP", "geolocal/StreetCLIP"),
    ],
)
def test_a_name_means_a_model_and_where_it_is_fetched_from(name, model, place):
    found = find_named(name)
    assert found.model.name == model
    assert str(found.place).startswith(place)


@pytest.mark.parametrize("name", ["someone/their-clip", "bert-base-uncased", "ViT", "triclip-emoji", ""])
def test_other_names_are_no_published_models(name):
    assert find_named(name) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-H-14", "is an architecture, which several models have.*\n  ViT-H-14/laion2b_s32b_b79k\n"),
        ("ViT-B-32/laion400m", "no published model of that architecture.*\n  ViT-B-32/laion400m_e32"),
        ("ViT-B-32-quickgelu/laion2b_e16", "no published model of that architecture"),
        ("ViT-e-14", "no model of that architecture was published"),
        ("chendelong/RemoteCLIP", "holds several models.*\n  RemoteCLIP/RN50\n"),
    ],
)
def test_what_could_be_several_is_listed(name, message):
    with pytest.raises(CheckpointNotFoundError, match=f"(?s)^{name}: no such directory, and .*{message}"):
        find_named(name)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("vit-l/14@336PX", "ViT-L/14@336px"),
        (" ViT-B/32", "ViT-B/32"),
        ("ViT-B/32/", "ViT-B/32"),
        ("vit-h-14:laion2b_s32b_b79k", "ViT-H-14/laion2b_s32b_b79k"),
        ("ViT-H-14/LAION2B_S32B_B79K", "ViT-H-14/laion2b_s32b_b79k"),
        ("OpenAI/CLIP-ViT-Base-Patch32", "openai/clip-vit-base-patch32"),
    ],
)
def test_a_name_in_another_spelling_is_refused_with_the_right_one(name, meant):
    with pytest.raises(CheckpointNotFoundError, match=f"^{name}: no such directory, .* Did you mean {meant}\\?$"):
        find_named(name)


def test_every_row_is_found_by_its_name_and_its_repositories():
    for model in models().values():
        assert find_named(model.name).model is model
        for place in model.places:
            if place.hub and not place.file:
                assert find_named(place.hub).model is model
