"""Rows of trials against plain indexing."""

import numpy as np
import pytest
import torch

from speechbrain_dino.scoring.pairs import compact, row_products


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
