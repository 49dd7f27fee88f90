"""The statistical baselines: hand-computed where that is possible, blind past the origin, finite on little data."""

import math

import numpy as np
import pytest

from rnn_model.windows import Index, Windows, from_arrays
from tasks.baselines import MODELS, forecast_baseline

NAN = math.nan


def windows(*series: list[float]) -> Windows:
    return from_arrays([np.array(s, dtype=np.float64) for s in series], np.full((len(series), 2), 4))


def origins(*pairs: tuple[int, int]) -> Index:
    series, origin = zip(*pairs, strict=True)
    return Index(np.array(series), np.array(origin))


def forecast(
    name: str, series: list[float], origin: int | None = None, horizon: int = 5, season: int = 4, longest: int = 1000
) -> np.ndarray:
    """(H, 9) deciles from one origin, by default the end of the series."""
    index = origins((0, len(series) if origin is None else origin))
    return forecast_baseline(name, windows(series), index, horizon, season, longest)[0]


def median(name: str, series: list[float], **options: int) -> list[float]:
    return forecast(name, series, **options)[:, 4].tolist()


def test_seasonal_naive_repeats_the_last_season() -> None:
    assert median("SeasonalNaive", [0, 0, 0, 0, 5, 6, 7, 8]) == [5, 6, 7, 8, 5]


def test_seasonal_naive_deciles_are_those_of_a_normal_that_widens_with_every_season() -> None:
    deciles = forecast("SeasonalNaive", [1, 2, 3, 4, 4, 5, 6, 7])  # every residual is 3
    z = 1.2815515655446004  # 0.9 quantile of the standard normal
    widths = [3 * z] * 4 + [3 * math.sqrt(2) * z]
    assert (deciles[:, 8] - deciles[:, 4]).tolist() == pytest.approx(widths)
    assert (deciles[:, 4] - deciles[:, 0]).tolist() == pytest.approx(widths)


@pytest.mark.parametrize("past", [[1, 2, 9], [1, 2, 3, 9]])
def test_a_history_no_longer_than_the_season_is_continued_by_its_last_value(past: list[float]) -> None:
    assert median("SeasonalNaive", past) == [9] * 5


def test_a_history_one_longer_than_the_season_is_seasonal() -> None:
    assert median("SeasonalNaive", [9, 1, 2, 3, 4]) == [1, 2, 3, 4, 1]


def test_long_and_short_histories_keep_their_rows() -> None:
    both = windows([0, 0, 0, 0, 5, 6, 7, 8], [1, 2], [0, 0, 0, 0, 1, 2, 3, 4])
    out = forecast_baseline("SeasonalNaive", both, origins((2, 8), (1, 2), (0, 8)), 2, 4, 1000)
    assert out[:, :, 4].tolist() == [[1, 2], [2, 2], [5, 6]]


def test_missing_values_are_interpolated_within_the_history() -> None:
    assert median("SeasonalNaive", [0, 0, 0, 0, 1, NAN, 3, NAN], horizon=4) == [1, 2, 3, 3]


def test_missing_values_at_the_start_are_no_history() -> None:
    assert median("SeasonalNaive", [NAN, NAN, 1, 2, 3], horizon=2) == [3, 3]  # three points: no season of four


def test_no_value_at_all_gives_zeros() -> None:
    assert forecast("SeasonalNaive", [NAN, NAN, NAN]).tolist() == np.zeros((5, 9)).tolist()


def test_only_the_most_recent_points_are_used() -> None:
    past = [900, -900, 900, -900, 1, 2, 3, 4, 1, 2, 3, 4]
    recent = forecast("SeasonalNaive", past, longest=8)
    assert recent.tolist() == forecast("SeasonalNaive", past[4:]).tolist()


@pytest.mark.parametrize("name", MODELS)
def test_nothing_at_or_after_the_origin_moves_a_forecast(name: str) -> None:
    past = np.random.default_rng(0).normal(size=24).cumsum().tolist()
    calm, wild = [*past, 1.0, 1.0, 1.0], [*past, 1e6, NAN, -1e6]
    np.testing.assert_array_equal(forecast(name, calm, origin=24), forecast(name, wild, origin=24))


@pytest.mark.parametrize("name", MODELS)
def test_other_series_do_not_move_a_forecast(name: str) -> None:
    one, other = np.random.default_rng(0).normal(size=(2, 24)).cumsum(axis=1)
    together = forecast_baseline(name, windows(list(other), list(one)), origins((0, 24), (1, 24)), 5, 4, 1000)
    np.testing.assert_array_equal(together[1], forecast(name, list(one)))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("past", [[3.0], [3.0, 4.0], [3.0, 4.0, 2.0], [5.0] * 12, [0.0] * 12, [1.0, NAN, NAN]])
def test_little_or_constant_history_gives_finite_deciles_in_order(name: str, past: list[float]) -> None:
    deciles = forecast(name, past)
    assert deciles.shape == (5, 9)
    assert np.isfinite(deciles).all()
    assert (np.diff(deciles, axis=1) >= 0).all()


@pytest.mark.parametrize("name", MODELS)
def test_deciles_are_in_order_and_apart_on_noisy_data(name: str) -> None:
    deciles = forecast(name, np.random.default_rng(1).normal(10, 2, size=40).tolist())
    assert (np.diff(deciles, axis=1) > 0).all()


def test_a_point_forecast_outside_its_own_interval_is_put_in_order() -> None:
    deciles = forecast("DynamicOptimizedTheta", [21, 0, 1, 0, 0], season=1)  # Theta's point falls below its decile 0.1
    assert (np.diff(deciles, axis=1) >= 0).all()


@pytest.mark.parametrize("name", ["AutoETS", "DynamicOptimizedTheta"])
def test_a_trend_is_carried_on(name: str) -> None:
    line = [10.0 + 2 * n + 0.1 * (-1) ** n for n in range(30)]
    assert median(name, line, season=1)[:2] == pytest.approx([70, 72], abs=1.5)
