import pytest

from clip_core.errors import InputError
from triclip.engines.devices import choose_device


@pytest.mark.parametrize(
    ("name", "device"),
    [
        (None, "gpu:0"),
        ("cpu", "cpu:0"),
        ("gpu", "gpu:0"),
        ("cuda", "gpu:0"),
        ("cuda:1", "gpu:1"),
        ("/GPU:1", "gpu:1"),
        ("/device:GPU:0", "gpu:0"),
        ("mps", "mps:0"),
    ],
)
def test_a_device_has_the_spellings_of_all_frameworks(name: str | None, device: str) -> None:
    assert choose_device(name, ["gpu:0", "gpu:1", "cpu:0", "mps:0"]) == device


@pytest.mark.parametrize("name", ["gpu:2", "cuda:-1", "abacus", ""])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(InputError, match=f"gpu:0, cpu:0, got '{name}'"):
        choose_device(name, ["gpu:0", "cpu:0"])
