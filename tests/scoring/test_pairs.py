"""Rows of trials against plain indexing."""

import numpy as np
import pytest
import torch

from speechbrain_dino.scoring.pairs import compact, row_products, unit_rows


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_compact_numbers_the_used_rows(rng):
    enrol, test = rng.choice([3, 17, 4, 400], (2, 30))
    used, (left, right) = compact(enrol, test)
    assert used.tolist() == [3, 4, 17, 400]
    np.testing.assert_array_equal(used[left], enrol)
    np.testing.assert_array_equal(used[right], test)


def test_row_products_are_the_definition(rng):
    left, right = rng.normal(size=(2, 9, 4)).astype(np.float32)
    enrol, test = rng.integers(0, 9, (2, 40))
    products = row_products(
        torch.from_numpy(left), torch.from_numpy(right), enrol, test
    )
    np.testing.assert_allclose(products, (left @ right.T)[enrol, test], atol=1e-5)


def test_unit_rows_name_what_has_no_direction(rng):
    vectors = rng.normal(size=(6, 4)).astype(np.float32)
    expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(unit_rows(vectors, [4, 1]), expected[[4, 1]], atol=1e-6)
    vectors[2], expected[2] = 0, 0
    with pytest.raises(ValueError, match=r"1 of 3 rows of means .*row 2"):
        unit_rows(vectors, [1, 2, 3], "means")
    kept = unit_rows(vectors, keep_zeros=True)
    np.testing.assert_allclose(kept, expected, atol=1e-6)
    vectors[5, 0] = np.nan
    with pytest.raises(ValueError, match=r"1 of 6 rows of vectors .*row 5"):
        unit_rows(vectors, keep_zeros=True)
