"""Columns as they were read -> unique_id, ds, y of one kind each; a value that is neither is refused with its row."""

import polars as pl

from rnn_model.errors import DataError
from tasks.clock import Clock, Stamps, text_stamps, zoned_stamps
from tasks.frequency import parse_frequency
from tasks.ids import EXACT, Part, renamed, spell
from tasks.labels import UNPRINTABLE, as_text
from tasks.series_config import SeriesConfig

NAMES = ("unique_id", "ds", "y")
FORMATS = ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m")
ZONED = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z", "%Y-%m-%d %H:%M%#z")
FARTHEST_DAY = 2_932_896  # 31 December 9999, in days since 1970


def rows_of(frame: pl.DataFrame, first_row: int, where: str, config: SeriesConfig) -> Part:
    """Columns picked and renamed, rows in the order they were read -> typed; lines without any of the three are none.

    `where` names the source in errors, `first_row` is the number of its first line of values.
    """
    numbered = frame.select(pl.int_range(first_row, pl.len() + first_row).alias("row"), *frame.columns)
    return typed(numbered.filter(~pl.all_horizontal(pl.col(NAMES).is_null())), where, config)


def typed(frame: pl.DataFrame, where: str, config: SeriesConfig) -> Part:
    """unique_id as text, ds as microseconds, y as float; a value that is neither number nor missing is refused.

    `frame` carries each value's `row` in the file beside unique_id, ds and y, and perhaps a label, as text then.
    """
    frame, ids = named(frame, where, config)
    times, numbers = parse_times(frame, where, config), parse_numbers(frame, where, config).alias("y")
    labels = [parse_labels(frame, where, config)] if config.columns.segment else []
    parsed = frame.select("unique_id", times.ds.alias("ds"), numbers, *labels)
    if times.instant is not None and config.as_of is not None and config.timezone is None:  # `as_of` may be of another
        parsed = parsed.with_columns(times.instant.alias("instant"))
    unsigned = pl.when(pl.col("y") == 0).then(0.0).otherwise(pl.col("y"))  # -0.0 equals 0.0, but not in its bytes
    return Part(parsed.with_columns(unsigned.alias("y")), ids, times.clock)


