"""A target whose law is known, forecasts of it by that law, published day after day, and the backtest of such."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from rnn_model.artefact import publish, sha256_file
from rnn_model.config import DECILES, QUANTILES
from tasks.evaluate import publish_backtest
from tasks.forecast_log import Batch, append_batch, forecasts_folder, read_log
from tasks.handles import Dataset, Validated
from tasks.ingest import ingest_files
from tasks.metrics import per_series
from tasks.promise import Promise, read_promise
from tasks.segments import KINDS, segments
from tasks.series_config import TargetConfig
from tasks.validate import validate_dataset

FIRST = datetime(2024, 1, 1)
SEASON, HORIZON, SERIES = 7, 3, 12
NAME = "sales"


def day(number: int) -> datetime:
    return FIRST + timedelta(days=number)


def level_of(number: np.ndarray) -> np.ndarray:
    return 20 + 5 * np.sin(2 * np.pi * number / SEASON)


def truth(days: int, spread_from: int = 10_000, seed: int = 0) -> pl.DataFrame:
    """Values of every series up to and with day `days - 1`; from `spread_from` on they scatter three times as much."""
    number = np.arange(days)
    frames = []
    for name in range(SERIES):
        noise = np.random.default_rng([seed, name]).normal(size=2000)[:days]  # the past does not depend on `days`
        y = level_of(number) + np.where(number >= spread_from, 3, 1) * noise
        frames.append(pl.DataFrame({"unique_id": f"s{name:02d}", "ds": [day(n) for n in range(days)], "y": y}))
    return pl.concat(frames)


def told(cutoff: int, horizon: int = HORIZON) -> pl.DataFrame:
    """The law's forecast from a day: unique_id, ds, cutoff, y_hat, deciles, path."""
    number = np.arange(cutoff + 1, cutoff + 1 + horizon)
    middle = level_of(number)
    columns = {q: middle + stats.norm.ppf(p) for q, p in zip(DECILES, QUANTILES, strict=True)}
    one = pl.DataFrame(
        {"ds": [day(int(n)) for n in number], "cutoff": [day(cutoff)] * horizon, "y_hat": middle} | columns
    )
    names = pl.DataFrame({"unique_id": [f"s{name:02d}" for name in range(SERIES)]})
    return names.join(one, how="cross").with_columns(path=pl.lit("model")).select("unique_id", pl.exclude("unique_id"))


def log_batch(cutoff: int, frame: pl.DataFrame | None = None, **fields: Any) -> Batch:
    """Publish and log what the law says from a day, or another frame."""
    frame = told(cutoff) if frame is None else frame
    log = read_log(NAME)
    name = f"{len(log.entries)}"
    folder = publish(forecasts_folder(NAME) / name, lambda staging: frame.write_parquet(staging / "forecast.parquet"))
    version = fields.get("version", 1)
    usual = {
        "key": name,
        "target": NAME,
        "folder": folder,
        "digest": sha256_file(folder / "forecast.parquet"),
        "model": f"models:/{NAME}/{version}" if version else "base",
        "version": version,
        "weights": "w" * 64,
        "data": "d" * 64,
        "freq": "D",
        "season": SEASON,
        "gaps": "missing",
        "horizon": HORIZON,
        "as_of": day(cutoff).isoformat(),
        "first_cutoff": day(cutoff).isoformat(),
        "last_cutoff": day(cutoff).isoformat(),
        "series": SERIES,
        "rows": frame.height,
        "paths": {"model": SERIES},
    }
    return append_batch(log, **(usual | fields))


def read_target(rows: pl.DataFrame, root: Path, **options: Any) -> tuple[Dataset, Validated]:
    """The target as the monitor is given it."""
    path = root / f"{NAME}.parquet"
    path.parent.mkdir(exist_ok=True)
    rows.write_parquet(path)
    config = TargetConfig(path=str(path), freq="D", **options)
    raw = ingest_files(config, NAME, root / "data" / "raw")
    return raw, validate_dataset(raw, config, 1, 1, root / "data" / "validated")


def backtest(root: Path, cutoffs: int = 6, model: str = "full") -> Promise:
    """The same forecaster's backtest, on days before any of the above."""
    rows = truth(200, seed=1)
    frames = [told(199 - HORIZON * n).join(rows, on=["unique_id", "ds"]) for n in range(1, cutoffs + 1)]
    step = (pl.col("ds") - pl.col("cutoff")).dt.total_days()
    forecasts = pl.concat(frames).with_columns(step=step).select("unique_id", "cutoff", "ds", "step", "y", *DECILES)
    scores = per_series(forecasts, rows, SEASON)
    folder = publish_backtest({model: forecasts}, {model: scores}, segments(rows, scores, KINDS), root.name)
    return read_promise(folder, model)
