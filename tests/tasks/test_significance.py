"""Paired statistics against enumeration and hand calculations; that they hold their level: test_gate_level.py."""

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tasks.config import GateConfig
from tasks.significance import (
    WORST,
    date_weights,
    diebold_mariano,
    effective_cutoffs,
    error_in_time,
    fewest_cutoffs,
    fewest_series,
    gain_interval,
    p_value,
    relative_gain,
    shares,
    sign_flip,
    two_ways,
)

Array = np.ndarray[Any, Any]
CONFIG = GateConfig()
PAIRS = 300
ALLOWED = stats.binom.ppf(0.999, PAIRS, CONFIG.level)  # promotions that a gate at its level exceeds once in 1000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def lower(champion: Array, challenger: Array, lags: int = 0) -> tuple[float, float]:
    """The interval of one comparison."""
    low, high = gain_interval(champion[None], challenger[None], lags, 0.05, rng(), 4000)
    return float(low[0]), float(high[0])


# ---- gains


def test_a_gain_is_relative_to_the_summed_means_of_the_series() -> None:
    champion, challenger = np.array([[[4.0, 2.0], [5.0, np.nan]]]), np.array([[[1.0, 3.0], [4.0, np.nan]]])
    old, new = shares(champion).sum((1, 2)), shares(challenger).sum((1, 2))
    assert (old, new) == (8.0, 6.0)  # 3 + 5, 2 + 4
    assert relative_gain(old, new) == 0.25


def test_against_a_champion_without_loss_nothing_is_gained() -> None:
    assert relative_gain(np.zeros(2), np.array([0.0, 0.1])).tolist() == [0.0, WORST]


# ---- signs


def test_the_sign_flip_test_equals_enumeration() -> None:
    difference = rng().normal(0.4, 1, 8)
    sums = [np.dot(signs, difference) for signs in itertools.product((1, -1), repeat=8)]
    assert sign_flip(difference[None], 2000, rng())[0] == np.mean(np.array(sums) >= difference.sum() - 1e-9)


def test_the_drawn_sign_flip_test_is_near_the_exact_one() -> None:
    difference = rng(1).standard_t(3, 12) + 0.5
    sums = [np.dot(signs, difference) for signs in itertools.product((1, -1), repeat=12)]
    exact = np.mean(np.array(sums) >= difference.sum() - 1e-9)
    assert sign_flip(difference[None], 4000, rng())[0] == pytest.approx(exact, abs=4 * np.sqrt(exact / 4000))


def test_the_smallest_p_of_drawn_signs_counts_the_observed_ones_in() -> None:
    assert sign_flip(np.ones((1, 60)), 999, rng())[0] == 0.001


def test_differences_of_zero_are_no_evidence() -> None:
    assert sign_flip(np.zeros((1, 9)), 2000, rng())[0] == 1


@pytest.mark.parametrize(("level", "series"), [(0.05, 5), (0.1, 4), (0.01, 7)])
def test_the_fewest_series_are_those_whose_signs_can_reach_the_level(level: float, series: int) -> None:
    def smallest(n: int) -> float:
        return float(sign_flip(np.ones((1, n)), 2000, rng())[0])

    assert fewest_series(level) == series
    assert smallest(series) <= level < smallest(series - 1)


# ---- dates


def test_diebold_mariano_by_hand() -> None:
    # mean 2.5, mean square 1.25: 2.5 / sqrt(1.25 / 4) = 4.472, times sqrt((4 + 1 - 2) / 4)
    p = diebold_mariano(np.array([[1.0, 2.0, 3.0, 4.0]]), lags=0)
    assert p[0] == pytest.approx(stats.t.sf(3.873, 3), rel=1e-3)


def test_diebold_mariano_by_hand_with_overlapping_windows() -> None:
    # 0.4 * 5^(2/3) = 1.17, so one cosine: sqrt(2/5) (cos 18, cos 54, 0, -cos 54, -cos 18 degrees), times the
    # differences: 0.6325 (0.9511 (1 - 3) + 0.5878 (3 - 6)) = -2.318. Correlations 1, 1/2, 0: the sum's variance is
    # 5 + 2 * 4 / 2 = 9, the cosine's 1 + 2/5 (2 * 0.9511 * 0.5878) = 1.447, so the error is 2.318 sqrt(9 / 1.447)
    p = diebold_mariano(np.array([[1.0, 3.0, 2.0, 6.0, 3.0]]), lags=1)
    assert p[0] == pytest.approx(stats.t.sf(15 / (2.318 * np.sqrt(9 / 1.447)), 1), rel=1e-3)


