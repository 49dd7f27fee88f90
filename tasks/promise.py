"""What a model version was promised to be like: its own backtest, as the run that made it keeps it.

Every version was registered by a run that logged its whole backtest (forecasts, scores, segments) under `backtest`. So
nothing has to be promised apart: the figures, and how much they vary from cutoff to cutoff, are read from there.
"""

from dataclasses import dataclass
from pathlib import Path

import mlflow
import polars as pl
from mlflow.exceptions import MlflowException

from rnn_model.artefact import open_checked
from rnn_model.errors import ConfigError
from tasks.accuracy import points
from tasks.config import TrackingConfig
from tasks.download import ABSENT
from tasks.metrics import scales_of
from tasks.pairing import date_windows, read_groups, read_scored
from tasks.registry import find_version, store

BACKTEST = "backtest"  # artifacts of a run
SHRINK = 8.0  # forecasts of its own that weigh as much in what is expected of a series as the mean of all
FARTHEST = 4.0  # a forecast counts as at most this many times its expected loss: one series gone wild is not all


@dataclass(frozen=True)
class Promise:
    """A version's backtest: its forecasts with their losses and the date they were made on, and its segments."""

    scored: pl.DataFrame  # as `points` makes it, with date: 0 is the first
    groups: pl.DataFrame  # unique_id, part

    @property
    def dates(self) -> int:
        """How many cutoffs it rests on."""
        return self.scored["date"].n_unique()


def fetch_promise(address: str, config: TrackingConfig) -> Promise:
    """What models:/NAME/VERSION was promised. Raises ConfigError where no backtest is kept, IntegrityError for one
    that was changed."""
    name, number = address.removeprefix("models:/").split("/")
    with store(config) as client:
        version = find_version(client, name, int(number))
        folder = _backtest(version.run_id) if version and version.run_id else None
        if version is None or folder is None:
            raise ConfigError(
                f"{address}: the run that registered it keeps no {BACKTEST}; promote a model that carryover run made"
            )
        return read_promise(folder, str(version.tags.get("carryover.strategy")))


def read_promise(folder: Path, model: str) -> Promise:
    """The part of one model in a published backtest. Raises ConfigError where it has none."""
    own = read_scored(folder, model, "")
    if own.scores.is_empty():
        raise ConfigError(f"{folder}: no model {model!r} in this {BACKTEST}; promote one that carryover run made")
    dates, _ = date_windows(own.forecasts)
    scored = points(own.forecasts, scales_of(own.scores)).join(dates, on=["unique_id", "cutoff"])
    return Promise(scored, read_groups(folder))


def expected(scored: pl.DataFrame, promise: Promise, metric: str) -> pl.DataFrame:
    """The lines of `scored` whose step was promised and whose loss is known, with loss, promised and weight.

    Promised is the mean loss of the series, drawn towards that of the middle series where it rests on few forecasts,
    times what the step costs beside the mean of all steps. So a day is held against what its series and steps were to
    cost. No series weighs more than the middle one: a scale near 0 makes losses that would drown all others.
    """
    loss = pl.col(metric)
    known = promise.scored.filter(loss.is_not_null())
    middle = float(known.group_by("unique_id").agg(loss.mean())[metric].median() or 0.0)  # type: ignore[arg-type]
    own = (loss.sum() + SHRINK * middle) / (pl.len() + SHRINK)
    series = known.group_by("unique_id").agg(own=own)
    weight = 1 / pl.max_horizontal("own", pl.lit(middle))
    weighted = known.join(series, on="unique_id").with_columns(part=loss * weight)
    steps = weighted.group_by("step").agg(far=pl.col("part").mean() / pl.lit(weighted["part"].mean()))
    promised = pl.col("own") * pl.col("far")
    return (
        scored.filter(loss.is_not_null())
        .join(steps, on="step", maintain_order="left")
        .join(series, on="unique_id", how="left", maintain_order="left")
        .with_columns(pl.col("own").fill_null(middle))
        .with_columns(promised=promised, weight=weight, loss=pl.min_horizontal(loss, FARTHEST * promised))
        .drop("far", "own")
    )


def ratios(told: pl.DataFrame, unit: str) -> pl.DataFrame:
    """unit, ratio (realised over promised loss), forecasts: over all of `expected` that share a unit, sorted by it."""
    weight = pl.col("weight")
    ratio = (weight * pl.col("loss")).sum() / (weight * pl.col("promised")).sum()
    lines = told.group_by(unit).agg(ratio=ratio, forecasts=pl.len().cast(pl.Int64))
    return lines.filter(pl.col("ratio").is_finite()).sort(unit)


def _backtest(run_id: str) -> Path | None:
    """The folder of a run's backtest; none where it kept none."""
    try:
        return open_checked(Path(mlflow.artifacts.download_artifacts(artifact_uri=f"runs:/{run_id}/{BACKTEST}")))
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
    except FileNotFoundError:
        pass
    return None
