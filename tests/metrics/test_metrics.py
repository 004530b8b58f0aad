"""Error rates against SpeechBrain, scikit-learn and slow versions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_curve
from speechbrain.utils.metric_stats import EER, minDCF

from speechbrain_dino.metrics.verification import (
    act_dcf,
    cllr,
    eer,
    min_cllr,
    min_dcf,
    operating_points,
)

# Few distinct values, so that ties are the rule.
scores = st.lists(st.integers(-6, 6).map(float), min_size=1, max_size=25)


def rates(targets, nontargets, threshold):
    """Miss and false alarm rate, straight from the definition."""
    miss = np.mean([s <= threshold for s in targets])
    return miss, np.mean([s > threshold for s in nontargets])


def slow_points(targets, nontargets):
    values = sorted({*targets, *nontargets})
    return [rates(targets, nontargets, t) for t in [values[0] - 1, *values]]


@settings(deadline=None, max_examples=300)
@given(scores, scores)
def test_operating_points_are_the_definition(targets, nontargets):
    thresholds, miss, false_alarm = operating_points(targets, nontargets)
    assert list(zip(miss, false_alarm)) == slow_points(targets, nontargets)
    for threshold, m, f in zip(thresholds, miss, false_alarm):
        assert rates(targets, nontargets, threshold) == (m, f)


@settings(deadline=None, max_examples=300)
@given(scores, scores)
def test_eer_lies_on_sklearns_curve(targets, nontargets):
    labels = [1] * len(targets) + [0] * len(nontargets)
    fpr, tpr, _ = roc_curve(labels, [*targets, *nontargets], drop_intermediate=False)
    # Where the polygon through the points meets the line miss = false alarm.
    gap = 1 - tpr - fpr
    meets = []
    for i in range(len(gap) - 1):
        if gap[i] >= 0 >= gap[i + 1] and gap[i] > gap[i + 1]:
            share = gap[i] / (gap[i] - gap[i + 1])
            meets.append(fpr[i] + share * (fpr[i + 1] - fpr[i]))
    assert meets == pytest.approx([eer(targets, nontargets)[0]] * len(meets), abs=1e-9)
    assert meets


@settings(deadline=None, max_examples=300)
@given(scores, scores)
def test_eer_equals_speechbrains_within_its_step(targets, nontargets):
    value, threshold = eer(targets, nontargets)
    theirs, _ = EER(torch.tensor(targets), torch.tensor(nontargets))
    points = slow_points(targets, nontargets)
    after = next(i for i, (m, f) in enumerate(points) if m >= f)
    (miss_0, fa_0), (miss_1, fa_1) = points[after - 1], points[after]
    step = max(miss_1 - miss_0, fa_0 - fa_1)
    assert abs(value - theirs) <= step / 2 + 1e-6
    # Both thresholds come equally close to equal rates.
    gaps = [abs(m - f) for m, f in points]
    miss, false_alarm = rates(targets, nontargets, threshold)
    assert abs(miss - false_alarm) == pytest.approx(min(gaps))


def test_eer_equals_speechbrains_where_the_rates_meet():
    generator = torch.Generator().manual_seed(1)
    targets = torch.randn(200, generator=generator) + 1.5
    nontargets = torch.randn(200, generator=generator)
    value, threshold = eer(targets, nontargets)
    theirs, their_threshold = EER(targets, nontargets)
    assert value == pytest.approx(theirs, abs=1e-7)
    assert rates(targets, nontargets, threshold) == rates(
        targets, nontargets, their_threshold
    )


@settings(deadline=None, max_examples=200)
@given(scores, scores)
def test_monotone_transforms_change_nothing(targets, nontargets):
    def bend(values):
        return [math.atan(v) ** 3 - 7 for v in values]

    assert eer(targets, nontargets)[0] == eer(bend(targets), bend(nontargets))[0]
    for metric in (min_dcf, lambda *sides: (min_cllr(*sides), None)):
        value = metric(targets, nontargets)[0]
        assert value == metric(bend(targets), bend(nontargets))[0]


@settings(deadline=None, max_examples=200)
@given(scores, scores)
def test_swapping_roles_keeps_the_eer(targets, nontargets):
    swapped = eer([-s for s in nontargets], [-s for s in targets])[0]
    assert eer(targets, nontargets)[0] == pytest.approx(swapped, abs=1e-12)


@settings(deadline=None, max_examples=200)
@given(scores, scores, st.floats(0.01, 0.99), st.floats(0.1, 9), st.floats(0.1, 9))
def test_min_dcf_is_the_definition(targets, nontargets, p, c_miss, c_fa):
    costs = [
        c_miss * m * p + c_fa * f * (1 - p) for m, f in slow_points(targets, nontargets)
    ]
    scale = min(c_miss * p, c_fa * (1 - p))
    value, threshold = min_dcf(targets, nontargets, p, c_miss, c_fa)
    assert value == pytest.approx(min(costs) / scale)
    assert value <= 1 + 1e-12
    miss, false_alarm = rates(targets, nontargets, threshold)
    at = c_miss * miss * p + c_fa * false_alarm * (1 - p)
    assert at / scale == pytest.approx(value)


def test_min_dcf_equals_speechbrains_after_normalization():
    generator = torch.Generator().manual_seed(2)
    targets = torch.randn(150, generator=generator) + 2
    nontargets = torch.randn(300, generator=generator)
    for p in (0.01, 0.05):
        theirs, _ = minDCF(targets, nontargets, p_target=p)
        assert min_dcf(targets, nontargets, p)[0] == pytest.approx(theirs / p, rel=1e-5)


@pytest.mark.parametrize(
    ("targets", "nontargets", "expected"),
    [
        ([2.0, 3.0], [0.0, 1.0], 0.0),
        ([0.0, 1.0], [2.0, 3.0], 1.0),
        ([1.0, 1.0, 1.0], [1.0, 1.0], 0.5),
        ([1.0], [1.0], 0.5),
        # miss/fa: (0,1) (0,1/3) (1/2,1/3): crossing at miss = fa = 1/3
        ([1.0, 2.0], [0.0, 0.0, 1.5], 1 / 3),
    ],
)
def test_eer_by_hand(targets, nontargets, expected):
    assert eer(targets, nontargets)[0] == pytest.approx(expected, abs=1e-12)


def test_thresholds_decide_as_the_rate_says_for_neighboring_floats():
    low = np.float64(0.3)
    high = np.nextafter(low, 1.0)
    value, threshold = eer([high], [low])
    assert value == 0.0
    assert high > threshold >= low


@settings(deadline=None, max_examples=200)
@given(scores, scores, st.floats(0.01, 0.99), st.floats(0.1, 9), st.floats(0.1, 9))
def test_act_dcf_is_the_definition(targets, nontargets, p, c_miss, c_fa):
    accept = [s > math.log(c_fa * (1 - p) / (c_miss * p)) for s in targets]
    alarm = [s > math.log(c_fa * (1 - p) / (c_miss * p)) for s in nontargets]
    cost = c_miss * p * (1 - np.mean(accept)) + c_fa * (1 - p) * np.mean(alarm)
    expected = cost / min(c_miss * p, c_fa * (1 - p))
    assert act_dcf(targets, nontargets, p, c_miss, c_fa) == pytest.approx(expected)
    assert min_dcf(targets, nontargets, p, c_miss, c_fa)[0] <= expected + 1e-12


@settings(deadline=None, max_examples=200)
@given(scores, scores)
def test_cllr_is_the_definition(targets, nontargets):
    bits = np.mean([math.log2(1 + math.exp(-s)) for s in targets])
    bits += np.mean([math.log2(1 + math.exp(s)) for s in nontargets])
    assert cllr(targets, nontargets) == pytest.approx(bits / 2)
    assert min_cllr(targets, nontargets) <= bits / 2 + 1e-12


def test_cllr_of_sure_scores_does_not_overflow():
    assert cllr([1e5], [-1e5]) == 0.0
    assert cllr([-1e5], [-1e5]) == pytest.approx(1e5 / math.log(4))


def slow_min_cllr(targets, nontargets):
    """Isotonic regression of labels weighed to equal priors, then Cllr."""
    values = np.array([*targets, *nontargets])
    labels = np.repeat([1.0, 0.0], [len(targets), len(nontargets)])
    weights = np.where(labels == 1, 1 / len(targets), 1 / len(nontargets))
    fit = IsotonicRegression(y_min=0, y_max=1)
    posterior = fit.fit(values, labels, sample_weight=weights).predict(values)
    of_label = np.where(labels == 1, posterior, 1 - posterior)
    return -np.sum(weights * np.log2(of_label)) / 2


@settings(deadline=None, max_examples=300)
@given(scores, scores)
def test_min_cllr_equals_sklearns_isotonic_regression(targets, nontargets):
    expected = slow_min_cllr(targets, nontargets)
    assert min_cllr(targets, nontargets) == pytest.approx(expected, abs=1e-9)


def test_min_cllr_is_the_least_over_rising_maps():
    # Three scores, targets 1 of 2, 0 of 1, 2 of 2: the first two violate the order and
    # are pooled with 1 target of 3 and 2 nontargets of 2.
    pooled = (1 / 3) * math.log2(1 + 1 / (1 / 3)) + math.log2(1 + 1 / 3)
    assert min_cllr([0, 2, 2], [0, 1]) == pytest.approx(pooled / 2)
    best = min(
        cllr([a, b, b], [a, a]) for a in np.linspace(-3, 0, 301) for b in (0, 50.0)
    )
    assert min_cllr([0, 2, 2], [0, 1]) == pytest.approx(best, abs=1e-5)


@settings(deadline=None, max_examples=100)
@given(scores, scores)
def test_single_precision_gives_the_same_metrics(targets, nontargets):
    single = [np.array(side, dtype=np.float32) / 7 for side in (targets, nontargets)]
    double = [side.astype(np.float64) for side in single]
    assert eer(*single) == eer(*double)
    assert min_dcf(*single) == min_dcf(*double)
    assert eer(single[0], double[1]) == eer(*double)


@pytest.mark.parametrize("metric", [eer, min_dcf, act_dcf, cllr, min_cllr])
def test_bad_scores_name_the_side_and_the_count(metric):
    with pytest.raises(ValueError, match="no target scores"):
        metric([], [1.0])
    with pytest.raises(ValueError, match="no non-target scores"):
        metric([1.0], torch.zeros(0))
    with pytest.raises(ValueError, match="2 of 3 non-target scores"):
        metric([1.0], [float("nan"), 0.0, float("inf")])
    with pytest.raises(ValueError, match="1 of 1 target scores"):
        metric([float("-inf")], [0.0])


@pytest.mark.parametrize("metric", [min_dcf, act_dcf])
def test_costs_reject_parameters_out_of_range(metric):
    with pytest.raises(ValueError, match=r"p_target=1\.5"):
        metric([1.0], [0.0], p_target=1.5)
    with pytest.raises(ValueError, match="c_fa=0"):
        metric([1.0], [0.0], c_fa=0)


def test_eer_of_two_gaussians():
    rng = np.random.default_rng(0)
    targets, nontargets = rng.normal(2, 1, 250_000), rng.normal(0, 1, 250_000)
    assert eer(targets, nontargets)[0] == pytest.approx(0.1587, abs=2e-3)  # Phi(-1)
