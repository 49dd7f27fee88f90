"""Models whose losses are known by construction, as the frames that the backtest writes."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from rnn_model.config import DECILES
from tasks.metrics import per_series
from tasks.pairing import Scored

DAY, PAST, HORIZON = datetime(2024, 1, 1), 20, 2
Array = np.ndarray[Any, Any]


def days(cutoffs: int) -> list[datetime]:
    return [DAY + timedelta(days=n) for n in range(PAST + HORIZON * cutoffs)]


def rising(series: int, cutoffs: int) -> pl.DataFrame:
    """Series that rise by 1 a day: the scale is 1, so an error is its own loss."""
    parts = [
        {"unique_id": f"s{i:03}", "ds": day, "y": float(n)}
        for i in range(series)
        for n, day in enumerate(days(cutoffs))
    ]
    return pl.DataFrame(parts, schema={"unique_id": pl.String, "ds": pl.Datetime("us"), "y": pl.Float64})


def scored(name: str, errors: Array, spread: float = 0.0, step: int = HORIZON) -> Scored:
    """A model that is off by `errors` (series, cutoffs), with the outer deciles `spread` further out.

    `step`: days from one cutoff to the next; windows overlap where it is shorter than the horizon.
    """
    series, cutoffs = errors.shape
    history, calendar = rising(series, cutoffs), days(cutoffs)
    parts = []
    for k in range(cutoffs):
        cutoff = calendar[PAST + step * k - 1]
        error = pl.Series(errors[:, k]).gather(np.repeat(np.arange(series), HORIZON))
        ahead = history.filter((pl.col("ds") > cutoff) & (pl.col("ds") <= cutoff + timedelta(days=HORIZON)))
        shift = dict.fromkeys(DECILES, 0.0) | {"0.1": -spread, "0.9": spread}
        parts.append(
            ahead.with_columns(
                *[(pl.col("y") + error + shift[q]).alias(q) for q in DECILES],
                cutoff=pl.lit(cutoff).cast(pl.Datetime("us")),
                step=(pl.col("ds") - cutoff).dt.total_days(),
            )
        )
    forecasts = pl.concat(parts)
    return Scored(name, "f" * 64, per_series(forecasts, history, season=1), forecasts)


def losses(series: int, cutoffs: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).gamma(8, 0.2, (series, cutoffs))


def noisy(champion: Array, factor: float) -> Array:
    return champion * factor * np.random.default_rng(1).uniform(0.95, 1.05, champion.shape)
