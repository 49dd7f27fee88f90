"""Several rows of one series and time: the hour that a local clock shows twice, and what else is declared of them."""

from typing import Literal

import polars as pl

from rnn_model.errors import DataError
from tasks.clock import UTC

MOMENT = "%Y-%m-%d %H:%M"
Choice = Literal["refuse", "first", "last", "mean"]
KEY = ["unique_id", "ds"]


def localised(rows: pl.DataFrame, zone: str, where: str) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Rows in the order they were read, ds as the clock of `zone` shows it -> the same in UTC, and what was resolved.

    Of two rows of an hour that is there twice the first is the earlier, or the later where a series runs backwards.
    Rows without a value in an hour that the clock leaves out are none: some files have 24 of them every day.
    Raises DataError for a value in that hour.
    """
    ds = pl.col("ds")
    early, late = (
        ds.dt.replace_time_zone(zone, ambiguous=which, non_existent="null")
        .dt.convert_time_zone(UTC)
        .dt.replace_time_zone(None)
        for which in ("earliest", "latest")
    )
    both = rows.with_columns(early=early, late=late)
    empty = pl.col("early").is_null() & pl.col("y").is_null()
    notes = empty_notes(both.filter(empty), zone)
    both = both.filter(~empty)
    absent = both.filter(pl.col("early").is_null())
    if absent.height:
        name, at = absent.select(pl.col("unique_id"), ds.dt.strftime(MOMENT)).row(0)
        more = f" (and {absent.height - 1} more)" if absent.height > 1 else ""
        raise DataError(
            f"{where}: series {name!r} has a row at {at}{more}, which the clock of {zone} leaves out when it is put "
            "forward; name the zone that the times are of, or mend the rows"
        )
    falls = pl.col("ds").first() > pl.col("ds").last()
    both = both.with_columns(falls=falls.over("unique_id"))
    twice = both.filter(pl.col("early") != pl.col("late"))
    chosen = both.with_columns(ds=pl.when(pl.col("early") == pl.col("late")).then("early").otherwise(_later()))
    return chosen.select(rows.columns), hour_notes(twice, zone) + notes


def _later() -> pl.Expr:
    """Of the rows of one series and time: the earlier instant for the first, the later one for the second.

    Of more than two those of one value are one row, read several times.
    """
    number = pl.int_range(pl.len()).over(KEY)
    value = pl.col("y").rank("dense").fill_null(0)
    distinct = (value != value.first()).cast(pl.Int64).over(KEY)
    second = pl.when(pl.len().over(KEY) > 2).then(distinct).otherwise(number) == 1
    alone = pl.len().over(KEY) == 1
    return pl.when((second != pl.col("falls")) & ~alone).then("late").otherwise("early")


def empty_notes(empty: pl.DataFrame, zone: str) -> tuple[str, ...]:
    """What to tell of rows without a value in an hour that is left out, 0 or 1 line."""
    if empty.is_empty():
        return ()
    name, at = empty.select("unique_id", pl.col("ds").dt.strftime(MOMENT)).row(0)
    rows = f"{empty.height} row{'s' * (empty.height != 1)}"
    return (f"{rows} without a value at times that the clock of {zone} leaves out are none, e.g. {name!r} at {at}",)


def hour_notes(twice: pl.DataFrame, zone: str) -> tuple[str, ...]:
    """What to tell of rows in an hour that is there twice, 0 or 1 line."""
    if twice.is_empty():
        return ()
    times = twice.group_by(KEY, maintain_order=True).agg(rows=pl.len())
    name, at = times.select("unique_id", pl.col("ds").dt.strftime(MOMENT)).row(0)
    alone = times.filter(rows=1).height
    note = (
        f"the clock of {zone} shows {several(times.height)} twice ({times['unique_id'].n_unique()} series, "
        f"e.g. {name!r} at {at}); of two rows the first that was read is the earlier hour"
    )
    return (f"{note}; {alone} of these times had one row, taken as the earlier hour" if alone else note,)


def several(n: int) -> str:
    """A number of times in words; the served model, which reads this file too, has no terminal."""
    return f"{n} time{'s' * (n != 1)}"


def resolved(rows: pl.DataFrame, policy: Choice, section: str) -> tuple[pl.DataFrame, int, tuple[str, ...]]:
    """Rows in the order they were read -> one row for each time that held different values, how many rows that took
    away, and what to tell of it. Missing values have no say. Equal rows stay: they are dropped and counted later."""
    if policy == "refuse":
        return rows, 0, ()
    repeated = rows.filter(pl.struct(KEY).is_duplicated())
    known = pl.col("y").drop_nulls()
    value = {"first": known.first(), "last": known.last(), "mean": known.mean()}[policy]
    rest = [pl.col(name).first() for name in rows.columns if name not in (*KEY, "y")]
    conflicts = (
        repeated.group_by(KEY, maintain_order=True)
        .agg(*rest, y=value, held=pl.col("y").unique(maintain_order=True), count=pl.len())
        .filter(pl.col("held").list.len() > 1)
    )
    if conflicts.is_empty():
        return rows, 0, ()
    name, at, held, y = conflicts.select("unique_id", pl.col("ds").dt.strftime(MOMENT), "held", "y").row(0)
    shown = " and ".join("nothing" if each is None else f"{each:g}" for each in held[:2])
    times = f"{several(conflicts.height)} of {conflicts['unique_id'].n_unique()} series"
    note = (
        f"{times} held different values, e.g. {name!r} at {at} ({shown}, taken as {y:g}): the {policy} counts, as "
        f"--{section}.duplicates says"
    )
    others = rows.join(conflicts, on=KEY, how="anti", maintain_order="left")
    return (
        pl.concat([others, conflicts.select(rows.columns)]),
        int(conflicts["count"].sum()) - conflicts.height,
        (note,),
    )
