"""One CSV or Parquet file at hand, read as text or by its footer, checked, its columns mapped and typed."""

import csv
import glob
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl
import psutil

from rnn_model.artefact import sha256_file
from rnn_model.errors import BusyError, DataError
from tasks.columns import map_columns
from tasks.handles import DataFile
from tasks.ids import Part
from tasks.quotes import QUOTE, Break, check_quotes, refuse_breaks
from tasks.series_config import SeriesConfig
from tasks.terminal import counted
from tasks.values import rows_of

KINDS = (".csv", ".parquet", ".pq")
ROW_BYTES = 120  # of memory that a row takes while it is read: 122 to 150 were measured on 2 and 6 million rows
CHUNK = 1 << 22  # bytes read at a time while the encoding is checked


def expand(pattern: str) -> list[Path]:
    """The files of a path or glob, sorted. Raises DataError when there is none, or one of an unknown kind."""
    paths = [Path(pattern)] if Path(pattern).is_file() else sorted(Path(p) for p in glob.glob(pattern, recursive=True))
    paths = [p for p in paths if p.is_file()]
    if not paths:
        raise DataError(f"{pattern}: no such file; give a CSV or Parquet file, or a quoted glob such as 'sales/*.csv'")
    for path in paths:
        known_kind(str(path))
    return paths


def described(paths: Sequence[Path]) -> tuple[DataFile, ...]:
    """Name, digest and size of each file."""
    return tuple(DataFile(name=path.name, sha256=sha256_file(path), size=path.stat().st_size) for path in paths)


def read_files(pattern: str, config: SeriesConfig) -> tuple[list[Part], tuple[DataFile, ...]]:
    """What every file of a path or glob is read into, and what the files were.

    Raises BusyError (75) where one of them changes, comes or goes meanwhile: half of a file is no data set.
    """
    paths = expand(pattern)
    before = marks(paths)
    try:
        files = described(paths)
        parts = [read_file(path, config) for path in paths]
    except (OSError, DataError):
        refuse_changed(pattern, before)
        raise
    refuse_changed(pattern, before)
    return parts, files


def marks(paths: Sequence[Path]) -> dict[Path, tuple[int, int, int]]:
    """By what a changed file is told from the same one: number, size and time of its last change."""
    found = {path: path.stat() for path in paths if path.exists()}
    return {path: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}


def refuse_changed(pattern: str, before: Mapping[Path, tuple[int, int, int]]) -> None:
    """Raise BusyError where the files of a path or glob are not what they were."""
    literal = Path(pattern).is_file()
    now = marks([Path(pattern)] if literal else [Path(p) for p in glob.glob(pattern, recursive=True)])
    now = {path: mark for path, mark in now.items() if path.is_file()}
    changed = sorted({*before, *now} - {path for path in before if now.get(path) == before[path]})
    if changed:
        raise BusyError(
            f"{changed[0]}: changed while it was read; wait until its writer has finished, then run it again"
        )


def known_kind(path: str) -> str:
    """The ending of a file's name, in small letters. Raises DataError for one that is not read."""
    kind = Path(path).suffix
    if kind.lower() not in KINDS:
        raise DataError(f"{path}: kind {kind or 'without ending'!r} is not read; use .csv or .parquet")
    return kind.lower()


def read_file(path: Path, config: SeriesConfig) -> Part:
    """One file, columns mapped and typed; lines without any of the three are no rows."""
    if known_kind(str(path)) == ".csv":
        return read_csv(path, str(path), config)
    return read_parquet(scan_parquet(path), str(path), config)


def read_csv(path: Path, where: str, config: SeriesConfig) -> Part:
    """A CSV file; `where` is what errors call it."""
    quoted = check_encoding(path, where)
    broken = check_quotes(path, where) if quoted else []
    check_header(path, where, broken)
    raw = pl.scan_csv(path, infer_schema=False, glob=False)  # as text: the millionth row is read as the fifth is
    header = raw.collect_schema().names()
    mapping = map_columns(where, header, config)
    refuse_breaks(broken, header, set(mapping.values()), where)
    picked = [pl.col(old).alias(new) for new, old in mapping.items()]
    try:
        frame = raw.select(*picked, ends=pl.col(header[-1]).is_not_null()).collect()
    except pl.exceptions.PolarsError as error:
        check_widths(path, len(header), where)
        raise DataError(f"{where}: cannot be read past the header: {first_line(error)}") from error
    if not frame["ends"].all():  # an empty last field, or a short row, which Polars reads as one
        check_widths(path, len(header), where)
    return rows_of(frame.drop("ends"), 2, where, config)  # the header is its first line


