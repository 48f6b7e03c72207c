from pathlib import Path

import pytest

from weights_convert import convert
from weights_convert.tests import checkpoints


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in the shared scheme."""
    return checkpoints.save(tmp_path_factory.mktemp("checkpoint") / "source")


@pytest.fixture(scope="session")
def in_format(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same checkpoint in every format."""
    directory = tmp_path_factory.mktemp("formats")
    paths = {name: checkpoints.destination(directory, name) for name in checkpoints.FORMATS}
    for name, path in paths.items():
        convert(source, path, to=name)
    return paths