def cosines(values: Array, count: int) -> Array:
    """The estimator's weights, as Lazarus, Lewis, Stock and Watson write them, applied to values (C,)."""
    n, t = len(values), np.arange(1, len(values) + 1)
    return np.array([np.sqrt(2 / n) * (values * np.cos(np.pi * j * (t - 0.5) / n)).sum() for j in range(1, count + 1)])


@pytest.mark.parametrize(("cutoffs", "lags", "count"), [(8, 1, 2), (12, 1, 2), (12, 7, 1), (40, 1, 5), (40, 7, 5)])
def test_the_error_in_time_is_the_mean_square_of_few_cosines_made_good_for_overlap(
    cutoffs: int, lags: int, count: int
) -> None:
    values = rng(cutoffs).normal(size=cutoffs)
    apart = np.abs(np.subtract.outer(np.arange(cutoffs), np.arange(cutoffs)))
    correlation = np.clip(1 - apart / (lags + 1), 0, 1)
    rows = np.array([cosines(unit, count) for unit in np.eye(cutoffs)]).T  # (count, C)
    known = rows @ correlation @ rows.T
    (error,), (freedom,) = error_in_time(values[None], lags)
    assert error**2 == pytest.approx((cosines(values, count) ** 2).sum() * correlation.sum() / np.trace(known))
    assert freedom == pytest.approx(np.trace(known) ** 2 / np.trace(known @ known))


@pytest.mark.parametrize(("cutoffs", "lags"), [(8, 1), (12, 7), (40, 3)])
def test_the_error_of_overlapping_windows_is_that_of_their_mean(cutoffs: int, lags: int) -> None:
    steps = rng(3).normal(size=(20_000, cutoffs + lags))
    sums = np.lib.stride_tricks.sliding_window_view(steps, lags + 1, axis=1).sum(-1)
    error, _ = error_in_time(sums, lags)
    assert (error**2).mean() == pytest.approx(sums.sum(1).var(), rel=0.05)


def test_without_overlap_the_error_in_time_is_the_usual_one() -> None:
    values = rng().normal(size=(4, 9))
    error, freedom = error_in_time(values, 0)
    assert error == pytest.approx(9 * stats.sem(values, axis=1))
    assert freedom == pytest.approx([8] * 4)


def test_without_overlap_it_is_students_test() -> None:
    difference = rng().normal(0.3, 1, (5, 9))
    expected = stats.ttest_1samp(difference, 0, axis=1, alternative="greater").pvalue
    assert diebold_mariano(difference, lags=0) == pytest.approx(expected)


def test_differences_that_the_cosines_cannot_see_are_no_evidence() -> None:
    symmetric = [3.0, 1.0, 2.0, 1.0, 3.0]  # the one cosine over 5 cutoffs falls from 0.95 to -0.95
    assert error_in_time(np.array([symmetric]), 1)[0][0] == pytest.approx(0, abs=1e-12)
    assert diebold_mariano(np.array([symmetric]), lags=1)[0] == 1


def test_windows_that_all_overlap_are_no_evidence() -> None:
    assert diebold_mariano(np.array([[1.0, 1.1, 1.2]]), lags=2)[0] == 1


def test_the_same_gain_at_every_cutoff_is_evidence_and_the_same_loss_is_none() -> None:
    steady = np.array([[0.1] * 9, [-0.1] * 9, [0.0] * 9])
    assert [diebold_mariano(steady, lags).tolist() for lags in (0, 1)] == [[0, 1, 1]] * 2


# ---- series that end apart


def ragged(*ends: tuple[int, int], dates: int, gain: float = 0.0, spread: float = 0.1) -> tuple[Array, Array]:
    """Losses (1, S, C) of two models: (how many, first date) of series of 3 cutoffs; the second lower by `gain`."""
    rows = []
    for number, first in ends:
        block = np.full((number, dates), np.nan)
        block[:, first : first + 3] = np.exp(spread * rng(first).normal(size=(number, 3)))
        rows.append(block)
    champion = np.concatenate(rows)[None]
    return champion, champion * (1 - gain) * np.exp(spread * rng(1).normal(size=champion.shape))


def test_equal_ends_give_every_cutoff_the_same_weight() -> None:
    weights = date_weights(np.ones((1, 4, 5)))
    assert weights == pytest.approx(np.full((1, 5), 0.2))
    assert effective_cutoffs(weights) == pytest.approx([5])


