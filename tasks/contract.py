"""The data contract: every row ends as used, padded or quarantined with a reason, and the sums match.

The rules are Pandera checks that look at values. A series that breaks one is set aside whole; the others go on.
"""

import hashlib

import numpy as np
import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

from rnn_model.errors import DataError
from rnn_model.windows import Windows
from tasks.absurd import absurd_values
from tasks.clock import moment_of
from tasks.ended import AgeRule, find_ended
from tasks.frequency import (
    MONTHS,
    Frequency,
    anchor_day,
    grid_position,
    grid_time,
    in_range,
    parse_frequency,
    parse_moment,
)
from tasks.handles import Account
from tasks.series_config import SeriesConfig

LARGEST = 1e300  # magnitude: sums of larger values are no numbers any more
SPARSEST = 100  # grid steps per row at most: one stray timestamp must not fill the memory with missing steps
EQUAL_ROWS = "equal duplicate"  # dropped one by one; the series stays
OFF_CALENDAR = ("time out of range", "off the frequency", "coarser than the frequency", "mostly gaps")


def known_rows(frame: pl.DataFrame, config: SeriesConfig, zone: str | None = None) -> tuple[pl.DataFrame, int]:
    """The rows that were known at `as_of`, and how many later ones there are.

    `zone`: that of the times. Rows that were instants have them as `instant` (UTC): an `as_of` with an offset is
    compared with those, one without with the clock that rows are kept in, or that of `zone`.
    """
    if config.as_of is None:
        return frame, 0
    aware, by_day = parse_moment(config.as_of)[1], parse_frequency(str(config.freq)).by_day
    if aware and zone is None and "instant" not in frame.columns:
        raise DataError(
            f"{config.where}: times have no zone, as_of {config.as_of} has one; give it without its offset, or name "
            f"theirs, e.g. --{config.section}.timezone Europe/Berlin"
        )
    if aware and "instant" in frame.columns:
        moment, at = parse_moment(config.as_of)[0], pl.col("instant").fill_null(pl.col("ds"))
    else:
        moment, at = moment_of(config.as_of, zone, by_day), pl.col("ds")
    known = frame.filter(at <= moment)
    if known.is_empty():
        first = frame.select(pl.col("ds").min().dt.to_string("iso")).item()
        raise DataError(
            f"{config.where}: no rows up to as_of {config.as_of}, the first is of {first}; name a later one"
        )
    return known, frame.height - known.height


def split_rows(
    raw: pl.DataFrame, frequency: Frequency, gaps: str, need: int, context: int, age: AgeRule | None = None
) -> tuple[pl.DataFrame, pl.DataFrame, Account]:
    """Rows sorted by (unique_id, ds, y) -> used series on their full grid, one line per quarantined series, account."""
    rows = raw.filter(pl.struct("unique_id", "ds", "y").is_first_distinct() if _has_repeats(raw) else pl.lit(True))
    rows = placed(rows, frequency)
    quarantine, notes = without_ended(rows, check(rows, need, gaps), frequency, gaps, age)
    good = rows.join(quarantine.select("unique_id"), on="unique_id", how="anti", maintain_order="left")
    used = on_grid(good, frequency, gaps)
    sizes = used.group_by("unique_id", maintain_order=True).agg(grid=pl.len())
    spread = (
        good.group_by("unique_id")
        .agg(rows=pl.len(), constant=(pl.col("y").drop_nulls().n_unique() == 1))
        .join(sizes, on="unique_id")
    )
    dropped = {EQUAL_ROWS: raw.height - rows.height} if raw.height > rows.height else {}
    by_rule = quarantine.group_by("rule").agg(pl.col("rows").sum()).sort("rule")
    account = Account(
        rows_in=raw.height,
        used=int(spread.filter(pl.col("grid") >= context)["rows"].sum()),
        padded=int(spread.filter(pl.col("grid") < context)["rows"].sum()),
        quarantined=dropped | dict(by_rule.iter_rows()),
        added=used.height - good.height,
        series_in=raw["unique_id"].n_unique(),
        series_used=spread.height,
        constant=int(spread["constant"].sum()),
        notes=(*notes, *absurd_values(good)),
    )
    if not account.balanced():
        raise DataError(f"the row account does not balance: {account.model_dump()}; please report this")
    return used, quarantine, account


