"""Accuracy point by point agrees with the metrics of whole windows, and the bias with hand-made numbers."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tasks.accuracy import by_part, points, scales
from tasks.metrics import overall, per_series, per_step, scales_of

DAY = datetime(2024, 1, 1)
SEASON = 7
GROUPS = pl.DataFrame({"unique_id": ["a", "c"], "part": ["size=low", "size=high"]})


@pytest.fixture
def history() -> pl.DataFrame:
    """Three series of 40 days, 20 days, and 5 days (no longer than a season), with missing values, one constant."""
    rng = np.random.default_rng(1)
    frames = []
    for name, length in {"a": 40, "b": 20, "c": 5, "flat": 40}.items():
        y = np.full(length, 3.0) if name == "flat" else rng.normal(5, 2, length)
        values = (
            pl.Series("y", y).set(pl.Series(np.arange(length) % 6 == 3), None) if name == "a" else pl.Series("y", y)
        )
        ds = [DAY + timedelta(days=40 - length + n) for n in range(length)]
        frames.append(pl.DataFrame({"unique_id": name, "ds": ds, "y": values}))
    return pl.concat(frames)


@pytest.fixture
def forecasts(history: pl.DataFrame) -> pl.DataFrame:
    """Two steps from two cutoffs, the deciles drawn at random."""
    rng = np.random.default_rng(2)
    parts = []
    for at in (DAY + timedelta(days=37), DAY + timedelta(days=36)):
        part = history.filter((pl.col("ds") > at) & (pl.col("ds") <= at + timedelta(days=2)))
        parts.append(part.with_columns(cutoff=pl.lit(at), step=(pl.col("ds") - at).dt.total_days()))
    frame = pl.concat(parts)
    deciles = np.sort(rng.normal(5, 2, (frame.height, 9)), 1)
    return frame.with_columns(pl.Series(f"0.{n + 1}", deciles[:, n]) for n in range(9))


def test_the_figures_are_those_of_the_backtest(history: pl.DataFrame, forecasts: pl.DataFrame) -> None:
    scores = per_series(forecasts, history, SEASON)
    table = by_part(points(forecasts, scales(history, forecasts, SEASON)), GROUPS)
    for part, own in {"all": scores, "size=low": scores.filter(pl.col("unique_id") == "a")}.items():
        row = table.row(by_predicate=pl.col("part") == part, named=True)
        assert {name: row[name] for name in ("MASE", "SQL", "WQL", "coverage_80")} == pytest.approx(
            {name: value for name, value in overall(own).items() if name in row}
        )
    steps = table.filter(pl.col("part").str.starts_with("step=")).select("MASE", "coverage_80")
    assert_frame_equal(steps, per_step(forecasts, scores).select("MASE", "coverage_80"))


def test_scales_of_a_backtest_are_the_same(history: pl.DataFrame, forecasts: pl.DataFrame) -> None:
    scores = per_series(forecasts, history, SEASON)
    own = scales(history, forecasts, SEASON).join(
        scores.select("unique_id", "cutoff"), on=["unique_id", "cutoff"], how="semi"
    )
    assert_frame_equal(own, scales_of(scores).sort("unique_id", "cutoff"))


def test_a_later_value_changes_no_scale(history: pl.DataFrame, forecasts: pl.DataFrame) -> None:
    later = pl.when(pl.col("ds") > forecasts["cutoff"].max()).then(1e6).otherwise("y").alias("y")
    assert_frame_equal(scales(history, forecasts, SEASON), scales(history.with_columns(later), forecasts, SEASON))


def test_bias_is_positive_where_forecasts_are_too_high() -> None:
    frame = pl.DataFrame({"unique_id": "a", "cutoff": DAY, "ds": DAY, "step": [1, 2, 3], "y": [1.0, 2.0, None]})
    told = frame.with_columns(pl.lit(5.0).alias(f"0.{n}") for n in range(1, 10))
    scale = pl.DataFrame({"unique_id": ["a"], "cutoff": [DAY], "scale": [2.0]})
    assert by_part(points(told, scale), GROUPS)["bias"].to_list() == [1.75, 2.0, 1.5, 1.75]  # all, both steps, group