def test_the_cutoffs_of_one_series_among_thirteen_are_hardly_any() -> None:
    champion, _ = ragged((1, 0), (12, 3), dates=6)
    weights = date_weights(champion)[0]
    assert weights == pytest.approx(np.array([1, 1, 1, 12, 12, 12]) / 39)
    assert effective_cutoffs(weights) == pytest.approx(39**2 / (3 + 3 * 144))


def test_a_series_weighs_once_however_many_cutoffs_it_has() -> None:
    champion = np.array([[[1.0, np.nan], [1.0, 1.0]]])
    assert date_weights(champion)[0] == pytest.approx([0.75, 0.25])


def test_a_gain_that_is_the_same_on_every_date_is_no_chance_however_the_dates_are_filled() -> None:
    champion = np.where(np.isnan(ragged((3, 0), (9, 2), dates=5)[0]), np.nan, 1.0)
    assert diebold_mariano((shares(champion) - shares(0.9 * champion)).sum(1), 0, date_weights(champion)) == [0]


def test_the_error_of_uneven_dates_by_hand() -> None:
    # weights 3/4 and 1/4, values 1 and 1, so the second is 1/2 above its part of 2 and the first 1/2 below.
    # shocks e of the dates: 3/4 e1 + 1/4 e2 has variance 10/16; the distances are 3/16 (e1 - e2) and its negative,
    # whose squares sum to 9/64 on average; so 1/2 is made good by (10/16) / (9/64) = 40/9; 1 degree
    (error,), (freedom,) = error_in_time(np.array([[1.0, 1.0]]), 0, np.array([[0.75, 0.25]]))
    assert error == pytest.approx(np.sqrt(0.5 * 40 / 9))
    assert freedom == pytest.approx(1)


@pytest.mark.parametrize("ends", [[(1, 0), (12, 3)], [(6, 0), (7, 3)], [(4, 0), (4, 1), (4, 2), (4, 3)]])
def test_the_error_of_uneven_dates_is_right_on_average_under_common_shocks(ends: list[tuple[int, int]]) -> None:
    champion, _ = ragged(*ends, dates=6)
    weights = date_weights(champion)
    sums = weights * rng(5).normal(size=(20_000, 6))  # what a shock of each date does to the series that have it
    error, _ = error_in_time(sums, 0, np.broadcast_to(weights, sums.shape))
    assert (error**2).mean() == pytest.approx(sums.sum(1).var(), rel=0.05)


