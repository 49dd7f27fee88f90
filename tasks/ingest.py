"""Files in, one Parquet file of unique_id, ds, y out, named by its content."""

import csv
import glob
from pathlib import Path
from typing import TypeVar

import polars as pl
from prefect import task

from rnn_model.artefact import publish
from rnn_model.errors import DataError
from tasks.columns import map_columns
from tasks.config import home
from tasks.contract import content_fingerprint, known_rows
from tasks.frequency import parse_frequency
from tasks.handles import Dataset
from tasks.labels import as_text, labels_of, publish_labels
from tasks.series_config import SeriesConfig

NAMES = ("unique_id", "ds", "y")
FORMATS = ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m")
ZONED = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z", "%Y-%m-%d %H:%M%#z")
FARTHEST_DAY = 2_932_896  # 31 December 9999, in days since 1970
CHUNK = 1 << 22  # bytes read at a time while the encoding is checked
Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


@task
def ingest(config: SeriesConfig, name: str) -> Dataset:
    """Read every file of the config and publish the rows under data/raw. Raises DataError (65)."""
    return ingest_files(config, name, home() / "raw")


def ingest_files(config: SeriesConfig, name: str, root: Path) -> Dataset:
    """Read, map, parse, sort and publish; the same rows give the same folder, whatever their order or format.

    Labels of series, where a column of them is declared, go to `labels` beside `root`.
    """
    frequency = parse_frequency(str(config.freq))
    frame, later = known_rows(read_files(config), config)
    labels = publish_labels(labels_of(frame, config), root.parent / "labels") if config.columns.segment else None
    frame = frame.select(NAMES)
    fingerprint = content_fingerprint(frame)
    folder = publish(root / fingerprint[:16], lambda staging: frame.write_parquet(staging / "data.parquet"))
    return Dataset(
        folder=folder,
        fingerprint=fingerprint,
        name=name,
        freq=str(config.freq),
        season=config.season or frequency.season,
        periods=frequency.network_periods(config.season),
        gaps=config.gaps,
        rows=frame.height,
        series=frame["unique_id"].n_unique(),
        later=later,
        labels=labels,
    )


def read_files(config: SeriesConfig) -> pl.DataFrame:
    """All rows of all files as unique_id (text), ds (microseconds, UTC or without a zone), y (float), sorted.

    With a segment column declared, there is its label (text) too.
    """
    frames = [read_file(path, config) for path in expand(str(config.path))]
    zones = {str(frame.schema["ds"]) for frame in frames}
    if len(zones) > 1:
        raise DataError(f"{config.path}: files mix timestamps with and without a time zone; give all of them the same")
    frame = pl.concat(frames).sort("unique_id", "ds", "y")
    if frame.is_empty():
        raise DataError(f"{config.path}: no rows; expected a header and at least one row of unique_id, ds, y")
    return frame


def expand(pattern: str) -> list[Path]:
    """The files of a path or glob, sorted. Raises DataError when there is none, or one of an unknown kind."""
    paths = [Path(pattern)] if Path(pattern).is_file() else sorted(Path(p) for p in glob.glob(pattern, recursive=True))
    paths = [p for p in paths if p.is_file()]
    if not paths:
        raise DataError(f"{pattern}: no such file; give a CSV or Parquet file, or a quoted glob such as 'sales/*.csv'")
    for path in paths:
        if path.suffix.lower() not in (".csv", ".parquet", ".pq"):
            raise DataError(f"{path}: kind {path.suffix or 'without ending'!r} is not read; use .csv or .parquet")
    return paths


def read_file(path: Path, config: SeriesConfig) -> pl.DataFrame:
    """One file, columns mapped and typed; lines without any of the three are no rows."""
    is_csv = path.suffix.lower() == ".csv"
    raw = scan_csv(path) if is_csv else scan_parquet(path)
    found = raw.collect_schema().names()
    columns = map_columns(path, found, config)
    picked = [pl.col(old).alias(new) for new, old in columns.items()]
    try:
        frame = raw.select(*picked, ends=pl.col(found[-1]).is_not_null()).collect()
    except pl.exceptions.PolarsError as error:
        if is_csv:
            check_widths(path, len(found))
        raise DataError(f"{path}: cannot be read past the header: {first_line(error)}") from error
    if is_csv and not frame["ends"].all():  # an empty last field, or a short row, which Polars reads as one
        check_widths(path, len(found))
    first_row = 2 if is_csv else 1  # a CSV's header is its first line
    numbered = frame.select(pl.int_range(first_row, pl.len() + first_row).alias("row"), *columns)
    return typed(numbered.filter(~pl.all_horizontal(pl.col(NAMES).is_null())), path, config)


