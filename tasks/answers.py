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
from tasks.contract import EQUAL_ROWS
from tasks.ended import ENDED, AgeRule, shown
from tasks.fallback import naive_answers, repeated
from tasks.forecaster import forecast_frame, sort_out
from tasks.handles import Account, Dataset
from tasks.refusal import example
from tasks.terminal import counted

LEAST = 3  # values, under which a series is short whatever its season
OVERFLOW = "no finite forecast"


class Asked(NamedTuple):
    """What is asked of the answers."""

    horizon: int  # steps
    config: ForecastConfig
    age: AgeRule | None = None  # what becomes of series that ended long before the others; None: all are forecast


class Answers(NamedTuple):
    """Forecasts, and what the network left out."""

    forecasts: pl.DataFrame  # unique_id, ds, cutoff, y_hat, deciles, path: one row for each series and step, sorted
    left_out: pl.DataFrame  # unique_id, path (naive or none), rule, at, rows, observed: one row for each such series
    notes: tuple[str, ...] = ()  # what a person has to know of the data, one line each

    @property
    def paths(self) -> dict[str, int]:
        """Path -> series."""
        forecast = self.forecasts.group_by("path").agg(pl.col("unique_id").n_unique())
        none = self.left_out.filter(path="none").height
        return dict(sorted(forecast.iter_rows())) | ({"none": none} if none else {})

    @property
    def unanswered(self) -> pl.DataFrame:
        """The series that have no forecast because of a fault: an end long ago is none."""
        return self.left_out.filter((pl.col("path") == "none") & (pl.col("rule") != ENDED))


def answer_series(network: Network, card: ModelCard, rows: pl.DataFrame, dataset: Dataset, asked: Asked) -> Answers:
    """Every series of `rows` (unique_id, ds, y, sorted) continued from its own end.

    There may be no forecasts at all: who publishes them looks at what was left out.
    """
    used, quarantine, account = sort_out(rows, card, asked.age)
    frame, quarantine = by_network(network, card, used, quarantine, dataset.season, asked)
    left_out = quarantine.with_columns(path=pl.lit("none"))
    if asked.config.fallback == "naive" and quarantine.height:
        naive, why = naive_answers(rows, quarantine, card.freq, card.gaps, dataset.season, asked.horizon)
        frame = pl.concat([frame, naive.with_columns(path=pl.lit("naive"))])
        left_out = explained(left_out, naive, why)
    frame = frame.sort("unique_id", "ds")
    left_out = left_out.select("unique_id", "path", "rule", "at", "rows", "observed").sort("unique_id")
    notes = (*account.notes, *repeats(account), *replaced(left_out), *of_the_past(frame, asked.horizon))
    return Answers(frame, left_out, notes)


def by_network(
    network: Network, card: ModelCard, used: pl.DataFrame, quarantine: pl.DataFrame, season: int, asked: Asked
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The network's forecasts with their paths, and the quarantine with those series that have none by overflow."""
    if used.is_empty():
        return repeated(used, card.freq, season, asked.horizon).with_columns(path=pl.lit("model")), quarantine
    frame = forecast_frame(network, card, used, asked.horizon)
    frame = frame.join(paths_of(used, card, season, asked.config.short), on="unique_id", maintain_order="left")
    return without_overflow(frame, used, quarantine)


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


# ---- what a person has to know


def repeats(account: Account) -> list[str]:
    """That rows stand in the data twice."""
    rows = account.quarantined.get(EQUAL_ROWS, 0)
    return [f"{counted(rows, 'row')} left out as {EQUAL_ROWS}: each stands there once more"] if rows else []


def replaced(left_out: pl.DataFrame) -> list[str]:
    """That the forecast of a series is not the network's."""
    naive = left_out.filter(path="naive")
    if naive.is_empty():
        return []
    rules = ", ".join(sorted(set(naive["rule"])))
    several = "conflicting duplicate" in rules
    other = ", or say which of several values counts (--target.duplicates)" if several else ""
    return [
        f"faulty values in {counted(naive.height, 'series')} ({rules}), e.g. {example(naive)}; not the network but the "
        f"last season, repeated, is the forecast (path naive); mend the data for one by the network{other}"
    ]


def of_the_past(frame: pl.DataFrame, horizon: int) -> list[str]:
    """That some series are forecast for times which others have values of: no step of theirs lies ahead."""
    cutoffs = frame.group_by("unique_id").agg(pl.col("cutoff").first(), last=pl.col("ds").last())
    past = cutoffs.filter(pl.col("last") <= pl.col("cutoff").max()).sort("cutoff", "unique_id")
    if past.is_empty():
        return []
    name, cutoff = past.select("unique_id", "cutoff").row(0)
    latest = cutoffs.sort("cutoff")["cutoff"][-1]
    return [
        f"{past.height} of {counted(cutoffs.height, 'series')} forecast for a time that is past: not one of "
        f"{counted(horizon, 'step')} lies after the latest cutoff ({shown(latest)}), e.g. {name!r} from cutoff "
        f"{shown(cutoff)}"
    ]
