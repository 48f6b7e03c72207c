"""Views that torch saves as they are, read as torch reads them."""

import zipfile

import numpy as np
import pytest

from clip_core.checkpoint.sources import SourceFile
from clip_core.checkpoint.torch_file import read_torch_file
from clip_core.tests.checkpoint.test_restricted_pickle import tensor

STORED = np.arange(6, dtype="<f4")
NEGATED = b"}X\x03\0\0\0neg\x88s"
VIEWS = {
    "whole": (tensor(), STORED.reshape(2, 3)),
    "transposed": (tensor(b"K\x03K\x02", b"K\x01K\x03"), STORED.reshape(2, 3).T),
    "negated": (tensor(metadata=NEGATED), -STORED.reshape(2, 3)),
    "a part, negated": (tensor(b"K\x02K\x02", b"K\x03K\x01", b"K\x01", metadata=NEGATED), -STORED.reshape(2, 3)[:, 1:]),
    "expanded": (tensor(b"K\x04K\x03", b"K\x00K\x01", b"K\x02"), np.tile(STORED[2:5], (4, 1))),
    "empty": (tensor(b"K\x00K\x03", b"K\x03K\x01", metadata=NEGATED), STORED[:0].reshape(0, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_views(tmp_path, name):
    pickled, expected = VIEWS[name]
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}X\x01\0\0\0w" + pickled + b"s.")
        archive.writestr("a/data/0", STORED.tobytes())
    found = read_torch_file(SourceFile(tmp_path / "a.pt"))[0]["w"]
    np.testing.assert_array_equal(found.read(), expected, strict=True)
    assert found.shape == expected.shape
