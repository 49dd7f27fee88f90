"""Two models' losses on the same windows, side by side; windows that differ are refused rather than dropped.

Series that end on different days are cut on different days. So cutoffs are gathered into dates, as far apart as the
cutoffs of one series: what a shock common to all series would hit at once.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from rnn_model.artefact import open_checked
from rnn_model.config import DECILES
from rnn_model.errors import ConfigError
from tasks.metrics import KEYS, MEDIAN, quantile_loss
from tasks.significance import effective_cutoffs
from tasks.terminal import counted


@dataclass(frozen=True)
class Scored:
    """What one model did in one evaluation."""

    name: str
    fingerprint: str  # of the evaluation
    scores: pl.DataFrame  # as `tasks.metrics.per_series` makes them
    forecasts: pl.DataFrame  # unique_id, cutoff, ds, step, y, 0.1 to 0.9


@dataclass(frozen=True)
class Pairs:
    """Losses of both models, a line per window and a line per step of it, and what could not be paired."""

    champion: str  # their names
    challenger: str
    windows: pl.DataFrame  # unique_id, cutoff, date, champion, challenger
    steps: pl.DataFrame  # unique_id, cutoff, date, step, champion, challenger
    unknown: pl.DataFrame  # unique_id, cutoff, champion, challenger: whether each has a loss; one has not
    left_out: int  # windows whose history has no scale (`tasks.scale`), for either model
    lags: int  # later dates that a window overlaps

    @property
    def cutoffs(self) -> int:
        """Dates that count: how many equally filled ones tell as much as these, whole ones (`effective_cutoffs`)."""
        part = self.windows.with_columns(part=1 / pl.len().over("unique_id")).group_by("date").agg(pl.col("part").sum())
        weights = part["part"].to_numpy() / part["part"].sum()
        return int(effective_cutoffs(weights))


def read_scored(folder: Path, model: str, fingerprint: str, name: str | None = None) -> Scored:
    """One model's part of a published backtest; `name`: what to call it, the model itself by default."""
    own = pl.col("model") == model
    scores, forecasts = (
        pl.scan_parquet(open_checked(folder) / f"{kind}.parquet").filter(own).drop("model").collect()
        for kind in ("scores", "forecasts")
    )
    return Scored(name or model, fingerprint, scores, forecasts)


def read_groups(folder: Path) -> pl.DataFrame:
    """The segments of a published backtest's series: unique_id, part."""
    return pl.read_parquet(open_checked(folder) / "segments.parquet")


def pair(champion: Scored, challenger: Scored, metric: str) -> Pairs:
    """Every window's loss under both models; `metric` is SQL or MASE. Raises ConfigError where the windows differ."""
    check_same(champion, challenger)
    dates, lags = date_windows(champion.forecasts)
    old, new = window_losses(champion, metric), window_losses(challenger, metric)
    both = old.join(new, on=KEYS, validate="1:1", suffix="_new").sort(KEYS)
    known, flat = pl.col("known") & pl.col("known_new"), pl.col("flat") & pl.col("flat_new")
    windows = both.filter(known).select(*KEYS, champion="loss", challenger="loss_new")
    unknown = both.filter(~known & ~flat).select(*KEYS, champion="known", challenger="known_new")
    steps = step_losses(champion, metric).join(step_losses(challenger, metric), on=[*KEYS, "step"], suffix="_new")
    dated = windows.select(KEYS).join(dates, on=KEYS)
    return Pairs(
        champion=champion.name,
        challenger=challenger.name,
        windows=windows.join(dates, on=KEYS).sort(KEYS),
        steps=dated.join(steps, on=KEYS).rename({"loss": "champion", "loss_new": "challenger"}).sort(*KEYS, "step"),
        unknown=unknown,
        left_out=both.filter(~known & flat).height,
        lags=lags,
    )


def check_same(champion: Scored, challenger: Scored) -> None:
    """Refuse to compare models that were not asked the same. Raises ConfigError."""
    again = "evaluate both again on the same data, horizon and cutoffs"
    if champion.fingerprint != challenger.fingerprint:
        raise ConfigError(
            f"{champion.name} was evaluated on {asked(champion)} and {challenger.name} on {asked(challenger)}: other "
            f"data, cutoffs or metrics, so their losses do not compare; {again}"
        )
    for what, old, new in (
        ("windows", champion.scores.select(KEYS), challenger.scores.select(KEYS)),
        ("observed values", truth(champion), truth(challenger)),
    ):
        apart = pl.concat([old.join(new, on=old.columns, how="anti"), new.join(old, on=old.columns, how="anti")])
        if apart.height:
            first = apart.sort(KEYS).row(0, named=True)
            raise ConfigError(
                f"{champion.name} has {old.height} {what} and {challenger.name} {new.height}, {apart.height} of them "
                f"not in both (series {first['unique_id']!r} after {first['cutoff']}); {again}"
            )


