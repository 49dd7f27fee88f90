"""Statistical baselines from statsforecast on the same windows, as deciles."""

import logging
import os
import warnings

import numpy as np
import polars as pl

from rnn_model.config import DECILES
from rnn_model.windows import Floats, Index, Windows

MODELS = ("SeasonalNaive", "AutoETS", "DynamicOptimizedTheta")  # names of statsforecast's classes
LEVELS = (20, 40, 60, 80)  # central intervals whose ends, with the point forecast, are the nine deciles
MANY = 50  # series from which a second process pays for its start


def forecast_baseline(name: str, windows: Windows, index: Index, horizon: int, season: int, longest: int) -> Floats:
    """Deciles of one baseline for every window: (B, H, Q) float64, fitted only to what lies before each origin.

    Missing values are interpolated within that history; at most `longest` recent points are used. A history no
    longer than a season is fitted without one. Where a model cannot be fitted (too few points), Naive answers.
    """
    out = np.full((len(index.series), horizon, len(DECILES)), np.nan)
    histories = [_history(windows, int(s), int(o), longest) for s, o in zip(*index, strict=True)]
    seasonal = np.array([len(h) > season for h in histories])
    for lag, rows in ((season, np.nonzero(seasonal)[0]), (1, np.nonzero(~seasonal)[0])):
        if len(rows):
            out[rows] = _forecast(name, [histories[r] for r in rows], horizon, lag)
    return out


def _history(windows: Windows, series: int, origin: int, longest: int) -> Floats:
    values = np.asarray(windows.history(series)[max(0, origin - longest) : origin], dtype=np.float64)
    known = np.nonzero(~np.isnan(values))[0]
    if not len(known):
        return np.zeros(1)
    return np.asarray(np.interp(np.arange(known[0], len(values)), known, values[known]))


def _forecast(name: str, histories: list[Floats], horizon: int, season: int) -> Floats:
    from statsforecast import StatsForecast, models  # seconds of imports that other commands do without

    lengths = [len(h) for h in histories]
    frame = pl.DataFrame(
        {
            "unique_id": np.repeat(np.arange(len(histories)), lengths),
            "ds": np.concatenate([np.arange(n) for n in lengths]),
            "y": np.concatenate(histories),
        }
    )
    jobs = min(os.cpu_count() or 1, 8) if len(histories) >= MANY else 1
    engine = StatsForecast(
        [getattr(models, name)(season_length=season, alias="m")],
        freq=1,
        n_jobs=jobs,
        fallback_model=models.Naive(alias="m"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # short histories are announced once per series; the docstring says what happens
        logging.getLogger("statsforecast").setLevel(logging.ERROR)
        result = engine.forecast(df=frame, h=horizon, level=list(LEVELS)).sort("unique_id", "ds")
    columns = [f"m-lo-{level}" for level in reversed(LEVELS)] + ["m"] + [f"m-hi-{level}" for level in LEVELS]
    point = pl.col("m")
    filled = result.select(pl.when(pl.col(c).is_finite()).then(pl.col(c)).otherwise(point).alias(c) for c in columns)
    values: Floats = filled.to_numpy().reshape(len(histories), horizon, len(DECILES))
    return np.sort(values, axis=-1)  # a point forecast is the mean of some models; deciles stay in order
