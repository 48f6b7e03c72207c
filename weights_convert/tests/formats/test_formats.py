"""What follows from the records, for every format that there is."""

import dataclasses
import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest

from clip_core.errors import InputError
from weights_convert import FORMATS, convert
from weights_convert.containers.opened import open_container
from weights_convert.destination import check_destination
from weights_convert.names import numbered
from weights_convert.opening import find_weights, recognise
from weights_convert.tests import checkpoints

DIRECTORIES = [name for name, format_ in FORMATS.items() if not format_.is_file]
SHARDED = [name for name, format_ in FORMATS.items() if format_.sharded]


@pytest.fixture(scope="session")
def in_shards(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same checkpoint in the shards of every format that has them."""
    directory = tmp_path_factory.mktemp("shards")
    for name in SHARDED:
        convert(source, directory / name, to=name, max_shard_size="300KB")
    return {name: directory / name for name in SHARDED}


def test_the_formats_are_those_that_the_tests_know():
    assert tuple(FORMATS) == checkpoints.FORMATS


@pytest.mark.parametrize("name", DIRECTORIES)
def test_what_is_written_may_be_replaced(in_format, in_shards, name):
    for path in (in_format[name], in_shards.get(name, in_format[name])):
        check_destination(path, is_file=False, overwrite=True)


@pytest.mark.parametrize("name", DIRECTORIES)
def test_weights_are_found_under_every_declared_name(tmp_path, name):
    for files in FORMATS[name].files:
        for file in filter(None, (files.whole, files.index)):
            (tmp_path / file).touch()
            assert find_weights(tmp_path) == tmp_path / file
            (tmp_path / file).unlink()


@pytest.mark.parametrize("name", DIRECTORIES)
def test_a_hub_is_asked_for_all_that_is_written(in_format, in_shards, name):
    for path in (in_format[name], in_shards.get(name, in_format[name])):
        first = find_weights(path).name
        form = next(form for form in FORMATS[name].downloads if form.file == first)
        written = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
        assert all(any(fnmatch(file, pattern) for pattern in (form.file, *form.patterns)) for file in written)


@pytest.mark.parametrize("name", FORMATS)
def test_exactly_one_format_recognises_a_file(in_format, name):
    container = open_container(find_weights(in_format[name]))
    assert recognise(container) is FORMATS[name]
    assert [other for other, format_ in FORMATS.items() if format_.recognises(container)] == [name]


@pytest.mark.parametrize("name", FORMATS)
def test_every_weight_has_a_place_of_its_own(name):
    for names in filter(None, (FORMATS[name].names, FORMATS[name].resnet_names)):
        places = [names.place(template) for template in names.templates]
        assert len({(place.name, place.part) for place in places}) == len(names.templates)
        assert len({numbered(place.name, 7) for place in places}) == len({place.name for place in places})


@pytest.mark.parametrize("name", [name for name, format_ in FORMATS.items() if format_.whole_models_only])
def test_a_single_tower_is_refused_where_there_is_no_place_for_it(source, tmp_path, name):
    shutil.copytree(source, tmp_path / "in")
    checkpoints.rewrite(
        tmp_path / "in/model.safetensors",
        lambda found: {name: value for name, value in found.items() if name.startswith("text_model.")},
    )
    with pytest.raises(InputError, match="holds whole models only, and the source is a single tower"):
        convert(tmp_path / "in", checkpoints.destination(tmp_path, name), to=name)


def test_records_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FORMATS["hf"].name = "other"