def read_parquet(raw: pl.LazyFrame, where: str, config: SeriesConfig) -> Part:
    """A scanned Parquet file."""
    mapping = map_columns(where, raw.collect_schema().names(), config)
    try:
        check_size(raw.select(pl.len()).collect().item(), where)  # as the footer has it; no row is read
        frame = raw.select(pl.col(old).alias(new) for new, old in mapping.items()).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{where}: cannot be read past the header: {first_line(error)}") from error
    return rows_of(frame, 1, where, config)


def check_size(rows: int, where: str) -> None:
    """Refuse more rows than the memory holds: a small file of equal values may claim any number. Raises DataError."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    free = psutil.virtual_memory().available
    if limit != resource.RLIM_INFINITY:
        free = min(free, limit - psutil.Process().memory_info().vms)
    if rows * ROW_BYTES > free:
        raise DataError(
            f"{where}: holds {rows:,} rows, which need about {rows * ROW_BYTES / 1e9:,.1f} GB of memory to read, and "
            f"{max(0, free) / 1e9:,.1f} GB are free; split it by series into several targets, or leave old rows out"
        )


def check_header(path: Path, where: str, broken: list[Break]) -> None:
    """Raise DataError for a first row without names of columns, or with one of them twice."""
    if broken and broken[0].first == 1 and any("," in line for line in broken[0].lines):
        refuse_breaks(broken[:1], [], {""}, where)  # the header itself swallows rows
    with path.open(newline="", encoding="utf-8-sig") as handle:
        try:
            header = next(csv.reader(handle), [])
        except csv.Error as error:
            raise DataError(f"{where}: the header cannot be read ({error}); is it a CSV?") from error
    if not header:
        raise DataError(f"{where}: no rows; the file is empty")
    double = sorted({name for name in header if header.count(name) > 1})
    if double:
        raise DataError(f"{where}: column {double[0]!r} occurs {header.count(double[0])} times; rename one")


def check_widths(path: Path, width: int, where: str) -> None:
    """Raise DataError for the first row with more or fewer fields than the header; blank lines do not count."""
    with path.open(newline="", encoding="utf-8-sig") as handle:
        try:
            for row, fields in enumerate(csv.reader(handle), start=1):
                if fields and len(fields) != width:
                    raise DataError(
                        f"{where}: row {row} has {counted(len(fields), 'field')}, the header has {width}; "
                        "mend the row, or quote a value that holds a comma"
                    )
        except csv.Error as error:
            raise DataError(f"{where}: not CSV ({error}); mend its quotes") from error


def scan_parquet(path: Path) -> pl.LazyFrame:
    """A Parquet file, its footer read. Raises DataError for a cut or foreign file."""
    try:
        frame = pl.scan_parquet(path, glob=False)
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: incomplete or not Parquet ({first_line(error)}); write it again") from error
    return frame


def check_encoding(path: Path, where: str) -> bool:
    """Whether a file holds a quote. Raises DataError for anything that is not UTF-8 text with line feeds."""
    offset, tail, feeds, returns, quotes = 0, b"", False, False, False
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
                        f"{where}: not UTF-8, byte offset {offset + error.start}; save it as UTF-8"
                    ) from None
                text, used = block[: error.start].decode("utf-8"), error.start
            if nul >= 0:
                raise DataError(f"{where}: not UTF-8 text, NUL at byte offset {offset + nul}; save it as UTF-8")
            quotes = quotes or QUOTE in text
            feeds, returns = feeds or "\n" in text, returns or "\r" in text
            offset, tail = offset + used, block[used:]
    if tail:
        raise DataError(f"{where}: not UTF-8, byte offset {offset}; the last character is cut")
    if returns and not feeds:
        raise DataError(f"{where}: lines end in CR alone; save it with LF or CRLF line ends")
    return quotes


def first_line(error: Exception) -> str:
    """The first line of an error's text, shortened."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
