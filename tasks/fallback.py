"""The declared answer for a series with a faulty value, which the network does not touch: the last season again.

A faulty value (infinite, beyond 1e300, or one of several at a time) says as much as a missing one. What is left of the
series is repeated where that has a meaning: its rows lie on the calendar, few of them are faulty, and the season that
is repeated holds a sound value. Everything else stays left out.
"""

import numpy as np
import polars as pl

from rnn_model.config import DECILES, QUANTILES
from rnn_model.windows import Floats
from tasks.contract import LARGEST, split_rows
from tasks.forecaster import COLUMNS, step_times
from tasks.frequency import parse_frequency

FAULTY = ("infinite value", "beyond 1e300", "conflicting duplicate")  # rules that a value breaks, not the calendar
MOST_FAULTY = 0.1  # share of a series' rows; with more of them nobody knows what the others are worth
LEAST_ERRORS = 10  # past errors that nine deciles take


def naive_answers(
    rows: pl.DataFrame, quarantine: pl.DataFrame, freq: str, gaps: str, season: int, horizon: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Series of `quarantine` whose sound values can be repeated -> their forecasts, and unique_id, why for the others.

    `rows` holds unique_id, ds, y sorted. The forecasts have the columns of `forecast_frame`; deciles are null where
    fewer than LEAST_ERRORS past errors of the naive forecast are known.
    """
    candidates = quarantine.filter(pl.col("rule").is_in(FAULTY)).select("unique_id")
    mended, spoilt = mend(rows.join(candidates, on="unique_id", how="semi", maintain_order="left"))
    used, broken, _ = split_rows(mended, parse_frequency(freq), gaps, 1, 1)
    season_seen = pl.col("y").tail(season).count()
    stale = used.group_by("unique_id", maintain_order=True).agg(seen=season_seen).filter(pl.col("seen") == 0)
    words = f"no sound value in the last {season} step{'s' * (season > 1)}"
    reasons = [
        spoilt.select("unique_id", why=pl.lit(f"over {MOST_FAULTY:.0%} of its rows are faulty")),
        broken.select("unique_id", why="rule"),
        stale.select("unique_id", why=pl.lit(words)),
    ]
    used = used.join(stale, on="unique_id", how="anti", maintain_order="left")
    return repeated(used, freq, season, horizon), pl.concat(reasons)


def mend(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows with one for each time, faulty values missing; and the series (unique_id) with too many of those."""
    wild = pl.col("y").is_infinite() | (pl.col("y").abs() > LARGEST)
    at_once = rows.with_columns(wild=wild.fill_null(False)).group_by("unique_id", "ds", maintain_order=True)
    faulty = pl.col("wild").any() | (pl.col("y").n_unique() > 1)
    once = at_once.agg(y=pl.when(~faulty).then(pl.col("y").first()), faulty=faulty)
    spoilt = once.group_by("unique_id", maintain_order=True).agg(pl.col("faulty").mean())
    spoilt = spoilt.filter(pl.col("faulty") > MOST_FAULTY).select("unique_id")
    return once.drop("faulty").join(spoilt, on="unique_id", how="anti", maintain_order="left"), spoilt


def repeated(used: pl.DataFrame, freq: str, season: int, horizon: int) -> pl.DataFrame:
    """Every series of `used`, on its grid, continued by its last season: the columns of `forecast_frame`."""
    if used.is_empty():
        return step_times(used, freq, horizon).with_columns(
            pl.lit(None, pl.Float64).alias(name) for name in COLUMNS[3:]
        )
    values = [own["y"].to_numpy() for own in used.partition_by("unique_id", maintain_order=True)]
    both = [naive(y, season if len(y) >= season else 1, horizon) for y in values]
    point, deciles = np.concatenate([p for p, _ in both]), np.concatenate([d for _, d in both])
    numbers = {"y_hat": point} | {q: deciles[:, n] for n, q in enumerate(DECILES)}
    frame = pl.concat([step_times(used, freq, horizon), pl.DataFrame(numbers)], how="horizontal")
    return frame.select(COLUMNS).with_columns(pl.col(DECILES).fill_nan(None))


def naive(y: Floats, lag: int, horizon: int) -> tuple[Floats, Floats]:
    """The last `lag` values (N,) again and again: point (H,) and deciles (H, Q), NaN where too few errors are known.

    A missing one is the latest of its place in an earlier season, else the latest of all. The errors of k seasons
    ahead are those of one, mirrored, times the root of k (Hyndman and Athanasopoulos, Forecasting: principles and
    practice, 3rd ed., section 5.5). Where nothing observed is negative, no forecast is.
    """
    steps = np.arange(horizon)
    last = y[np.isfinite(y)][-1]
    places = (y[len(y) - lag + place :: -lag] for place in range(lag))
    latest = np.array([next(iter(own[np.isfinite(own)]), last) for own in places])
    point = latest[steps % lag]
    errors = y[lag:] - y[:-lag]
    errors = errors[np.isfinite(errors)]
    deciles = np.full((horizon, len(QUANTILES)), np.nan)
    if len(errors) >= LEAST_ERRORS:
        widths = np.quantile(np.concatenate([errors, -errors]), QUANTILES)
        deciles = point[:, None] + np.sqrt(1 + steps // lag)[:, None] * widths
    if np.nanmin(y) >= 0:
        deciles = deciles.clip(min=0.0)
    return point, deciles
