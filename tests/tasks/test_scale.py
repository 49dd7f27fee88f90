"""What has a scale: honest histories of every level, and none that only rounding moves."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from rnn_model.config import DECILES
from tasks.evaluate import ruled_note, unscaled_note
from tasks.metrics import overall, per_series
from tasks.pairing import Scored, pair
from tasks.scale import scales

Array = np.ndarray[Any, Any]
START, SEASON, MONTHS = datetime(2018, 1, 1), 12, np.arange(72)
SINE = 2 * np.pi * MONTHS / SEASON


def history(**series: Any) -> pl.DataFrame:
    """Series that all begin on one day, a value a day."""
    parts = [
        pl.DataFrame({"unique_id": name, "ds": [START + timedelta(days=n) for n in range(len(y))], "y": np.array(y)})
        for name, y in series.items()
    ]
    return pl.concat([part.with_columns(pl.col("y").cast(pl.Float64)) for part in parts])


def scale(values: Any, season: int = SEASON) -> float | None:
    frame = history(a=values)
    found = scales(frame, pl.DataFrame({"unique_id": ["a"], "cutoff": [frame["ds"][-1]]}), season)
    return found["scale"].item()  # type: ignore[no-any-return]


def noise(size: int = 72) -> Array:
    return np.random.default_rng(0).normal(size=size)


@pytest.mark.parametrize(
    "values",
    [
        100 + 10 * np.sin(SINE),
        np.sin(SINE),
        -1e12 * np.sin(SINE),
        1e-200 * np.sin(SINE),
        np.sin(2 * np.pi * np.arange(90_000) / SEASON),
        1e6 + np.sin(2 * np.pi * np.arange(90_000) / SEASON),
        np.float32(100) + np.float32(10) * np.sin(np.float32(2 * np.pi / SEASON) * MONTHS.astype(np.float32)),
        [sum([0.1] * n) / n for n in range(1, 73)],
        [0.1 + 0.2, 0.3] * 36,
        [1e9, 1e9 + 1e-7, 1e9] * 24,
        [5.0] * 72,
        [0.0] * 72,
    ],
)
def test_a_history_that_only_rounding_moves_has_no_scale(values: Any) -> None:
    assert scale(values) is None


@pytest.mark.parametrize(
    "values",
    [
        noise(),
        1e9 + noise(),
        -1e9 + noise(),
        1e12 + noise(),
        1e-200 * noise(),
        1e300 * noise(),
        (100 + noise()).round(1),
        (1e-3 * noise()).round(4),
        1e7 + (noise() > 0),  # counts, exact in single precision too
        100_000.25 + 0.25 * (noise() > 0),
        (20 + noise()).astype(np.float32),
        100 + 10 * np.sin(SINE) + 1e-4 * noise(),
        np.where(MONTHS == 40, 101.0, 100.0),
        np.where(MONTHS == 40, 1e9 + 1, 1e9),
        np.where(np.arange(100_000) == 40, 100.1, 100.0),
        np.where(MONTHS == 3, 1e12, noise()),
        np.arange(100_000) / 100_000,
        np.exp(np.linspace(0, 300, 72)),
    ],
)
def test_an_honest_history_keeps_its_scale(values: Any) -> None:
    y = np.asarray(values, dtype=np.float64)
    assert scale(y) == pytest.approx(np.abs(y[SEASON:] - y[:-SEASON]).mean(), rel=1e-6)


def test_what_comes_later_does_not_count() -> None:
    steady = 100 + 10 * np.sin(SINE)
    frame = history(a=np.concatenate([steady, [250.0]]))
    cuts = frame.filter(pl.col("ds") >= START + timedelta(days=71)).select("unique_id", cutoff="ds")
    assert scales(frame, cuts, SEASON)["scale"].is_null().to_list() == [True, False]


def ahead(frame: pl.DataFrame, error: float) -> pl.DataFrame:
    """Forecasts of the last six days that are off by `error`."""
    cutoff = frame["ds"].max() - timedelta(days=6)  # type: ignore[operator]
    days = frame.filter(pl.col("ds") > cutoff).with_columns(cutoff=pl.lit(cutoff))
    step = (pl.col("ds") - pl.col("cutoff")).dt.total_days()
    return days.with_columns(step=step, **{q: pl.col("y") + error for q in DECILES})


@pytest.fixture
def eleven_and_one() -> pl.DataFrame:
    """Eleven noisy series, and one that repeats itself but for rounding error."""
    noisy = {f"s{n:02}": 100 + np.sin(SINE) + np.random.default_rng(n).normal(size=72) for n in range(11)}
    return history(**noisy, computed=100 + 10 * np.sin(SINE))


def test_a_series_without_a_scale_does_not_decide_a_mean(eleven_and_one: pl.DataFrame) -> None:
    scores = per_series(ahead(eleven_and_one, 1.0), eleven_and_one, SEASON)
    table = overall(scores)
    assert all(table[metric] < 2 for metric in ("MASE", "RMSSE", "SQL"))
    assert scores.filter(pl.col("MASE").is_null())["unique_id"].to_list() == ["computed"]
    assert table["MAE"] == pytest.approx(1)  # it counts where nothing is scaled


def test_a_series_without_a_scale_does_not_decide_the_gate(eleven_and_one: pl.DataFrame) -> None:
    forecasts = ahead(eleven_and_one, 1.0)
    worse = pl.when(pl.col("unique_id") == "computed").then(2.0).otherwise(0.9) - 1  # times the error, less it
    other = forecasts.with_columns(pl.col(q) + worse for q in DECILES)
    old, new = (Scored("any", "f", per_series(f, eleven_and_one, SEASON), f) for f in (forecasts, other))
    pairs = pair(old, new, "SQL")
    assert pairs.windows["unique_id"].n_unique() == 11
    assert pairs.left_out == 1
    assert pairs.windows["challenger"].sum() == pytest.approx(0.9 * pairs.windows["champion"].sum())


def test_series_without_a_scale_are_named(eleven_and_one: pl.DataFrame) -> None:
    assert unscaled_note(per_series(ahead(eleven_and_one, 1.0), eleven_and_one, SEASON)) == [
        "1 window of 'computed' has no scale, as the history never changes but for rounding error: "
        "MASE, RMSSE, SQL and the gate leave them out"
    ]


def test_without_such_series_nothing_is_said(eleven_and_one: pl.DataFrame) -> None:
    honest = eleven_and_one.filter(pl.col("unique_id") != "computed")
    scores = per_series(ahead(honest, 1.0), honest, SEASON)
    assert unscaled_note(scores) == []
    assert ruled_note({"full": scores}) == []


@pytest.mark.parametrize("change", [lambda y: y + 1e-6 * noise(), lambda y: np.where(MONTHS == 40, 10.001, 10.0)])
def test_a_series_that_makes_up_a_mean_is_named(eleven_and_one: pl.DataFrame, change: Callable[[Array], Array]) -> None:
    frame = pl.concat([eleven_and_one, history(calm=change(100 + 10 * np.sin(SINE)))])
    scores = per_series(ahead(frame, 1.0), frame, SEASON)
    assert ruled_note({"full": scores, "Naive": scores}) == [
        "one series, 'calm', makes up more than half of the mean MASE of full, Naive"
    ]
