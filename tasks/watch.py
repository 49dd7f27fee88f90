"""Forecasts of the log held against the truth, and the version in use against what it was promised to be like.

The figures count every forecast of every value that came. The test counts each value once (`tasks.arrivals.rounds`),
against what its own series and step were promised to cost (`tasks.promise.expected`). No state is kept: every look
computes it anew from the log, and a version that has just taken over begins with nothing.
"""

import math
from typing import Any, Literal, NamedTuple

import polars as pl
from pydantic import Field

from rnn_model.artefact import open_checked
from rnn_model.config import Section
from rnn_model.errors import ConfigError
from tasks.accuracy import PARTS, by_part, points, scales
from tasks.arrivals import corrected, maker, on_trial, read_forecasts, rounds, with_truth
from tasks.config import MonitorConfig
from tasks.forecast_log import Batch
from tasks.frequency import parse_frequency, parse_moment
from tasks.handles import Dataset, Validated
from tasks.promise import Promise, expected, ratios
from tasks.sequential import HIGHEST, Course, follow, upper_end
from tasks.terminal import counted

HALF = 0.5  # of the level: for a promise that is off by chance, and for the rounds
WAITING = "not enough forecasts yet"
UNPROMISED = "nothing was promised"
COVERS = "over all forecasts and steps (the verdict counts each value once, by its latest forecast)"

ONE = {  # of the account, where one is called otherwise
    "forecasts": "forecast",
    "corrected values": "corrected value",
    "batches": "batch",
    "data sets not looked at": "data set not looked at",
}

Figures = dict[str, float | None]


class Monitored(Section):
    """What the monitor found. Figures are of the model on trial (`tasks.arrivals.on_trial`)."""

    target: str
    outcome: Literal["as promised", "worse than promised", "not enough forecasts yet", "nothing was promised"]
    sentence: str
    model: str = Field("", description="address of the model on trial; empty: nothing was forecast")
    realised: Figures = Field(default_factory=dict, description="over every forecast of a value that came")
    promised: Figures = Field(default_factory=dict, description="the same in its backtest")
    table: tuple[dict[str, Any], ...] = Field((), description="both, by part: all, step, segment")
    makers: tuple[dict[str, Any], ...] = Field((), description="realised, by who made the forecasts")
    rounds: int = Field(0, description="units of the test: what one batch said of the time up to the next")
    ratio: float | None = Field(None, description="mean of realised / promised loss over the rounds")
    bound: float | None = Field(None, description="what that mean may be in truth without being worse")
    e_value: float | None = Field(None, description="of the test after the last round; it starts anew after an alarm")
    threshold: float = Field(description="the e-value that is an alarm")
    alarms: tuple[str, ...] = Field((), description="last time of each round that gave alarm")
    told: Literal["", "now", "before", "no server", "looked back"] = Field(
        "", description="when Prefect was told of the last alarm; looked back: it is not, as of an earlier time"
    )
    account: dict[str, int] = Field(default_factory=dict, description="forecasts by what became of them, and the like")

    @property
    def figures(self) -> dict[str, Figures]:
        """Title -> row, of those in which anything is known: realised; promised."""
        rows = {"realised": self.realised, "promised": self.promised}
        return {title: row for title, row in rows.items() if any(value is not None for value in row.values())}

    @property
    def heading(self) -> str:
        """What the figures cover, or why there are none; empty where nothing was forecast, which the sentence says."""
        if not self.model:
            return ""
        if not self.figures:
            return f"There are no figures of {self.model} yet: no value has come that it forecast."
        return f"Accuracy of {self.model} {COVERS}:"

    @property
    def counts(self) -> str:
        """The account in one line, without what did not occur."""
        return "; ".join(f"{n} {ONE.get(what, what) if n == 1 else what}" for what, n in self.account.items() if n)


class Seen(NamedTuple):
    """What the log and the target give."""

    batches: tuple[Batch, ...]  # in the order of their cutoffs
    joined: pl.DataFrame  # every forecast with y and state
    scored: pl.DataFrame  # those of values that came, with their losses
    account: dict[str, int]


