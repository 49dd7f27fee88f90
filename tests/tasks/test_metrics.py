"""Accuracy against a second implementation: loops over NumPy arrays, written from the definitions alone."""

import math
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from rnn_model.config import DECILES
from tasks.metrics import backtest_metrics, calibration, overall, per_series, per_step, ranked, with_owa

DAY = datetime(2024, 1, 1)
HORIZON = 3
Series = dict[str, list[float]]
Deciles = dict[tuple[str, int], np.ndarray]  # (series, origin) -> (H, 9)


def frames(series: Series, deciles: Deciles) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Forecast frame and history frame; day n of a series is n days after 2024-01-01, NaN is missing."""
    history = [
        (name, DAY + timedelta(days=n), None if math.isnan(value) else float(value))
        for name, values in series.items()
        for n, value in enumerate(values)
    ]
    forecast = [
        (
            name,
            DAY + timedelta(days=origin - 1),
            DAY + timedelta(days=origin + k),
            k + 1,
            history_value(series[name], origin + k),
            *map(float, block[k]),
        )
        for (name, origin), block in deciles.items()
        for k in range(len(block))
    ]
    times = pl.Datetime("us")
    past = {"unique_id": pl.String, "ds": times, "y": pl.Float64}
    ahead = {"unique_id": pl.String, "cutoff": times, "ds": times, "step": pl.Int64, "y": pl.Float64}
    deciles_schema = dict.fromkeys(DECILES, pl.Float64)
    return (
        pl.DataFrame(forecast, schema=ahead | deciles_schema, orient="row"),
        pl.DataFrame(history, schema=past, orient="row"),
    )


def history_value(values: list[float], n: int) -> float | None:
    return None if math.isnan(values[n]) else float(values[n])


def scored(series: Series, deciles: Deciles, season: int) -> dict[str, float]:
    forecast, history = frames(series, deciles)
    return overall(per_series(forecast, history, season))


def slowly(series: Series, deciles: Deciles, season: int) -> dict[str, float]:
    """The same table by the definitions, one number at a time."""
    scaled, squared, smape, absolute, inside, truth = [], [], [], [], [], []
    loss, quantile = np.zeros(9), []
    for (name, origin), block in deciles.items():
        past = np.array([v for v in series[name][:origin] if not math.isnan(v)])
        lag = season if len(past) > season else 1
        steps = past[lag:] - past[:-lag]
        mean_step, mean_square = np.abs(steps).mean(), (steps**2).mean()
        errors = []
        for k, row in enumerate(block):
            y = series[name][origin + k]
            if math.isnan(y):
                continue
            error = abs(y - row[4])
            errors.append(error)
            absolute.append(error)
            smape.append(200 * error / (abs(y) + abs(row[4])))
            inside.append(row[0] <= y <= row[8])
            truth.append(abs(y))
            own = np.zeros(9)
            for i in range(9):
                tau = (i + 1) / 10
                own[i] = tau * (y - row[i]) if y >= row[i] else (1 - tau) * (row[i] - y)
            loss += own
            if mean_step > 0:
                scaled.append(error / mean_step)
                quantile.append(2 * own.mean() / mean_step)
        if mean_step > 0:
            squared += [math.sqrt(np.mean(np.square(errors)) / mean_square)] * len(errors)
    return {
        "MASE": np.mean(scaled),
        "RMSSE": np.mean(squared),
        "sMAPE": np.mean(smape),
        "MAE": np.mean(absolute),
        "WQL": np.mean(2 * loss / np.sum(truth)),
        "SQL": np.mean(quantile),
        "coverage_80": np.mean(inside),
    }


def random_case(seed: int) -> tuple[Series, Deciles]:
    """Five series of different lengths and sizes with missing values, two cutoffs each, random deciles."""
    rng = np.random.default_rng(seed)
    series: Series = {}
    deciles: Deciles = {}
    for name, length, size in (("a", 40, 1.0), ("b", 23, 1000.0), ("c", 14, 5.0), ("d", 10, 0.1), ("e", 12, 3.0)):
        values = rng.normal(size=length).cumsum() * size + 2 * size
        values[rng.random(length) < 0.15] = np.nan
        values[[0, 1, -1]] = rng.normal(size=3) * size  # something to scale by, something to score
        if name == "e":
            values[: length - HORIZON - 2] = size  # constant until the first cutoff: no scale there
        series[name] = values.tolist()
        for origin in (length - HORIZON - 2, length - HORIZON):
            deciles[name, origin] = np.sort(rng.normal(size=(HORIZON, 9)) * size + values[0], axis=1)
    return series, deciles


@pytest.mark.parametrize("season", [1, 4, 7, 12])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_metric_equals_its_slow_twin(season: int, seed: int) -> None:
    series, deciles = random_case(seed)
    fast, slow = scored(series, deciles, season), slowly(series, deciles, season)
    assert set(fast) == set(slow)
    for name, value in slow.items():
        assert fast[name] == pytest.approx(value, rel=1e-9), name


def test_a_hand_computed_table() -> None:
    # history 1 2 4 7: steps 1 2 3, mean 2, mean square 14/3; truth 10 20, medians 8 26
    block = np.array([[6.0] * 4 + [8.0] * 5, [24.0] * 4 + [26.0] * 5])
    table = scored({"a": [1, 2, 4, 7, 10, 20]}, {("a", 4): block}, season=1)
    assert table["MAE"] == 4.0  # (2 + 6) / 2
    assert table["MASE"] == 2.0
    assert table["RMSSE"] == pytest.approx(math.sqrt(20 / (14 / 3)))  # (4 + 36) / 2
    assert table["sMAPE"] == pytest.approx(200 * (2 / 18 + 6 / 46) / 2)
    assert table["coverage_80"] == 0.0
    # y 10: deciles 0.1 to 0.4 are 4 under, 0.5 to 0.9 are 2 under; y 20: they are 4 and 6 over
    below = 4 * (0.1 + 0.2 + 0.3 + 0.4) + 2 * (0.5 + 0.6 + 0.7 + 0.8 + 0.9)
    above = 4 * (0.9 + 0.8 + 0.7 + 0.6) + 6 * (0.5 + 0.4 + 0.3 + 0.2 + 0.1)
    assert table["WQL"] == pytest.approx(2 * (below + above) / 30 / 9)
    assert table["SQL"] == pytest.approx(2 * (below + above) / 9 / 2 / 2)  # nine deciles, two steps, scale 2


def test_a_perfect_forecast_has_no_error_and_full_coverage() -> None:
    table = scored({"a": [1, 3, 2, 5, 4, 6]}, {("a", 3): np.repeat([[5.0], [4.0], [6.0]], 9, axis=1)}, season=1)
    assert table == {"MASE": 0, "RMSSE": 0, "sMAPE": 0, "MAE": 0, "WQL": 0, "SQL": 0, "coverage_80": 1}


def test_a_forecast_of_zero_that_comes_true_has_no_error() -> None:
    table = scored({"a": [1, 3, 0, 5]}, {("a", 2): np.repeat([[0.0], [5.0]], 9, axis=1)}, season=1)
    assert table["sMAPE"] == 0


def test_smape_leaves_out_steps_where_truth_and_forecast_are_both_zero() -> None:
    table = scored({"a": [1, 3, 0, 5]}, {("a", 2): np.repeat([[0.0], [4.0]], 9, axis=1)}, season=1)
    assert table["sMAPE"] == pytest.approx(200 * 1 / 9)  # of the second step alone


def test_smape_of_series_counts_the_steps_it_is_known_for() -> None:
    series: Series = {"a": [1, 3, 0, 5], "b": [1, 3, 2, 2]}
    ahead = {"a": np.repeat([[0.0], [4.0]], 9, axis=1), "b": np.repeat([[1.0], [2.0]], 9, axis=1)}
    table = scored(series, {(name, 2): block for name, block in ahead.items()}, season=1)
    assert table["sMAPE"] == pytest.approx((200 / 9 + 200 / 3 + 0) / 3)


def test_with_nothing_but_zeros_that_come_true_smape_is_unknown() -> None:
    assert math.isnan(scored({"a": [1, 3, 0]}, {("a", 2): np.zeros((1, 9))}, season=1)["sMAPE"])


def test_smape_reaches_200_percent() -> None:
    assert scored({"a": [1, 3, 5]}, {("a", 2): np.full((1, 9), -5.0)}, season=1)["sMAPE"] == 200


def test_values_on_the_outer_deciles_are_covered() -> None:
    block = np.tile(np.linspace(1, 9, 9), (3, 1))
    assert scored({"a": [1, 2, 1, 9, 9.5]}, {("a", 2): block}, season=1)["coverage_80"] == pytest.approx(2 / 3)


def test_a_constant_history_is_skipped_by_the_scaled_metrics_only() -> None:
    ahead = np.full((1, 9), 6.0)
    series: Series = {"flat": [5, 5, 5, 7], "moving": [1, 3, 5, 7]}
    forecast, history = frames(series, {("flat", 3): ahead, ("moving", 3): ahead})
    scores = per_series(forecast, history, season=1)
    assert scores["unique_id"].to_list() == ["flat", "moving"]
    assert scores["MASE"].to_list() == [None, 0.5]
    assert scores["RMSSE"].to_list() == [None, 0.5]
    assert scores["SQL"].to_list() == [None, 0.5]  # a spike at 6: every decile as far off, weights 1 on average
    assert scores["MAE"].to_list() == [1, 1]
    assert overall(scores)["MASE"] == 0.5


def test_a_constant_history_that_goes_on_is_skipped_too() -> None:
    forecast, history = frames({"flat": [5, 5, 5, 5]}, {("flat", 3): np.full((1, 9), 5.0)})
    assert per_series(forecast, history, season=1)["MASE"].to_list() == [None]


def test_with_constant_histories_alone_mase_is_unknown() -> None:
    assert math.isnan(scored({"flat": [5, 5, 5, 7]}, {("flat", 3): np.full((1, 9), 6.0)}, season=1)["MASE"])


def test_with_nothing_but_zeros_ahead_wql_is_unknown_rather_than_infinite() -> None:
    assert math.isnan(scored({"a": [1, 3, 0]}, {("a", 2): np.full((1, 9), 1.0)}, season=1)["WQL"])


def test_a_history_of_one_point_has_no_scale() -> None:
    forecast, history = frames({"a": [5, 7]}, {("a", 1): np.full((1, 9), 6.0)})
    assert per_series(forecast, history, season=12)["MASE"].to_list() == [None]


@pytest.mark.parametrize(("past", "scale"), [([0, 10, 3, 11, 7], 7 - 0), ([0, 10, 3, 11], (10 + 7 + 8) / 3)])
def test_a_history_no_longer_than_the_season_is_scaled_by_single_steps(past: list[float], scale: float) -> None:
    one_scale_off = np.full((1, 9), 100 - scale)
    assert scored({"a": [*past, 100]}, {("a", len(past)): one_scale_off}, season=4)["MASE"] == pytest.approx(1)


def test_missing_values_do_not_count_towards_the_length_of_a_history() -> None:
    past = [0, 10, math.nan, 3, 11]  # four values: steps of 10, 7, 8
    block = np.full((1, 9), 100 - 25 / 3)
    assert scored({"a": [*past, 100]}, {("a", 5): block}, season=4)["MASE"] == pytest.approx(1)


def test_what_comes_after_a_cutoff_does_not_count_towards_its_scale() -> None:
    block = np.full((1, 9), 4.0)
    calm: Series = {"a": [1, 2, 1, 2, 3, 4, 5]}
    wild: Series = {"a": [1, 2, 1, 2, 3, 900, -900]}
    assert scored(calm, {("a", 4): block}, 1) == scored(wild, {("a", 4): block}, 1)


def test_every_observed_step_counts_once() -> None:
    series: Series = {"a": [0, 1, 2, 2, 2], "b": [0, 1, 5, math.nan, math.nan]}
    table = scored(series, {("a", 2): np.full((3, 9), 1.0), ("b", 2): np.full((3, 9), 1.0)}, season=1)
    assert table["MAE"] == (1 + 1 + 1 + 4) / 4


def test_a_window_without_an_observed_step_is_left_out() -> None:
    series: Series = {"a": [0, 1, 2], "b": [0, 1, math.nan]}
    forecast, history = frames(series, {("a", 2): np.ones((1, 9)), ("b", 2): np.ones((1, 9))})
    assert per_series(forecast, history, season=1)["unique_id"].to_list() == ["a"]


def test_each_cutoff_has_a_line_of_its_own() -> None:
    forecast, history = frames({"a": [0, 1, 2, 4]}, {("a", 2): np.ones((1, 9)), ("a", 3): np.ones((1, 9))})
    scores = per_series(forecast, history, season=1)
    assert scores["cutoff"].to_list() == [DAY + timedelta(days=1), DAY + timedelta(days=2)]
    assert scores["MASE"].to_list() == [1, 3]


def test_owa_is_the_mean_of_both_ratios_to_seasonal_naive() -> None:
    table = with_owa({"SeasonalNaive": {"sMAPE": 20.0, "MASE": 2.0}, "full": {"sMAPE": 10.0, "MASE": 0.5}})
    assert table["SeasonalNaive"]["OWA"] == 1
    assert table["full"]["OWA"] == 0.375


def test_without_seasonal_naive_there_is_no_owa() -> None:
    assert with_owa({"full": {"sMAPE": 10.0, "MASE": 0.5}}) == {"full": {"sMAPE": 10.0, "MASE": 0.5}}


def test_accuracy_per_step_averages_over_series() -> None:
    series: Series = {"a": [0, 2, 3, 6], "b": [0, 4, 4, 4]}  # scales 2 and 4
    forecast, history = frames(series, {("a", 2): np.full((2, 9), 2.0), ("b", 2): np.full((2, 9), 2.0)})
    steps = per_step(forecast, per_series(forecast, history, season=1))
    assert steps.rows() == [(1, (1 / 2 + 2 / 4) / 2, 0.0), (2, (4 / 2 + 2 / 4) / 2, 0.0)]


def test_a_perfect_series_counts_in_the_accuracy_per_step() -> None:
    series: Series = {"a": [0, 2, 4], "b": [0, 2, 6]}
    forecast, history = frames(series, {("a", 2): np.full((1, 9), 4.0), ("b", 2): np.full((1, 9), 4.0)})
    assert per_step(forecast, per_series(forecast, history, season=1))["MASE"].to_list() == [0.5]


def test_a_constant_history_does_not_count_in_the_accuracy_per_step() -> None:
    series: Series = {"flat": [2, 2, 9], "b": [0, 2, 6]}
    forecast, history = frames(series, {("flat", 2): np.full((1, 9), 4.0), ("b", 2): np.full((1, 9), 4.0)})
    assert per_step(forecast, per_series(forecast, history, season=1))["MASE"].to_list() == [1.0]


def test_calibration_is_the_share_at_or_below_each_decile() -> None:
    block = np.tile(np.linspace(1, 9, 9), (4, 1))
    forecast, _ = frames({"a": [0, 0, 1, 5, 5.5, math.nan]}, {("a", 2): block})
    expected = [1 / 3] * 4 + [2 / 3] + [1.0] * 4
    assert calibration(forecast) == pytest.approx(expected)


def test_a_table_is_ranked_by_mase_and_what_has_none_comes_last() -> None:
    table = {"unknown": {"MASE": math.nan}, "worse": {"MASE": 2.0}, "best": {"MASE": 0.5}}
    assert [name for name, _ in ranked(table)] == ["best", "worse", "unknown"]


def test_metrics_have_a_name_of_their_own_in_mlflow() -> None:
    assert backtest_metrics({"MASE": 1.0, "OWA": 0.5, "windows": 7}) == {"backtest/MASE": 1.0, "backtest/OWA": 0.5}