def asked(model: Scored) -> str:
    """What a model was asked, in words."""
    series, cutoffs, steps, last = model.forecasts.select(
        pl.col("unique_id").n_unique(),
        pl.col("cutoff").n_unique().alias("cutoffs"),
        pl.col("step").max(),
        pl.col("cutoff").max().dt.to_string().alias("last"),
    ).row(0)
    asked_at = f"{counted(cutoffs, 'cutoff')} to {last}"
    return f"{series} series, {asked_at}, horizon {steps} (evaluation {model.fingerprint[:12]})"


def truth(model: Scored) -> pl.DataFrame:
    """What the forecasts are held against, where it was observed."""
    return model.forecasts.filter(pl.col("y").is_not_null()).select(*KEYS, "ds", "step", "y")


def window_losses(model: Scored, metric: str) -> pl.DataFrame:
    """unique_id, cutoff, loss, known (a finite loss of a finite forecast), flat (no loss for want of a scale)."""
    odd = ~pl.all_horizontal(pl.col(q).is_finite().fill_null(False) for q in DECILES)
    broken = model.forecasts.filter(pl.col("y").is_not_null() & odd).select(KEYS).unique().with_columns(odd=True)
    fine = pl.col("odd").is_null()
    return (
        model.scores.join(broken, on=KEYS, how="left")
        .with_columns(
            known=fine & pl.col(metric).is_finite().fill_null(False),
            flat=fine & pl.col(metric).is_null() & pl.col("QL").is_finite() & pl.col("MAE").is_finite(),
        )
        .select(*KEYS, "known", "flat", loss=metric)
        .with_columns(pl.col("flat").fill_null(False))
    )


def step_losses(model: Scored, metric: str) -> pl.DataFrame:
    """unique_id, cutoff, step, loss: the window's loss is the mean of these."""
    error = pl.col("y") - pl.col(MEDIAN)
    raw, whole = (error.abs(), pl.col("MAE")) if metric == "MASE" else (2 * quantile_loss(), 2 * pl.col("QL"))
    scale = pl.when(pl.col(metric) == 0).then(1.0).otherwise(whole / pl.col(metric))  # at 0 every step's loss is 0
    return (
        model.forecasts.filter(pl.col("y").is_not_null())
        .join(model.scores.select(*KEYS, scale=scale), on=KEYS)
        .select(*KEYS, "step", loss=raw / pl.col("scale"))
    )


def date_windows(forecasts: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """unique_id, cutoff, date (0 is the first); and how many later dates a window overlaps at most.

    Where every series is cut on the same days, these are the dates. Else the last cutoff of each series falls on the
    nearest date, and those before it on one date each: calendars are uneven (a step of business days may hold a
    weekend), so that cutoffs of one series, each put on the nearest date, could meet. Dates are as far apart as the
    cutoffs of the series that has most of them, or the horizon where none has two.
    """
    ends = forecasts.group_by(KEYS).agg(end=pl.col("ds").max()).sort(KEYS)
    series = ends.group_by("unique_id").agg(
        n=pl.len(), span=pl.col("cutoff").max() - pl.col("cutoff").min(), ahead=(pl.col("end") - pl.col("cutoff")).max()
    )
    most = series.sort("n", "span").row(-1, named=True)
    back = pl.col("cutoff").max() - pl.col("cutoff")
    if ends["cutoff"].n_unique() != most["n"]:
        gap = most["span"] / (most["n"] - 1) if most["n"] > 1 else most["ahead"]
        behind = (pl.col("cutoff").max() - pl.col("cutoff").max().over("unique_id")).dt.total_microseconds()
        last = (behind / (gap.total_seconds() * 1e6)).round().cast(pl.Int64)
        back = last + pl.col("cutoff").rank("dense", descending=True).over("unique_id") - 1
    dated = ends.with_columns(date=back.rank("dense", descending=True).cast(pl.Int64) - 1)
    bounds = dated.group_by("date").agg(first=pl.col("cutoff").min(), end=pl.col("end").max()).sort("date")
    first, end = bounds["first"].to_numpy(), bounds["end"].to_numpy()
    earliest = np.minimum.accumulate(first[::-1])[::-1]  # start of this or any later date
    later = np.searchsorted(earliest, end) - 1 - np.arange(len(first))  # starts before the end, after its own
    return dated.select(*KEYS, "date"), max(0, int(later.max(initial=0)))
