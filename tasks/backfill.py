"""A range of days made good: at which times the data is looked at, and what each of them gave."""

from datetime import datetime
from typing import Literal

import polars as pl
from pydantic import Field
from rich.table import Table

from rnn_model.config import Section
from rnn_model.errors import ConfigError
from tasks.frequency import parse_frequency, parse_moment
from tasks.handles import Outcome
from tasks.progress import show_table
from tasks.series_config import SourceConfig
from tasks.step import step
from tasks.terminal import counted, print_plainly

Step = Literal["d", "w", "mo", "q", "y"]
OnError = Literal["stop", "continue"]
USUAL: dict[str, Step] = {"W": "w", "MS": "mo", "ME": "mo", "QS": "q", "QE": "q", "YS": "y", "YE": "y"}  # else a day


class Day(Section):
    """One time of a backfill, and what the pipeline gave when the data was looked at as of then."""

    as_of: str
    run: str | None = Field(None, description="MLflow run id; none: it failed")
    repeated: bool = Field(False, description="whether it had finished before")
    decision: str = ""
    champion: int | None = Field(None, description="version behind @champion after it; none: no version")
    error: str = ""
    code: int = Field(0, description="exit code of its kind of error")


class Backfill(Section):
    """All days that were tried, in order."""

    days: tuple[Day, ...]
    left: tuple[str, ...] = Field((), description="times that were not tried any more, after an error")

    @property
    def exit_code(self) -> int:
        """That of the first error."""
        return next((day.code for day in self.days if day.code), 0)


def moments(first: str, last: str, every: Step | None, freq: str) -> tuple[str, ...]:
    """Every `every` from `first` to `last`, both included, as ISO 8601; none: a day, or the data's own longer step.

    Months are counted from the first, so from the 31st they lead to months' ends. Raises ConfigError.
    """
    (start, zoned), (end, other) = parse_moment(first), parse_moment(last)
    if zoned != other:
        raise ConfigError(f"from {first} and to {last}: one has an offset, the other has none; give both the same")
    if end < start:
        raise ConfigError(f"to {last} is before from {first}; give the earlier one as from")
    step = every or USUAL.get(parse_frequency(freq).unit, "d")
    times = pl.datetime_range(start, end, f"1{step}", eager=True).to_list()
    return tuple(as_text(time, zoned) for time in times)


def as_text(moment: datetime, zoned: bool) -> str:
    """A time as `as_of` takes it: a midnight by its date alone."""
    if zoned:
        return f"{moment.isoformat()}+00:00"
    return moment.date().isoformat() if moment.time() == datetime.min.time() else moment.isoformat()


def known_then(source: SourceConfig, as_of: str) -> SourceConfig:
    """A real source as it was known at that time, too; one that is as of an earlier time stays."""
    if not source.given:
        return source
    if source.as_of is not None and parse_moment(source.as_of)[0] <= parse_moment(as_of)[0]:
        return source
    return source.model_copy(update={"as_of": as_of})


def day_of(as_of: str, outcome: Outcome) -> Day:
    """The line of a day that went well."""
    return Day(
        as_of=as_of,
        run=outcome.run.run_id,
        repeated=outcome.repeated,
        decision=outcome.decision.outcome if outcome.decision else "",
        champion=outcome.promotion.version if outcome.promotion else None,
    )


@step
def summarise(days: tuple[Day, ...], wanted: tuple[str, ...]) -> Backfill:
    """All days side by side, shown as an artifact."""
    done = Backfill(days=days, left=wanted[len(days) :])
    show_table(table=rows(done), key="backfill", description=f"{len(days)} of {counted(len(wanted), 'time')}")
    return done


def rows(backfill: Backfill) -> list[dict[str, str]]:
    """The table of a backfill, in words."""
    return [
        {
            "as of": day.as_of,
            "run": day.run or "failed",
            "decision": f"{day.decision} (finished before)" if day.repeated else day.decision or day.error,
            "champion": "none" if day.champion is None else f"version {day.champion}",
        }
        for day in backfill.days
    ]


def print_backfill(backfill: Backfill) -> None:
    """The table in the terminal, and what is left."""
    table = Table(title=f"Backfill: {counted(len(backfill.days), 'time')}", title_justify="left")
    for column in ("as of", "run", "decision", "champion"):
        table.add_column(column, no_wrap=column in ("as of", "run"))
    for row in rows(backfill):
        table.add_row(*row.values())
    print_plainly(table, 130)