def without_ended(
    rows: pl.DataFrame, quarantine: pl.DataFrame, frequency: Frequency, gaps: str, age: AgeRule | None
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The quarantine with the series that ended long before the others, whatever else they break; and what to tell.

    Which series has an end is asked of all that lie on the calendar, so that a run and a forecast see the same ends.
    """
    if age is None:
        return quarantine, ()
    lost = quarantine.filter(pl.col("rule").is_in(OFF_CALENDAR)).select("unique_id")
    ended, notes = find_ended(rows.join(lost, on="unique_id", how="anti", maintain_order="left"), frequency, gaps, age)
    others = quarantine.join(ended, on="unique_id", how="anti", maintain_order="left")
    return pl.concat([others, ended.select(others.columns)]).sort("unique_id"), notes


def placed(rows: pl.DataFrame, frequency: Frequency) -> pl.DataFrame:
    """Rows with what fixes the grid of their series, `first` and `day`, and their `position` on it; null: off it."""
    ds, series = pl.col("ds"), "unique_id"
    day = anchor_day(ds).over(series) if frequency.unit in MONTHS else pl.lit(0, pl.Int8)
    rows = rows.with_columns(first=ds.min().over(series), day=day)
    return rows.with_columns(position=grid_position(frequency, ds, pl.col("first"), pl.col("day")))


def schema(need: int, gaps: str) -> pa.DataFrameSchema:
    """The contract over rows sorted by (unique_id, ds) with their grid `position`; a failing row names its series."""
    series = "unique_id"

    def rule(name: str, broken: pl.Expr) -> pa.Check:
        return pa.Check(lambda data: data.lazyframe.select(~broken.fill_null(False)), name=name, error=name)

    observed = pl.col("y").is_not_null().sum().over(series)
    same_time = pl.col("ds") == pl.col("ds").shift(1).over(series)
    smallest = pl.col("position").diff().over(series).min().over(series)
    span = pl.col("position").max().over(series) + 1
    sparse = gaps == "zero"  # rows exist only where something happened: rare ones say nothing of the frequency
    head = pl.col("ds").is_first_distinct().over(series)  # series-level rules speak once, at the first row
    return pa.DataFrameSchema(
        {
            "unique_id": pa.Column(pl.String, nullable=False),
            "ds": pa.Column(pl.Datetime("us"), nullable=False),
            "y": pa.Column(pl.Float64, nullable=True),
            "first": pa.Column(pl.Datetime("us"), nullable=False),
            "day": pa.Column(pl.Int8, nullable=False),
            "position": pa.Column(pl.Int64, nullable=True),
        },
        checks=[
            rule("infinite value", pl.col("y").is_infinite()),
            rule("beyond 1e300", pl.col("y").abs().is_between(LARGEST, float("inf"), closed="none")),
            rule("time out of range", ~in_range(pl.col("ds"))),
            rule("conflicting duplicate", same_time),
            rule("off the frequency", pl.col("position").is_null()),
            rule("coarser than the frequency", (smallest > 1) & (pl.len().over(series) > 2) & head & (not sparse)),
            rule("mostly gaps", (span > SPARSEST * pl.len().over(series)) & head),
            rule("no value at all", (observed == 0) & head),
            rule(f"shorter than {need}", (observed > 0) & (observed < need) & head),
        ],
        strict=True,
    )


def check(rows: pl.DataFrame, need: int, gaps: str = "missing") -> pl.DataFrame:
    """One line per broken series: unique_id, rule (the first it breaks), ds of the first bad row, rows it holds."""
    try:
        schema(need, gaps).validate(rows, lazy=True)
        failures = pl.DataFrame({"index": [], "check": []}, schema={"index": pl.Int64, "check": pl.String})
    except SchemaErrors as errors:
        failures = errors.failure_cases.select(pl.col("index").cast(pl.Int64), pl.col("check").cast(pl.String))
        if failures["index"].null_count():
            raise DataError(f"columns are not as declared: {errors.failure_cases.row(0)}") from errors
    order = {c.name: n for n, c in enumerate(schema(need, gaps).checks)}
    numbered = rows.with_row_index("index").select(pl.col("index").cast(pl.Int64), "unique_id", "ds")
    first = (
        failures.join(numbered, on="index", how="left", maintain_order="left")
        .with_columns(rank=pl.col("check").replace_strict(order, default=len(order), return_dtype=pl.Int64))
        .sort("unique_id", "rank", "ds")
        .unique("unique_id", keep="first", maintain_order=True)
    )
    counts = rows.group_by("unique_id").agg(rows=pl.len().cast(pl.Int64), observed=pl.col("y").count())
    return first.select("unique_id", pl.col("check").alias("rule"), pl.col("ds").alias("at")).join(
        counts, on="unique_id", how="left", maintain_order="left"
    )


def on_grid(rows: pl.DataFrame, frequency: Frequency, gaps: str) -> pl.DataFrame:
    """unique_id, ds, y with one row per grid step; absent steps are missing, or 0 by policy.

    Interpolation is no policy: a gap across a cutoff would be filled from the test.
    """
    full = (
        rows.group_by("unique_id", maintain_order=True)
        .agg(pl.col("first", "day").first(), position=pl.int_range(pl.col("position").max() + 1))
        .explode("position")
    )
    values = rows.select("unique_id", "position", "y", present=pl.lit(True))
    filled = full.join(values, on=["unique_id", "position"], how="left", maintain_order="left")
    absent = pl.col("present").is_null() & (gaps == "zero")
    value = pl.when(absent).then(0.0).otherwise(pl.col("y")).alias("y")
    times = grid_time(frequency, pl.col("first"), pl.col("position"), pl.col("day"))
    return filled.select("unique_id", times.alias("ds"), value)


def _has_repeats(raw: pl.DataFrame) -> bool:
    """Whether a sorted frame holds equal neighbours: cheap, where uniqueness over all rows is not."""
    same = pl.all_horizontal(pl.col(c).eq_missing(pl.col(c).shift(1)) for c in ("unique_id", "ds", "y"))
    return bool(raw.select(same.any()).item())


def frame_windows(frame: pl.DataFrame, periods: tuple[int, int]) -> Windows:
    """Rows grouped by unique_id and regular in ds -> windows over all of them, float64."""
    lengths = frame["unique_id"].rle().struct.field("len").to_numpy().astype(np.int64)
    values = frame["y"].fill_null(float("nan")).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Windows(values, offsets, np.tile(np.array(periods, dtype=np.int64), (len(lengths), 1)), lengths)


def content_fingerprint(frame: pl.DataFrame) -> str:
    """SHA-256 over the sorted rows: ids with their lengths, times and values as raw little-endian bytes."""
    digest = hashlib.sha256()
    ids = frame["unique_id"].rle().struct.unnest()
    for length, name in ids.iter_rows():
        digest.update(f"{length}:{len(name)}:{name};".encode())
    digest.update(frame["ds"].cast(pl.Int64).to_numpy().tobytes())
    digest.update(frame["y"].fill_null(float("nan")).to_numpy().tobytes())
    return digest.hexdigest()
