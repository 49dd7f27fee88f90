"""Paired statistics against enumeration, against hand calculations, and on models that are equal by construction."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks.gate_study import Cell, by_series_alone, promoted, simulate
from tasks.config import GateConfig
from tasks.significance import (
    WORST,
    cutoff_counts,
    diebold_mariano,
    fewest_cutoffs,
    fewest_series,
    gain_interval,
    p_value,
    relative_gain,
    shares,
    sign_flip,
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
    # mean 3, deviations -2 0 -1 3 0: covariances 2.8 and -0.6, variance (2.8 - 1.2) / 5 = 0.32
    # 3 / sqrt(0.32) = 5.303, times sqrt((5 + 1 - 4 + 2 / 5) / 5) = 0.6928
    p = diebold_mariano(np.array([[1.0, 3.0, 2.0, 6.0, 3.0]]), lags=1)
    assert p[0] == pytest.approx(stats.t.sf(3.674, 4), rel=1e-3)


def test_without_overlap_it_is_students_test() -> None:
    difference = rng().normal(0.3, 1, (5, 9))
    expected = stats.ttest_1samp(difference, 0, axis=1, alternative="greater").pvalue
    assert diebold_mariano(difference, lags=0) == pytest.approx(expected)


def test_a_variance_that_is_not_positive_is_no_evidence() -> None:
    assert diebold_mariano(np.array([[3.0, -1.0, 3.0, -1.0, 3.0, -1.0]]), lags=1)[0] == 1


def test_windows_that_all_overlap_are_no_evidence() -> None:
    assert diebold_mariano(np.array([[1.0, 1.1, 1.2]]), lags=2)[0] == 1


def test_the_same_gain_at_every_cutoff_is_evidence_and_the_same_loss_is_none() -> None:
    assert diebold_mariano(np.array([[0.1] * 9, [-0.1] * 9, [0.0] * 9]), lags=0).tolist() == [0, 1, 1]


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
    half = stats.t.isf(0.05, 2) * np.std(gains, ddof=1) / np.sqrt(3)
    assert (high - low) / 2 == pytest.approx(half, rel=0.3)
    assert low < 0 < high


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


def test_cutoffs_are_drawn_in_circular_blocks() -> None:
    counts = cutoff_counts(6, 2, 500, rng())
    allowed = {tuple(sorted(((start + np.arange(3)) % 6).tolist())) for start in range(6)}
    single = {tuple(np.nonzero(row)[0].tolist()) for row in counts if (row == 2).sum() == 3}  # the same block twice
    assert counts.sum(1).tolist() == [6] * 500
    assert single == allowed


# ---- the level: equal models, and gates that are broken


def mean_alone(champion: Array, challenger: Array) -> Array:
    return np.asarray(challenger.sum((1, 2)) < champion.sum((1, 2)))


def every_window_a_series(champion: Array, challenger: Array) -> Array:
    return np.asarray(sign_flip((champion - challenger).reshape(len(champion), -1), 500, rng()) <= CONFIG.level)


def series_alone(champion: Array, challenger: Array) -> Array:
    return by_series_alone(champion, challenger, CONFIG, rng(8))


def mistakes(gate: Callable[[Array, Array], Array], cell: Cell) -> int:
    return int(gate(*simulate(cell, PAIRS, rng(7))).sum())


def gate(champion: Array, challenger: Array) -> Array:
    return promoted(champion, challenger, CONFIG, rng(8))


@pytest.mark.parametrize("shocks", [False, True])
@pytest.mark.parametrize(("series", "cutoffs"), [(1, 12), (5, 3), (12, 12), (30, 1), (30, 3), (100, 3)])
def test_equal_models_are_promoted_no_more_often_than_declared(series: int, cutoffs: int, shocks: bool) -> None:
    assert mistakes(gate, Cell(series, cutoffs, shocks)) <= ALLOWED


@pytest.mark.parametrize("broken", [mean_alone, every_window_a_series, series_alone])
def test_a_broken_gate_would_be_found_out(broken: Callable[[Array, Array], Array]) -> None:
    assert mistakes(broken, Cell(100, 3, True)) > ALLOWED


def test_a_gain_is_found_in_pairs_and_lost_without_them() -> None:
    champion, challenger = simulate(Cell(100, 3, False, 0.2), 100, rng(9))
    assert gate(champion, challenger).mean() > 0.8
    assert gate(champion, challenger[:, rng(10).permutation(100)]).mean() < 0.5