def scan_csv(path: Path) -> pl.LazyFrame:
    """Every column as text, so that the millionth row is read as the fifth is. Raises DataError."""
    check_encoding(path)
    with path.open(newline="", encoding="utf-8-sig") as handle:
        try:
            header = next(csv.reader(handle), [])
        except csv.Error as error:
            raise DataError(f"{path}: the header cannot be read ({error}); is it a CSV?") from error
    if not header:
        raise DataError(f"{path}: no rows; the file is empty")
    double = sorted({name for name in header if header.count(name) > 1})
    if double:
        raise DataError(f"{path}: column {double[0]!r} occurs {header.count(double[0])} times; rename one")
    return pl.scan_csv(path, infer_schema=False, glob=False)


def check_widths(path: Path, width: int) -> None:
    """Raise DataError for the first row with more or fewer fields than the header; blank lines do not count."""
    with path.open(newline="", encoding="utf-8-sig") as handle:
        try:
            for row, fields in enumerate(csv.reader(handle), start=1):
                if fields and len(fields) != width:
                    raise DataError(
                        f"{path}: row {row} has {len(fields)} fields, the header has {width}; "
                        "mend the row, or quote a value that holds a comma"
                    )
        except csv.Error as error:
            raise DataError(f"{path}: not CSV ({error}); mend its quotes") from error


def scan_parquet(path: Path) -> pl.LazyFrame:
    """A Parquet file, its footer read. Raises DataError for a cut or foreign file."""
    try:
        frame = pl.scan_parquet(path, glob=False)
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: incomplete or not Parquet ({first_line(error)}); write it again") from error
    return frame


def check_encoding(path: Path) -> None:
    """Raise DataError for anything that is not UTF-8 text with line feeds."""
    offset, tail, feeds, returns = 0, b"", False, False
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            block = tail + chunk
            nul = block.find(b"\0")
            try:
                text, used = block.decode("utf-8"), len(block)
            except UnicodeDecodeError as error:
                split_at_end = error.reason == "unexpected end of data" and len(block) - error.start < 4
                if not split_at_end:
                    raise DataError(
                        f"{path}: not UTF-8, byte offset {offset + error.start}; save it as UTF-8"
                    ) from None
                text, used = block[: error.start].decode("utf-8"), error.start
            if nul >= 0:
                raise DataError(f"{path}: not UTF-8 text, NUL at byte offset {offset + nul}; save it as UTF-8")
            feeds, returns = feeds or "\n" in text, returns or "\r" in text
            offset, tail = offset + used, block[used:]
    if tail:
        raise DataError(f"{path}: not UTF-8, byte offset {offset}; the last character is cut")
    if returns and not feeds:
        raise DataError(f"{path}: lines end in CR alone; save it with LF or CRLF line ends")


def typed(frame: pl.DataFrame, path: Path, config: SeriesConfig) -> pl.DataFrame:
    """unique_id as text, ds as microseconds, y as float; a value that is neither number nor missing is refused.

    `frame` carries each value's `row` in the file beside unique_id, ds and y, and perhaps a label, as text then.
    """
    kind = frame.schema["unique_id"]
    if kind.is_nested() or kind == pl.Binary:
        raise DataError(f"{path}: column unique_id holds {kind}, expected names; {another(config, 'id')}")
    frame = frame.with_columns(pl.col("unique_id").cast(pl.String))
    refuse(frame, pl.col("unique_id").is_null() | (pl.col("unique_id") == ""), "unique_id", "a name", path)
    times, numbers = parse_times(frame, path, config).alias("ds"), parse_numbers(frame, path, config).alias("y")
    labels = [parse_labels(frame, path, config)] if config.columns.segment else []
    parsed = frame.select("unique_id", times, numbers, *labels)
    unsigned = pl.when(pl.col("y") == 0).then(0.0).otherwise(pl.col("y"))  # -0.0 equals 0.0, but not in its bytes
    return parsed.with_columns(unsigned.alias("y"))