class Trial(NamedTuple):
    """The rounds of a version, and the course of the test over them."""

    rounds: pl.DataFrame  # batch, ratio, forecasts, upto
    bound: float
    course: Course


def check_alike(batch: Batch, dataset: Dataset) -> None:
    """Refuse a target that is read otherwise than when it was forecast. Raises ConfigError."""
    made, given = (batch.season, batch.gaps), (dataset.season, dataset.gaps)
    if made != given or parse_frequency(batch.freq).rhythm != parse_frequency(dataset.freq).rhythm:
        raise ConfigError(
            f"the forecasts were made with freq {batch.freq}, season {batch.season}, gaps {batch.gaps}, the target has "
            f"{dataset.freq}, {dataset.season}, {dataset.gaps}; give --target.freq, .season and .gaps as then"
        )


def look(batches: tuple[Batch, ...], raw: Dataset, truth: Validated) -> Seen:
    """Every forecast of the batches beside the truth, and the account of what could not be scored."""
    folder = open_checked(truth.dataset.folder)
    rows = pl.read_parquet(folder / "data.parquet").select("unique_id", "ds", "y")
    aside = pl.read_parquet(folder / "quarantine.parquet")["unique_id"].to_list()
    forecasts = read_forecasts(batches, raw.output_zone is not None)
    joined = with_truth(forecasts, rows, aside)
    scored = points(joined.filter(pl.col("state") == "scored"), scales(rows, joined, truth.dataset.season))
    now = pl.read_parquet(open_checked(raw.folder) / "data.parquet")
    since = min(parse_moment(batch.first_cutoff)[0] for batch in batches)
    changed, unseen = corrected(batches, now, since)
    states = {str(state): int(n) for state, n in joined.group_by("state").len().sort("state").iter_rows()}
    extra = {
        "repeated": forecasts.height - joined.height,
        "without a scale": int(scored["scale"].null_count()),
        "corrected values": changed,
        "vanished series": joined.filter(pl.col("state") == "vanished")["unique_id"].n_unique(),
        "batches": len(batches),
        "data sets not looked at": unseen,
    }
    return Seen(batches, joined, scored, {"forecasts": forecasts.height} | states | extra)


def assess(
    name: str, seen: Seen, promise: Promise | str, groups: pl.DataFrame, config: MonitorConfig
) -> tuple[Monitored, Trial | None]:
    """The figures, the test and the outcome. `promise` may be the reason why there is none; then `groups` are used."""
    latest, known = on_trial(seen.batches), isinstance(promise, Promise)
    own = seen.scored.filter(pl.col("maker") == maker(latest))
    table = beside(own, promise, promise.groups if isinstance(promise, Promise) else groups)
    trial = follow_rounds(seen, promise, config) if isinstance(promise, Promise) else None
    obstacle = promise if isinstance(promise, str) else shortcoming(promise, trial, config)
    alarms = tuple(str(trial.rounds["upto"][n]) for n in trial.course.alarms) if trial and not obstacle else ()
    found = Monitored(
        target=name,
        outcome=(WAITING if known else UNPROMISED) if obstacle else "worse than promised" if alarms else "as promised",
        sentence="",
        model=latest.model,
        realised=whole(table, "realised"),
        promised=whole(table, "promised") if known else {},
        table=tuple(table.to_dicts()),
        makers=tuple(by_maker(seen.scored).to_dicts()),
        rounds=trial.rounds.height if trial else 0,
        ratio=trial.rounds["ratio"].mean() if trial and trial.rounds.height else None,
        bound=trial.bound if trial and math.isfinite(trial.bound) else None,
        e_value=trial.course.capital[-1] if trial and trial.course.capital else None,
        threshold=1 / (HALF * config.level),
        alarms=alarms,
        account=seen.account,
    )
    return found.model_copy(update={"sentence": in_words(found, obstacle, config)}), trial


