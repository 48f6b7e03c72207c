import numpy as np
import pytest

from clip_core.interpolation import antialiased_matrix, linear_matrix, position_matrix, stretched_matrix


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


def test_the_antialiased_kernel_by_hand():
    """Keys' kernel with a = -0.5: at distances 1.75, 0.75, 0.25, 1.25 doubling; as wide again halving."""
    up = antialiased_matrix(8, 16, 8).reshape(16, 8, 8, 8)[8, 0, :, 0]
    np.testing.assert_allclose(up[2:6], [-0.0234375, 0.2265625, 0.8671875, -0.0703125], atol=1e-12)
    down = antialiased_matrix(8, 4, 8).reshape(4, 8, 8, 8)[2, 0, :, 0]
    wide = np.array([-0.0234375, -0.0703125, 0.2265625, 0.8671875, 0.8671875, 0.2265625, -0.0703125])  # one is beyond
    np.testing.assert_allclose(down[1:], wide / wide.sum(), atol=1e-12)


@pytest.mark.parametrize(("rows", "columns"), [(5, 5), (12, 12), (9, 5), (1, 30)])
def test_rows_of_the_antialiased_matrix_sum_to_one(rows, columns):
    np.testing.assert_allclose(antialiased_matrix(7, rows, columns).sum(axis=1), 1, atol=1e-12)


def test_longclip_keeps_twenty_positions_and_goes_on_beyond_the_last():
    table = np.random.default_rng(0).standard_normal((77, 3))
    made = stretched_matrix(77, 248) @ table
    np.testing.assert_array_equal(made[:20], table[:20])
    np.testing.assert_allclose(made[20::4], table[20:], atol=1e-12)
    np.testing.assert_allclose(made[21], 0.75 * table[20] + 0.25 * table[21], atol=1e-12)
    np.testing.assert_allclose(made[247], table[76] + 0.75 * (table[76] - table[75]), atol=1e-12)


def test_linear_positions_repeat_the_border():
    matrix = linear_matrix(4, 8)
    np.testing.assert_allclose(matrix[:3], [[1, 0, 0, 0], [0.75, 0.25, 0, 0], [0.25, 0.75, 0, 0]])
    np.testing.assert_allclose(matrix[-1], [0, 0, 0, 1])
