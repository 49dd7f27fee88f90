"""The test by betting: a hand-computed course, its level under null and dependence, and that it finds what is there."""

import math

import numpy as np
import pytest
from scipy import stats

from tasks.sequential import HIGHEST, LOWEST, PATIENCE, STAKES, follow, upper_end

LEVEL = 0.025


def independent(shape: tuple[int, int], rng: np.random.Generator, phi: float = 0.0) -> np.ndarray:
    """Ratios with mean 1: a common shock of 20% that follows itself by `phi`."""
    z = np.empty(shape)
    z[:, 0] = rng.normal(size=shape[0])
    for t in range(1, shape[1]):
        z[:, t] = phi * z[:, t - 1] + math.sqrt(1 - phi**2) * rng.normal(size=shape[0])
    return np.exp(0.2 * z - 0.02)


def test_the_first_round_by_hand() -> None:
    staked = 1 - PATIENCE / (1 + PATIENCE)
    won = np.mean([1 + stake / (1.1 - LOWEST) * (2.0 - 1.1) for stake in STAKES])
    assert follow([2.0], 1.1, LEVEL).capital[0] == pytest.approx(staked * won + (1 - staked))


def test_the_capital_is_a_fair_game_where_rounds_cost_the_bound() -> None:
    """Mean capital over all paths of three rounds, each the lowest or 1.7 with equal chance: what was put in."""
    bound = (LOWEST + 1.7) / 2
    paths = [[LOWEST if path >> n & 1 else 1.7 for n in range(3)] for path in range(8)]
    assert np.mean([follow(path, bound, 1e-9).capital[-1] for path in paths]) == pytest.approx(1.0)


@pytest.mark.parametrize(("phi", "mean"), [(0.0, 1.1), (0.5, 1.0)])
def test_false_alarms_within_a_year_stay_under_the_level(phi: float, mean: float) -> None:
    """Independent days that cost the bound itself; days that follow each other, and cost what was promised."""
    rng = np.random.default_rng(3)
    years = independent((200, 365), rng, phi) * mean
    false = sum(bool(follow(year.tolist(), 1.1, LEVEL).alarms) for year in years)
    assert false <= stats.binom.ppf(0.99, len(years), LEVEL)


def test_looking_every_day_at_a_fixed_sample_test_would_not_stay_there() -> None:
    """The same years under a t-test repeated each day: the simulation can tell a bad test."""
    rng = np.random.default_rng(3)
    years = independent((200, 365), rng) * 1.1
    days = np.arange(5, 366)
    totals, squares = years.cumsum(1)[:, 4:], (years**2).cumsum(1)[:, 4:]
    spread = np.sqrt((squares - totals**2 / days) / (days - 1) / days)
    false = ((totals / days - 1.1) / spread > stats.t.ppf(1 - LEVEL, days - 1)).any(1).sum()
    assert false > stats.binom.ppf(0.9999, len(years), LEVEL)


def test_losses_twice_as_high_are_found_within_three_weeks() -> None:
    rng = np.random.default_rng(5)
    months = independent((100, 36), rng)
    months[:, 15:] *= 2
    first = [next(iter(follow(month.tolist(), 1.1, LEVEL).alarms), 99) for month in months]
    assert min(first) >= 15
    assert np.mean([day < 36 for day in first]) > 0.95


def test_one_bad_day_alone_gives_no_alarm_however_bad() -> None:
    quiet = [1.0] * 20
    assert follow([*quiet, 1e6, *quiet], 1.1, LEVEL).alarms == ()
    assert follow([*quiet, HIGHEST, *quiet], 1.1, LEVEL) == follow([*quiet, 1e6, *quiet], 1.1, LEVEL)


def test_after_an_alarm_the_test_starts_anew() -> None:
    course = follow([3.0] * 30, 1.1, LEVEL)
    first, second = course.alarms[:2]
    assert course.capital[first] >= 1 / LEVEL
    assert course.capital[first + 1] == pytest.approx(follow([3.0], 1.1, LEVEL).capital[0])
    assert second == 2 * first + 1


def test_what_a_promise_may_be_off_by_chance_is_students_upper_end() -> None:
    ratios = np.array([0.9, 1.0, 1.1])
    interval = stats.ttest_1samp(ratios, 1.0, alternative="less").confidence_interval(0.975)
    assert upper_end(ratios, 0.025) == pytest.approx(interval.high)


def test_one_cutoff_tells_nothing_of_chance() -> None:
    assert upper_end(np.array([1.0]), 0.025) == math.inf
