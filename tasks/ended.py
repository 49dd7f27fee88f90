"""Series whose last value lies long before that of the others: a shop that closed, an item no longer sold.

Such a series would be forecast for its own long past, and its cutoffs would count as further dates in the gate.
"""

from datetime import datetime
from typing import Literal, NamedTuple

import polars as pl

from tasks.frequency import FIXED, MONTHS, Frequency

ENDED = "ended long before the others"
USUAL_AGE = {  # steps by which values may come late before a series counts as ended
    "s": 86_400,  # a day
    "min": 1_440,  # a day
    "h": 168,  # a week
    "D": 28,  # four weeks
    "B": 20,  # four weeks
    "W": 13,  # a quarter
    "MS": 6,  # half a year: official figures are published within it
    "ME": 6,
    "QS": 3,
    "QE": 3,
    "YS": 3,
    "YE": 3,
}
LEAST_AGE = 3  # steps, of a frequency with a large count
OWN_PAUSES = 2  # times the longest pause a series made before: one that pauses for months has not ended after weeks
FEW = 1 / 3  # share of the series up to which an end is taken for a sign; historic collections end where they end
Policy = Literal["auto", "drop", "keep"]


class AgeRule(NamedTuple):
    """What becomes of a series that ended long before the others."""

    policy: Policy = "auto"  # auto: left out where these are few; drop: always; keep: never
    max_age: int | None = None  # steps from its last value to the latest of all; None: by the frequency

    def limit(self, frequency: Frequency) -> int:
        """The age in steps past which a series has ended."""
        return self.max_age or max(LEAST_AGE, USUAL_AGE[frequency.unit] // frequency.count)


def find_ended(
    rows: pl.DataFrame, frequency: Frequency, gaps: str, rule: AgeRule
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The series to leave out, one line each as `contract.check` has it; and what a person has to know, 0 or 1 line.

    `rows`: unique_id, ds, y and their `position` on the series' own grid, sorted, of series that lie on the calendar.
    """
    known = rows.filter(pl.col("y").is_not_null())
    ends = known.group_by("unique_id", maintain_order=True).agg(at=pl.col("ds").last())
    latest = ends["at"].max()
    if not isinstance(latest, datetime):  # no value at all
        return ended_lines(rows, ends), ()
    limit = rule.limit(frequency)
    aged = ends.with_columns(age=steps_between(frequency, pl.col("at"), pl.lit(latest, pl.Datetime("us"))))
    old = aged.filter(pl.col("age") > limit)
    if old.height:
        old = old.join(longest_pauses(known, old, gaps), on="unique_id", how="left", maintain_order="left")
        old = old.filter(pl.col("age") > OWN_PAUSES * pl.col("pause").fill_null(0))
    if old.is_empty():
        return ended_lines(rows, old), ()
    few = old.height <= FEW * ends.height
    out = rule.policy == "drop" or (rule.policy == "auto" and few)
    last = ends.filter(pl.col("at") == latest)["unique_id"][0]
    return ended_lines(rows, old if out else old.clear()), (
        f"{old.height} of {ends.height} series ended more than {steps(limit)} before the latest "
        f"value ({last!r} on {shown(latest)}), e.g. {example(old)}; {consequence(rule.policy, out)}",
    )


def steps_between(frequency: Frequency, early: pl.Expr, late: pl.Expr) -> pl.Expr:
    """Whole steps from one time to another, Int64; the two need not lie on one grid."""
    if frequency.unit in FIXED:
        return (late - early).dt.total_microseconds() // (FIXED[frequency.unit] * frequency.count)
    if frequency.unit == "B":
        return pl.business_day_count(early.dt.date(), late.dt.date()).cast(pl.Int64)
    months = (late.dt.year() - early.dt.year()).cast(pl.Int64) * 12 + late.dt.month() - early.dt.month()
    return months // (MONTHS[frequency.unit] * frequency.count)


def longest_pauses(known: pl.DataFrame, old: pl.DataFrame, gaps: str) -> pl.DataFrame:
    """unique_id, pause: the most steps between two values in a row; of sparse sales, between two that are not zero."""
    lively = known.join(old, on="unique_id", how="semi", maintain_order="left")
    lively = lively.filter(pl.col("y") != 0) if gaps == "zero" else lively
    return lively.group_by("unique_id", maintain_order=True).agg(pause=pl.col("position").diff().max())


def ended_lines(rows: pl.DataFrame, old: pl.DataFrame) -> pl.DataFrame:
    """One line for each ended series: unique_id, rule, at (its last value), rows, observed."""
    own = rows.join(old.select("unique_id", "at"), on="unique_id", maintain_order="left")
    counts = pl.col("at").first(), pl.len().cast(pl.Int64).alias("rows"), pl.col("y").count().alias("observed")
    lines = own.group_by("unique_id", maintain_order=True).agg(*counts)
    return lines.select("unique_id", pl.lit(ENDED).alias("rule"), "at", "rows", "observed")


def example(old: pl.DataFrame) -> str:
    """The series that ended first, with its end and age."""
    name, at, age = old.sort("at", "unique_id").select("unique_id", "at", "age").row(0)
    return f"{name!r} on {shown(at)}, {steps(age)} before it"


def consequence(policy: Policy, out: bool) -> str:
    """What is done with the ended series, and the option that does otherwise."""
    if out:
        return "left out as ended; --target.ended keep takes them in, --target.max_age N sets another age"
    why = "as asked" if policy == "keep" else f"as more than {FEW:.0%} of the series are no sign of an end"
    return f"kept, each with its own cutoff, {why}; --target.ended drop leaves them out"


def steps(n: int) -> str:
    """A number of steps in words; the served model, which reads this file too, has no terminal."""
    return f"{n} step{'s' * (n > 1)}"


def shown(moment: datetime) -> str:
    """A time, without a clock where that is midnight."""
    text = moment.strftime("%Y-%m-%d %H:%M")
    return text.removesuffix(" 00:00")