def another(config: SeriesConfig, column: str) -> str:
    """What to do about a column of the wrong kind."""
    return f"map another with --{config.section}.columns.{column}"


def parse_numbers(frame: pl.DataFrame, path: Path, config: SeriesConfig) -> pl.Series:
    """y as Float64; empty, NaN and the declared null values become null."""
    if frame.schema["y"].is_numeric() or frame.schema["y"] == pl.Null:
        return frame["y"].cast(pl.Float64).fill_nan(None)
    if frame.schema["y"] != pl.String:
        raise DataError(f"{path}: column y holds {frame.schema['y']}, expected numbers; {another(config, 'y')}")
    text = pl.col("y").str.strip_chars()
    text = pl.when(text.is_in(["", *config.null_values])).then(None).otherwise(text)
    number = text.cast(pl.Float64, strict=False)
    refuse(
        frame,
        text.is_not_null() & number.is_null(),
        "y",
        f"a number such as 1234.5; if it stands for a missing value, name it in --{config.section}.null_values",
        path,
    )
    return frame.select(number.fill_nan(None).alias("y"))["y"]


def parse_labels(frame: pl.DataFrame, path: Path, config: SeriesConfig) -> pl.Series:
    """label as text; what may stand in it is checked when the rows of all files are together."""
    try:
        return as_text(frame["label"])
    except TypeError as error:
        raise DataError(f"{path}: column {config.columns.segment!r} {error}; {another(config, 'segment')}") from None


def parse_times(frame: pl.DataFrame, path: Path, config: SeriesConfig) -> pl.Series:
    """ds as microseconds, in UTC where the text or type has a zone; every row by the same format."""
    kind = frame.schema["ds"]
    if kind == pl.Date or kind == pl.Datetime:
        zone = getattr(kind, "time_zone", None)
        refuse_far_times(frame, path)
        ds = frame["ds"].cast(pl.Datetime("us", zone)) if zone is None else frame["ds"].dt.convert_time_zone("UTC")
        ds = ds.dt.cast_time_unit("us")
        allowed = "a date such as 2024-01-31"
    elif kind == pl.String:
        text = frame["ds"].str.strip_chars()
        ds = parse_text_times(text, config.datetime_format)
        like = f"the first one, {text[0]!r}" if len(ds) and ds[0] is not None else "2024-01-31"
        allowed = f"a date like {like} ({config.datetime_format or 'ISO 8601'})"
    else:
        raise DataError(f"{path}: column ds holds {kind}, expected dates such as 2024-01-31; {another(config, 'ds')}")
    checked = frame.with_columns(parsed=ds)
    refuse(checked, pl.col("parsed").is_null(), "ds", allowed, path)
    return ds


def refuse_far_times(frame: pl.DataFrame, path: Path) -> None:
    """Timestamps further away than any calendar reaches come from a damaged file; Polars cannot convert them."""
    kind = frame.schema["ds"]
    per_day = (
        1 if kind == pl.Date else 86_400 * {"ms": 10**3, "us": 10**6, "ns": 10**9}[getattr(kind, "time_unit", "us")]
    )
    days = pl.col("ds").to_physical() // per_day
    far = frame.with_columns(days=days, ds=pl.col("ds").to_physical())
    refuse(far, pl.col("days").abs() > FARTHEST_DAY, "ds", "a date between the years 0 and 9999", path)


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


def refuse(frame: pl.DataFrame, bad: pl.Expr, column: str, allowed: str, path: Path) -> None:
    """Raise DataError naming the first row where `bad` holds."""
    rows = frame.filter(bad)
    if rows.height:
        row = rows.row(0, named=True)
        more = f" (and {rows.height - 1} more rows)" if rows.height > 1 else ""
        where = f"{path}: row {row['row']}, series {row['unique_id']!r}"
        raise DataError(f"{where}: {column} is {row[column]!r}{more}; expected {allowed}")


def first_line(error: Exception) -> str:
    """The first line of an error's text, shortened."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
