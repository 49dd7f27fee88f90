"""Every series of a target answered, each by a path that is written beside its forecast, or left out with a reason.

`model`: the network knows the series. `new`: a network that was tuned on others has never seen it. `short`: fewer
values than make a season. `naive`: the network cannot forecast it, its last season is repeated. `none`: left out.
"""

from typing import NamedTuple

import polars as pl

from rnn_model.checkpoint import ModelCard
from rnn_model.config import DECILES
from rnn_model.network import Network
from tasks.config import ForecastConfig
from tasks.fallback import naive_answers
from tasks.forecaster import forecast_frame, usable_series
from tasks.handles import Dataset

LEAST = 3  # values, under which a series is short whatever its season
OVERFLOW = "no finite forecast"


class Answers(NamedTuple):
    """Forecasts, and what the network left out."""

    forecasts: pl.DataFrame  # unique_id, ds, cutoff, y_hat, deciles, path: one row for each series and step, sorted
    left_out: pl.DataFrame  # unique_id, path (naive or none), rule, at, rows, observed: one row for each such series

    @property
    def paths(self) -> dict[str, int]:
        """Path -> series."""
        forecast = self.forecasts.group_by("path").agg(pl.col("unique_id").n_unique())
        none = self.left_out.filter(path="none").height
        return dict(sorted(forecast.iter_rows())) | ({"none": none} if none else {})


def answer_series(
    network: Network, card: ModelCard, rows: pl.DataFrame, dataset: Dataset, horizon: int, config: ForecastConfig
) -> Answers:
    """Every series of `rows` (unique_id, ds, y, sorted) continued from its own end. Raises DataError where the network
    can forecast none."""
    used, quarantine = usable_series(rows, card)
    frame = forecast_frame(network, card, used, horizon)
    frame = frame.join(paths_of(used, card, dataset.season, config.short), on="unique_id", maintain_order="left")
    frame, quarantine = without_overflow(frame, used, quarantine)
    left_out = quarantine.with_columns(path=pl.lit("none"))
    if config.fallback == "naive" and quarantine.height:
        naive, why = naive_answers(rows, quarantine, card.freq, card.gaps, dataset.season, horizon)
        frame = pl.concat([frame, naive.with_columns(path=pl.lit("naive"))])
        left_out = explained(left_out, naive, why)
    return Answers(
        frame.sort("unique_id", "ds"),
        left_out.select("unique_id", "path", "rule", "at", "rows", "observed").sort("unique_id"),
    )


def paths_of(used: pl.DataFrame, card: ModelCard, season: int, short: int | None) -> pl.DataFrame:
    """unique_id, path of every series that the network forecasts."""
    least = short or max(season, LEAST)
    new = ~pl.col("unique_id").is_in(list(card.seen)) if card.seen else pl.lit(False)
    path = pl.when(pl.col("observed") < least).then(pl.lit("short")).when(new).then(pl.lit("new"))
    counts = used.group_by("unique_id", maintain_order=True).agg(observed=pl.col("y").count())
    return counts.select("unique_id", path=path.otherwise(pl.lit("model")))


def without_overflow(
    frame: pl.DataFrame, used: pl.DataFrame, quarantine: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Forecasts without series near the largest numbers, whose deciles left them; those join the quarantine."""
    lost = frame.filter(~pl.all_horizontal(pl.col("y_hat", *DECILES).is_finite())).select("unique_id").unique()
    lines = (
        used.join(lost, on="unique_id", how="semi", maintain_order="left")
        .group_by("unique_id", maintain_order=True)
        .agg(pl.col("ds").last().alias("at"), rows=pl.len().cast(pl.Int64), observed=pl.col("y").count())
        .with_columns(rule=pl.lit(OVERFLOW))
    )
    return frame.join(lost, on="unique_id", how="anti", maintain_order="left"), pl.concat(
        [quarantine, lines.select(quarantine.columns)]
    )


def explained(left_out: pl.DataFrame, naive: pl.DataFrame, why: pl.DataFrame) -> pl.DataFrame:
    """The left-out series with the path each one went, and for a faulty one without a fallback why it has none."""
    rule = pl.when(pl.col("why").is_null()).then(pl.col("rule")).otherwise(pl.format("{}; {}", "rule", "why"))
    path = pl.when(pl.col("unique_id").is_in(naive["unique_id"].unique().to_list())).then(pl.lit("naive"))
    return left_out.join(why, on="unique_id", how="left", maintain_order="left").with_columns(
        path=path.otherwise(pl.lit("none")), rule=rule
    )
