"""The same data with another future: what a leakage proof changes, and from where on.

Series that stand there keep every row up to a test cutoff. After it their values are others, and new series appear.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field

from rnn_model.artefact import open_checked, publish
from rnn_model.config import Section
from rnn_model.seeding import numpy_rng
from rnn_model.windows import Ints, Split
from tasks.config import home
from tasks.contract import content_fingerprint
from tasks.frequency import grid_time, parse_frequency
from tasks.handles import Dataset, WindowSet
from tasks.series_config import TargetConfig
from tasks.step import step
from tasks.window import open_windows

KINDS = ("mixed", "wild", "missing", "zero")  # what becomes of a series after the cutoff, in turns
WILD = 1000.0  # times the largest magnitude of the series: nothing downstream could take such values for usual ones
LARGEST = 1e290  # that wild values start from: validation refuses 1e300


class Future(Section):
    """A changed copy as a target of its own, and how much of it is new."""

    target: TargetConfig
    cutoff: int = Field(description="the test cutoff after which everything is changed; 0 is the first")
    changed: int = Field(description="rows with another value")
    added: int = Field(description="rows past the end of all series, which as_of has to cut away")
    tested: int = Field(description="new series that are long enough for the test, all of them after the cutoff")
    short: int = Field(description="new series that are too short for anything")


class Limits(NamedTuple):
    """What new series may be, so that they come into later test cutoffs and into nothing before."""

    need: int  # points from which a series is validated
    longest: int  # points with which it takes part in nothing up to the cutoff, and has nothing to fit or choose on


@step
def change_future(
    raw: Dataset, used: Dataset, handle: WindowSet, target: TargetConfig, cutoff: int, seed: int
) -> Future:
    """Write a copy of the ingested rows in which everything after a cutoff is changed; as_of is where they ended."""
    _, split = open_windows(handle)
    rows = pl.read_parquet(open_checked(raw.folder) / "data.parquet")
    known = pl.read_parquet(open_checked(used.folder) / "data.parquet")
    frame, future = another_future(rows, known, split, handle, cutoff, seed)
    folder = home() / "proofs" / content_fingerprint(frame)[:16]
    path = folder / f"{target.name}.parquet"
    publish(folder, lambda staging: frame.write_parquet(staging / path.name))
    return future.model_copy(update={"target": copied(target, path, rows)})


def copied(target: TargetConfig, path: Path, rows: pl.DataFrame) -> TargetConfig:
    """The same settings for the copy, as of the last time of `rows`; new short series must not stop the run.

    A copy has unique_id, ds and y alone: groups of series decide about promotion, which is no part of a proof.
    """
    end = rows.select(pl.col("ds").max().dt.to_string("iso")).item()
    same = {name: getattr(target, name) for name in ("freq", "season", "gaps", "ended", "max_age")}
    return TargetConfig(path=str(path), as_of=end, max_quarantined=1.0, **same)


def kept_points(split: Split, cutoff: int) -> Ints:
    """(N,) points of each series that stay: up to a test cutoff, or up to its first one where that is later."""
    later = split.test[cutoff:]
    smallest = np.where(later >= 0, later, np.iinfo(np.int64).max).min(0)
    return np.where((later >= 0).any(0), smallest, 0)


def another_future(
    rows: pl.DataFrame, used: pl.DataFrame, split: Split, handle: WindowSet, cutoff: int, seed: int
) -> tuple[pl.DataFrame, Future]:
    """Raw and validated rows -> the changed raw rows (unique_id, ds, y), and what was done to them."""
    rng, need = numpy_rng(seed, "future", cutoff), handle.min_history + handle.horizon
    ends = last_kept(used, kept_points(split, cutoff))
    changed = with_other_values(rows, ends, cutoff, need, rng)
    extra = past_the_end(rows, handle, rng)
    tail = times_after(used, last_kept(used, split.test[cutoff])["until"].max())
    span = handle.horizon + handle.step * (handle.cutoffs - 1 - cutoff)
    limits = Limits(need, min(len(tail), need + handle.horizon - 1, span + handle.min_history - 1))
    new, tested, short = newcomers(rows, ends["unique_id"].to_list(), tail, limits, rng)
    frame = pl.concat([changed, extra, new]).sort("unique_id", "ds", "y")
    other = int((changed["y"].eq_missing(rows["y"])).not_().sum())
    return frame, Future(
        target=TargetConfig(), cutoff=cutoff, changed=other, added=extra.height, tested=tested, short=short
    )


def last_kept(used: pl.DataFrame, kept: Ints) -> pl.DataFrame:
    """unique_id, number, until: the time of the last of the first `kept` (N,) points, null where there is none."""
    return (
        used.group_by("unique_id", maintain_order=True)
        .agg("ds")
        .with_row_index("number")
        .with_columns(kept=pl.Series(kept))
        .select(
            "unique_id",
            pl.col("number").cast(pl.Int64),
            until=pl.when(pl.col("kept") > 0).then(pl.col("ds").list.get(pl.col("kept") - 1, null_on_oob=True)),
        )
    )


def with_other_values(
    rows: pl.DataFrame, ends: pl.DataFrame, cutoff: int, need: int, rng: np.random.Generator
) -> pl.DataFrame:
    """Every value after its series' `until` is another: wild, missing or zero, by series in turns.

    Rows of one time change alike, so that repeated rows stay repeated; series set aside before stay as they are.
    """
    after, series = pl.col("ds") > pl.col("until"), "unique_id"
    joined = rows.join(ends, on=series, how="left", maintain_order="left").with_columns(
        nth=pl.col("ds").rank("dense").over(series).cast(pl.Int64),
        size=pl.col("y").abs().max().over(series).fill_null(0.0).clip(0, LARGEST),
        known=(pl.col("y").is_not_null() & ~after).sum().over(series),
    )
    times = joined.select(series, "nth").unique(maintain_order=True)
    noise = times.with_columns(noise=pl.Series(rng.normal(size=times.height)))
    joined = joined.join(noise, on=[series, "nth"], how="left", maintain_order="left")
    wild = WILD * (1 + pl.col("size")) * pl.col("noise")
    turn = (pl.col("number") + cutoff) % len(KINDS)
    kind = pl.when(turn == 0).then(1 + pl.col("nth") % 3).otherwise(turn)  # mixed: one after the other
    other = pl.when(kind == 2).then(None).when(kind == 3).then(0.0).otherwise(wild)
    other = pl.when(pl.col("known") < need).then(wild).otherwise(other)  # else it would be too short, and set aside
    return joined.select(series, "ds", pl.when(after).then(other).otherwise(pl.col("y")).alias("y"))


def past_the_end(rows: pl.DataFrame, handle: WindowSet, rng: np.random.Generator) -> pl.DataFrame:
    """A horizon of rows for every series, after the last time of all."""
    steps = pl.DataFrame({"step": range(1, handle.horizon + 1)}, schema={"step": pl.Int64})
    last = pl.lit(rows["ds"].max(), dtype=pl.Datetime("us"))
    times = steps.select(ds=grid_time(parse_frequency(handle.freq), last, pl.col("step")))
    extra = rows.select("unique_id").unique(maintain_order=True).join(times, how="cross")
    return extra.with_columns(y=pl.Series(WILD * rng.normal(size=extra.height)))


def times_after(used: pl.DataFrame, until: Any) -> pl.Series:
    """The grid of the series that ends last, after a time; nothing of it where there is none."""
    name = used.filter(pl.col("ds") == pl.col("ds").max())["unique_id"][0]
    after = pl.lit(False) if until is None else pl.col("ds") > until
    return used.filter((pl.col("unique_id") == name) & after)["ds"]


def newcomers(
    rows: pl.DataFrame, names: list[str], tail: pl.Series, limits: Limits, rng: np.random.Generator
) -> tuple[pl.DataFrame, int, int]:
    """Series that only exist in `tail`, before, between and behind the others; how many are tested, and too short.

    There are more of those that are tested than there are old series, so that a figure over all of them moves.
    """
    known = set(rows["unique_id"])
    long = [" new", *(f"{name} new" for name in names), " newer"] if limits.longest >= limits.need else []
    short = [" short", f"{names[0]} short", f"{names[-1]} short"]
    spread = max(1, limits.longest - limits.need + 1)
    lengths = [limits.longest - i % spread for i in range(len(long))] + [min(len(tail), limits.need - 1)] * len(short)
    frames = [rows.clear()]
    for name, length in zip([*long, *short], lengths, strict=True):
        while name in known:
            name += "'"
        wild = pl.Series("y", WILD * rng.normal(size=length))
        frames.append(pl.DataFrame({"unique_id": [name] * length, "ds": tail.tail(length), "y": wild}))
    return pl.concat(frames), len(long), len(short)
