import numpy as np
import pytest

from clip_core.interpolation import position_matrix


def test_the_same_grid_is_the_identity():
    np.testing.assert_array_equal(position_matrix(7, 7, 7), np.eye(49, dtype=np.float32))


@pytest.mark.parametrize(("rows", "columns"), [(5, 5), (12, 12), (9, 5), (1, 30)])
def test_rows_sum_to_one(rows, columns):
    matrix = position_matrix(7, rows, columns)
    assert matrix.shape == (rows * columns, 49)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)


def test_doubling_uses_the_kernel_at_quarter_distances():
    """Keys' kernel with a = -0.75 at distances 1.25, 0.25, 0.75, 1.75, by hand."""
    row = position_matrix(8, 16, 8).reshape(16, 8, 8, 8)[8, 0, :, 0]
    np.testing.assert_allclose(row[2:6], [-0.03515625, 0.26171875, 0.87890625, -0.10546875], atol=1e-7)


def test_rows_and_columns_are_not_swapped():
    field = np.add.outer(10 * np.arange(7.0), np.arange(7.0))
    resampled = (position_matrix(7, 14, 7) @ field.ravel()).reshape(14, 7)
    np.testing.assert_allclose(resampled[:, 3] - resampled[:, 2], 1, atol=1e-4)
