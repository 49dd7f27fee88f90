"""Intervals against cases that can be worked out by hand, and against scipy's bootstrap."""

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats

from tasks.intervals import Interval, intervals
from tasks.metrics import overall

RNG = np.random.default_rng(8)


def scores(**mase: list[float | None]) -> pl.DataFrame:
    """Model -> MASE of every series, one window of four steps each; everything else follows from it."""
    rows = [
        {"model": model, "unique_id": f"s{k}", "cutoff": 1, "n": 4, "n_smape": 4, "MASE": value, "RMSSE": value}
        | {"sMAPE": 1.0, "MAE": 1.0, "QL": 0.5 * (value or 0.0), "sum_abs": 10.0, "coverage_80": float(k % 2)}
        for model, values in mase.items()
        for k, value in enumerate(values)
    ]
    return pl.DataFrame(rows, schema_overrides={"MASE": pl.Float64, "RMSSE": pl.Float64}, infer_schema_length=None)


def test_two_series_give_one_of_three_means_in_every_draw() -> None:
    """Both the first (1/4), both the second (1/4) or one of each: the middle 95 % reach from end to end."""
    assert intervals(scores(a=[1.0, 3.0]), "MASE")["a"] == Interval(2.0, 1.0, 3.0)


def test_equal_series_leave_no_doubt() -> None:
    assert intervals(scores(a=[2.0] * 5), "MASE")["a"] == Interval(2.0, 2.0, 2.0)


def test_one_series_tells_nothing_of_others() -> None:
    found = intervals(scores(a=[2.0]), "MASE")["a"]
    assert found.value == 2.0
    assert not found.known


def test_a_model_without_any_scale_has_no_figure() -> None:
    found = intervals(scores(a=[None, None, None], b=[1.0, 1.0, 1.0]), "MASE")
    assert math.isnan(found["a"].value)
    assert not found["a"].known
    assert found["b"] == Interval(1.0, 1.0, 1.0)


def with_sql(frame: pl.DataFrame) -> pl.DataFrame:
    return frame if "SQL" in frame.columns else frame.with_columns(SQL=pl.lit(1.0))


@pytest.mark.parametrize("metric", ["MASE", "WQL", "coverage_80"])
def test_the_figures_themselves_are_those_of_the_table(metric: str) -> None:
    frame = scores(a=RNG.gamma(2, size=7).tolist(), b=RNG.gamma(2, size=7).tolist())
    for model, found in intervals(frame, metric).items():
        assert found.value == pytest.approx(overall(with_sql(frame.filter(pl.col("model") == model)))[metric])


def test_ends_are_those_of_scipys_bootstrap() -> None:
    values = RNG.gamma(2, size=40)
    found = intervals(scores(a=values.tolist()), "MASE")["a"]
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    width = theirs.high - theirs.low
    assert found.low == pytest.approx(theirs.low, abs=0.05 * width)
    assert found.high == pytest.approx(theirs.high, abs=0.05 * width)


def test_a_long_series_counts_by_its_steps() -> None:
    frame = scores(a=[1.0, 4.0]).with_columns(n=pl.Series([30, 10]))
    assert intervals(frame, "MASE")["a"].value == pytest.approx((30 * 1 + 10 * 4) / 40)


def test_a_scaled_loss_has_intervals_where_a_backtest_scores_it() -> None:
    frame = scores(a=[1.0, 3.0]).with_columns(SQL=pl.Series([0.5, None]))
    assert intervals(frame, "SQL")["a"].value == 0.5  # a series without a scale does not count


def test_a_difference_is_paired() -> None:
    """Every series is a tenth worse: that is certain, however much the series differ among themselves."""
    easy_and_hard = [0.1, 1.0, 10.0, 100.0]
    found = intervals(scores(a=easy_and_hard, b=[1.1 * v for v in easy_and_hard]), "MASE", against="a")
    assert (found["b"].value, found["b"].low, found["b"].high) == pytest.approx((0.1, 0.1, 0.1))
    assert found["a"] == Interval(0.0, 0.0, 0.0)


def test_equal_seeds_give_equal_intervals() -> None:
    frame = scores(a=RNG.gamma(2, size=20).tolist())
    assert intervals(frame, "MASE", seed=4) == intervals(frame, "MASE", seed=4)
    assert intervals(frame, "MASE", seed=4) != intervals(frame, "MASE", seed=5)