@pytest.mark.parametrize("gain", [0.0, 0.02, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("ends", [[(1, 0), (12, 3)], [(5, 0), (5, 1), (5, 2), (5, 4)]])
def test_the_test_in_time_and_the_interval_tell_the_same_story(ends: list[tuple[int, int]], gain: float) -> None:
    champion, challenger = ragged(*ends, dates=7, gain=gain)
    few = champion[:, :4], challenger[:, :4]  # of four series time alone is chance
    p = p_value(*few, 0, 0.05, rng(), 2000)[0]
    low = gain_interval(*few, 0, 0.05, rng(), 4000)[0][0]
    assert (p <= 0.05) == (low > 0) or abs(p - 0.05) < 0.02


def test_two_ways_by_hand() -> None:
    # over series: sums 6 and 12, variance 2 * 18 = 36, 1 degree. Over cutoffs: sums 7 and 11, variance 2 * 8 = 16;
    # each series alone: 2 and 4 give 2 * 2 = 4, 5 and 7 the same; so 16 - 8 = 8 come of moving together, 1 degree
    p = two_ways(np.array([[[2.0, 4.0], [5.0, 7.0]]]), lags=0)
    assert p[0] == pytest.approx(stats.t.sf(18 / np.sqrt(36 + 8), 44**2 / (36**2 + 8**2)))


def test_where_series_do_not_move_together_it_is_students_test_over_series() -> None:
    gains = rng().normal(0.2, 1, 12)
    apart = np.stack([gains, gains], axis=1)[None]  # no chance in time
    assert two_ways(apart, 0)[0] == pytest.approx(stats.ttest_1samp(gains, 0, alternative="greater").pvalue)


def test_equal_gains_of_all_series_at_all_cutoffs_are_evidence_and_none_are_not() -> None:
    differences = np.full((3, 6, 4), 0.5) * np.array([1, -1, 0])[:, None, None]
    assert two_ways(differences, 0).tolist() == [0, 1, 1]


def test_the_larger_p_of_series_and_cutoffs_counts() -> None:
    champion = np.ones((1, 40, 3))
    challenger = champion - np.array([0.5, -0.2, 0.1])  # all series alike: a matter of three dates
    p = p_value(champion, challenger, 0, 0.05, rng(), 2000)
    assert sign_flip((champion - challenger).mean(2), 2000, rng())[0] < 0.001
    assert p[0] == pytest.approx(stats.ttest_1samp([0.5, -0.2, 0.1], 0, alternative="greater").pvalue)


def test_few_series_are_taken_as_given_and_need_more_cutoffs() -> None:
    assert [fewest_cutoffs(n, 0.05) for n in (1, 4, 5, 500)] == [8, 8, 2, 2]


def test_windows_that_overlap_need_half_as_many_cutoffs_again_as_overlap() -> None:
    assert [fewest_cutoffs(500, 0.05, lags) for lags in (0, 1, 2, 3, 7)] == [2, 3, 5, 6, 12]
    assert [fewest_cutoffs(1, 0.05, lags) for lags in (0, 1, 2, 3, 7)] == [8, 8, 8, 8, 12]


# ---- intervals


def test_over_many_series_the_interval_is_the_delta_methods() -> None:
    champion = np.repeat(rng(1).gamma(4, 1, (1, 900, 1)), 2, axis=2)  # no chance in time
    challenger = champion * rng(2).uniform(0.5, 1.3, (1, 900, 1))
    gain = 1 - challenger.sum() / champion.sum()
    error = np.std((champion - challenger - gain * champion)[..., 0]) / np.sqrt(900) / champion.mean()
    low, high = lower(champion[0], challenger[0])
    assert (low, high) == pytest.approx((gain - 1.645 * error, gain + 1.645 * error), abs=0.15 * error)


def test_over_three_dates_alone_the_interval_is_as_wide_as_students() -> None:
    champion, gains = np.ones((40, 3)), np.array([0.5, -0.2, 0.1])
    low, high = lower(champion, champion - gains)
    ratio = 1 - gains.mean()
    half = stats.t.isf(0.05, 2) * np.std(gains, ddof=1) / np.sqrt(3) / ratio  # of the ratio's logarithm
    assert np.log([(1 - low) / ratio, ratio / (1 - high)]) == pytest.approx([half, half], rel=0.1)
    assert low < 0 < high


def test_the_interval_is_the_same_with_the_models_exchanged() -> None:
    champion, challenger = rng(1).gamma(4, 1, (30, 12)), rng(2).gamma(4, 1, (30, 12))
    low, high = lower(champion, challenger)
    back_low, back_high = lower(challenger, champion)
    assert 1 - low == pytest.approx(1 / (1 - back_high), rel=0.02)  # up to the draws
    assert 1 - high == pytest.approx(1 / (1 - back_low), rel=0.02)


def test_the_interval_of_equal_losses_is_a_point() -> None:
    assert lower(np.ones((9, 3)), np.ones((9, 3))) == (0, 0)


@pytest.mark.parametrize("series", [1, 100])
@pytest.mark.parametrize(("cutoffs", "lags"), [(1, 0), (2, 1), (8, 7), (9, 7), (11, 7)])
def test_cutoffs_that_make_no_second_block_bound_nothing(series: int, cutoffs: int, lags: int) -> None:
    champion = rng(1).gamma(4, 1, (series, cutoffs))
    assert lower(champion, champion * 0.5, lags) == (WORST, 1)


@pytest.mark.parametrize("lags", [1, 3, 7])
def test_the_interval_of_overlapping_windows_is_as_sure_as_it_says(lags: int) -> None:
    cutoffs = fewest_cutoffs(12, 0.05, lags)
    champion, challenger = (overlapping(12, cutoffs, lags, rng(seed)) for seed in (1, 2))
    low, high = gain_interval(champion, challenger, lags, 0.05, rng(), 400)
    assert max((low > 0).sum(), (high < 0).sum()) <= ALLOWED


def overlapping(series: int, cutoffs: int, lags: int, draw: np.random.Generator) -> Array:
    """Losses (N, S, C) of windows that share `lags` of their lags + 1 steps with the next; shocks hit all series."""
    shape = (PAIRS, series, cutoffs + lags)
    steps = np.exp(draw.normal(0, 0.15, shape) + draw.normal(0, 0.2, (PAIRS, 1, cutoffs + lags)))
    return np.lib.stride_tricks.sliding_window_view(steps, lags + 1, axis=2).mean(-1)


def test_a_missing_window_does_not_count() -> None:
    champion = rng().gamma(4, 1, (30, 4))
    challenger = champion * 0.9
    champion[3, 0] = challenger[3, 0] = np.nan
    assert lower(champion, challenger) == pytest.approx((0.1, 0.1))
