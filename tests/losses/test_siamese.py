"""BYOL and VICReg against their formulas, written out as loops."""

import numpy as np
import pytest
from objective_cases import make_views

from speechbrain_dino.losses.non_contrastive import BYOL, VICReg


def test_byol_equals_the_formula():
    views = make_views()
    terms = []
    for s, predictions in enumerate(views.student.double()):
        for t, targets in enumerate(views.teacher_extras["projection"].double()):
            if s != t:
                for one, other in zip(predictions, targets):
                    difference = one / one.norm() - other / other.norm()
                    terms.append(float(difference.square().sum()))
    assert BYOL()(views).loss.item() == pytest.approx(2 * np.mean(terms), rel=1e-5)


def slow_vicreg(first, second, a, b, c):
    """Equation 6 of the paper for two views (N, D)."""

    def variance(z):
        return np.mean(np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)))

    def covariance(z):
        matrix = np.cov(z, rowvar=False)
        return (matrix**2).sum() - (np.diag(matrix) ** 2).sum()

    size = first.shape[1]
    invariance = ((first - second) ** 2).mean()
    spread = variance(first) + variance(second)
    return (
        a * invariance
        + b * spread
        + c * (covariance(first) + covariance(second)) / size
    )


@pytest.mark.parametrize("batch", [4, 40])  # fewer and more than dimensions
@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (1.0, 0.5, 3.0)])
def test_vicreg_of_two_views_equals_the_formula(batch, weights):
    views = make_views(batch, student=2, teacher=0)
    views = views._replace(student=views.student * 0.3)  # some below, some above 1
    first, second = views.student.double().numpy()
    expected = slow_vicreg(first, second, *weights)
    assert VICReg(*weights)(views).loss.item() == pytest.approx(expected, rel=1e-5)


def test_vicreg_of_more_views_is_the_mean_over_pairs():
    views = make_views(student=3, teacher=0)
    z = views.student.double().numpy()
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = np.mean([slow_vicreg(z[i], z[j], 25, 25, 1) for i, j in pairs])
    assert VICReg()(views).loss.item() == pytest.approx(expected, rel=1e-5)