def follow_rounds(seen: Seen, promise: Promise, config: MonitorConfig) -> Trial:
    """The test over the rounds of the version in use."""
    own = seen.joined.filter(pl.col("maker") == maker(on_trial(seen.batches)))
    once = rounds(own, [parse_moment(batch.last_cutoff)[0] for batch in seen.batches])
    keys = ["batch", "unique_id", "ds"]
    told = expected(seen.scored.join(once.select(keys), on=keys, how="semi"), promise, config.metric)
    upto = told.group_by("batch").agg(upto=pl.col("ds").max().dt.strftime("%Y-%m-%d %H:%M"))
    lines = ratios(told, "batch").join(upto, on="batch").sort("batch")
    dates = ratios(expected(promise.scored, promise, config.metric), "date")["ratio"].to_numpy()
    bound = upper_end(dates, HALF * config.level) * (1 + config.min_effect)
    level = HALF * config.level
    course = follow(lines["ratio"].to_list(), bound, level) if math.isfinite(bound) else Course((), ())
    return Trial(lines, bound, course)


def shortcoming(promise: Promise, trial: Trial | None, config: MonitorConfig) -> str:
    """Why the test says nothing yet, in words; empty where it does."""
    if promise.dates < 2:
        return "its backtest has one cutoff, which says nothing of chance; run with --backtest.cutoffs 3 or more"
    if trial and trial.bound >= HIGHEST:
        return (
            f"its backtest has {promise.dates} cutoffs that differ so much that a loss {trial.bound:.3g} times as high "
            "could be chance; run with more --backtest.cutoffs"
        )
    done = trial.rounds.height if trial else 0
    return f"{done} of {counted(config.least, 'round')} asked for" if done < config.least else ""


# ---- figures


def beside(own: pl.DataFrame, promise: Promise | str, groups: pl.DataFrame) -> pl.DataFrame:
    """part, forecasts, and each figure realised and promised (may be null): `MASE`, `MASE promised` ..."""
    realised = by_part(own, groups)
    scored = promise.scored if isinstance(promise, Promise) else own.clear()
    promised = by_part(scored, groups).select("part", *(pl.col(name).alias(f"{name} promised") for name in PARTS))
    pairs = [column for name in PARTS for column in (name, f"{name} promised")]
    return realised.join(promised, on="part", how="left", maintain_order="left").select("part", "forecasts", *pairs)


def whole(table: pl.DataFrame, which: Literal["realised", "promised"]) -> Figures:
    """The figures over everything."""
    row = table.row(0, named=True) if table.height else {}
    return {name: row.get(name if which == "realised" else f"{name} promised") for name in PARTS}


def by_maker(scored: pl.DataFrame) -> pl.DataFrame:
    """maker, forecasts and the realised figures: each version apart, and the naive fallback."""
    names = scored["maker"].unique().sort()
    nothing = pl.DataFrame(schema={"unique_id": pl.String, "part": pl.String})
    lines = [
        by_part(scored.filter(pl.col("maker") == name), nothing)
        .filter(pl.col("part") == "all")
        .with_columns(maker=pl.lit(name))
        for name in names
    ]
    kept = ["maker", "forecasts", *PARTS]
    return pl.concat(lines).select(kept) if lines else pl.DataFrame(schema=dict.fromkeys(kept, pl.Float64))


# ---- words


def in_words(found: Monitored, obstacle: str, config: MonitorConfig) -> str:
    """The outcome and what it rests on."""
    if obstacle:
        return f"{found.model}: {found.outcome}: {obstacle}."
    figures = (
        f"{config.metric} is {found.ratio:.3g} times what its backtest promised, on average over "
        f"{counted(found.rounds, 'round')} (up to {found.bound:.3g} would not matter or be chance; "
        f"e-value {found.e_value:.3g}, alarm at {found.threshold:g})"
    )
    alarm = f"; alarm on {', '.join(found.alarms)}" if found.alarms else ""
    return f"{found.model}: {found.outcome}: {figures}{alarm}."