def named(frame: pl.DataFrame, where: str, config: SeriesConfig) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The same with unique_id as the text that is the series' id, and how each id was written.

    Raises DataError for what is no name: nothing, blanks alone, control characters, a float that is not exact.
    """
    kind = frame.schema["unique_id"]
    if kind.is_nested() or kind in (pl.Binary, pl.Duration, pl.Object):
        raise DataError(f"{where}: column unique_id holds {kind}, expected names; {another(config, 'id')}")
    if (exact := EXACT.get(kind.base_type())) is not None:
        vague = pl.col("unique_id").is_finite() & (pl.col("unique_id").abs() >= exact)
        refuse(frame, vague, "unique_id", f"a text or an integer: a {kind} of this size stands for several ids", where)
    ids = spell(frame["unique_id"])
    frame = frame.with_columns(pl.col("unique_id").cast(pl.String))
    nameless = ids.filter(pl.col("unique_id").is_null())["text"].to_list()
    if nameless:
        refuse(frame, pl.col("unique_id").is_in(nameless, nulls_equal=True), "unique_id", "a name", where)
    broken = ids.filter(pl.col("unique_id").str.contains(UNPRINTABLE))["text"].to_list()
    if broken:
        allowed = "a name without line breaks and control characters"
        refuse(frame, pl.col("unique_id").is_in(broken), "unique_id", allowed, where)
    return renamed(frame, ids), ids


def another(config: SeriesConfig, column: str) -> str:
    """What to do about a column of the wrong kind."""
    return f"map another with --{config.section}.columns.{column}"


def parse_numbers(frame: pl.DataFrame, where: str, config: SeriesConfig) -> pl.Series:
    """y as Float64; empty, NaN and the declared null values become null."""
    if frame.schema["y"].is_numeric() or frame.schema["y"] == pl.Null:
        return frame["y"].cast(pl.Float64).fill_nan(None)
    if frame.schema["y"] != pl.String:
        raise DataError(f"{where}: column y holds {frame.schema['y']}, expected numbers; {another(config, 'y')}")
    text = pl.col("y").str.strip_chars()
    text = pl.when(text.is_in(["", *config.null_values])).then(None).otherwise(text)
    number = text.cast(pl.Float64, strict=False)
    refuse(
        frame,
        text.is_not_null() & number.is_null(),
        "y",
        f"a number such as 1234.5; if it stands for a missing value, name it in --{config.section}.null_values",
        where,
    )
    return frame.select(number.fill_nan(None).alias("y"))["y"]


def parse_labels(frame: pl.DataFrame, where: str, config: SeriesConfig) -> pl.Series:
    """label as text; what may stand in it is checked when the rows of all files are together."""
    try:
        return as_text(frame["label"])
    except TypeError as error:
        raise DataError(f"{where}: column {config.columns.segment!r} {error}; {another(config, 'segment')}") from None


def parse_times(frame: pl.DataFrame, where: str, config: SeriesConfig) -> Stamps:
    """ds as microseconds without a zone, every row by the same format.

    Where the text or type has a zone: its wall clock, or UTC for steps finer than days.
    """
    kind, frequency = frame.schema["ds"], parse_frequency(str(config.freq))
    if kind == pl.Date or kind == pl.Datetime:
        zone = getattr(kind, "time_zone", None)
        refuse_far_times(frame, where)
        ds = frame["ds"].cast(pl.Datetime("us")) if zone is None else frame["ds"].dt.cast_time_unit("us")
        allowed = "a date such as 2024-01-31"
    elif kind == pl.String:
        text = frame["ds"].str.strip_chars()
        ds = parse_text_times(text, config.datetime_format)
        like = f"the first one, {text[0]!r}" if len(ds) and ds[0] is not None else "2024-01-31"
        allowed = f"a date like {like} ({config.datetime_format or 'ISO 8601'})"
    else:
        raise DataError(f"{where}: column ds holds {kind}, expected dates such as 2024-01-31; {another(config, 'ds')}")
    checked = frame.with_columns(parsed=ds)
    refuse(checked, pl.col("parsed").is_null(), "ds", allowed, where)
    if getattr(ds.dtype, "time_zone", None) is None:
        return Stamps(ds, None, Clock(local=True))
    if kind != pl.String:
        return zoned_stamps(ds, frequency, config.timezone)
    if (config.datetime_format or "%z").endswith("z"):
        return text_stamps(ds, frame["ds"].str.strip_chars(), frequency, config.timezone)
    if config.timezone is None:
        raise DataError(
            f"{where}: the offset of ds is not at its end, so its clock is not known; name its zone, e.g. "
            f"--{config.section}.timezone Europe/Berlin"
        )
    return zoned_stamps(ds, frequency, config.timezone)


def refuse_far_times(frame: pl.DataFrame, where: str) -> None:
    """Timestamps further away than any calendar reaches come from a damaged file; Polars cannot convert them."""
    kind = frame.schema["ds"]
    per_day = (
        1 if kind == pl.Date else 86_400 * {"ms": 10**3, "us": 10**6, "ns": 10**9}[getattr(kind, "time_unit", "us")]
    )
    days = pl.col("ds").to_physical() // per_day
    far = frame.with_columns(days=days, ds=pl.col("ds").to_physical())
    refuse(far, pl.col("days").abs() > FARTHEST_DAY, "ds", "a date between the years 0 and 9999", where)


def parse_text_times(text: pl.Series, declared: str | None) -> pl.Series:
    """Text as Datetime by the declared format, else by the first known one that reads the first row."""
    first = text.drop_nulls().head(1)
    for pattern in (declared,) if declared else (*FORMATS, *ZONED):
        zoned = "%z" in pattern or "%#z" in pattern
        kind = pl.Datetime("us", "UTC") if zoned else pl.Datetime("us")
        try:
            if first.str.strptime(kind, pattern, strict=False).null_count() == 0 and len(first):
                return text.str.strptime(kind, pattern, strict=False)
        except pl.exceptions.PolarsError:
            continue
    return pl.Series("ds", [None] * len(text), dtype=pl.Datetime("us"))


def refuse(frame: pl.DataFrame, bad: pl.Expr, column: str, allowed: str, where: str) -> None:
    """Raise DataError naming the first row where `bad` holds."""
    rows = frame.filter(bad)
    if rows.height:
        row = rows.row(0, named=True)
        more = f" (and {rows.height - 1} more rows)" if rows.height > 1 else ""
        place = f"{where}: row {row['row']}, series {row['unique_id']!r}"
        raise DataError(f"{place}: {column} is {row[column]!r}{more}; expected {allowed}")
