"""Files that cannot be read as they are: each refused in one line that says what was found, and where."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from rnn_model.errors import DataError
from tasks import files
from tasks.handles import Dataset
from tasks.ingest import ingest_files
from tasks.series_config import ColumnsConfig, SeriesConfig

HEADER = "unique_id,ds,y\n"
ROWS = "b,2024-01-02,4\na,2024-01-01,1.5\na,2024-01-02,\nb,2024-01-01,-3\n"
CLEAN = HEADER + ROWS
Read = Callable[..., Dataset]
Refusal = Callable[..., str]


def long(ids: list[object], ds: list[object], y: list[object]) -> pl.DataFrame:
    return pl.DataFrame({"unique_id": ids, "ds": ds, "y": y})


def test_a_missing_file_is_refused_with_what_to_give(tmp_path: Path) -> None:
    config = SeriesConfig(path=str(tmp_path / "absent.csv"), freq="D")
    with pytest.raises(DataError, match=r"absent\.csv: no such file; give a CSV or Parquet file"):
        ingest_files(config, "rows", tmp_path / "raw")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        ingest_files(SeriesConfig(path=str(tmp_path), freq="D"), "rows", tmp_path / "raw")


@pytest.mark.parametrize("name", ["rows.xlsx", "rows", "rows.csv.gz"])
def test_another_kind_of_file_is_refused(refusal: Refusal, name: str) -> None:
    assert "use .csv or .parquet" in refusal(CLEAN, name)


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", HEADER.encode(), HEADER.encode() + b"\n\n"])
def test_a_file_without_rows_is_refused(refusal: Refusal, content: bytes) -> None:
    assert "no rows" in refusal(content)


def test_parquet_without_rows_is_refused(refusal: Refusal) -> None:
    assert "no rows" in refusal(long(["a"], [date(2024, 1, 1)], [1.0]).clear(), "rows.parquet")


@pytest.mark.parametrize(
    ("header", "wanted", "near"),
    [
        ("unique_id,ds,value", "y", None),
        ("unique_id,date,y", "ds", None),
        ("uniqueid,ds,y", "unique_id", "uniqueid"),
        ("Unique_ID,ds,y", "unique_id", "Unique_ID"),
        ("unique_id,DS,y", "ds", "DS"),
        ("unique_id,ds,Y", "y", "Y"),
        ("item_id,timestmp,target", "timestamp", "timestmp"),
        ("item_id,timestamp,Target", "target", "Target"),
    ],
)
def test_a_missing_column_is_refused_with_what_was_found_and_the_nearest(
    refusal: Refusal, header: str, wanted: str, near: str | None
) -> None:
    message = refusal(CLEAN.replace(HEADER, header + "\n"))
    assert f"no column {wanted!r}, found " + ", ".join(map(repr, header.split(","))) in message
    assert (f"nearest is {near!r}" in message) if near else ("nearest" not in message)


def test_a_mapped_column_that_is_missing_is_refused_with_its_option(refusal: Refusal) -> None:
    message = refusal(CLEAN, columns=ColumnsConfig(y="sold"))
    assert "no column 'sold'" in message
    assert "--target.columns.y" in message


def test_a_column_that_occurs_twice_is_refused(refusal: Refusal) -> None:
    assert "column 'y' occurs 2 times" in refusal("unique_id,ds,y,y\na,2024-01-01,1,2\n")


@pytest.mark.parametrize(
    ("content", "offset"),
    [
        (CLEAN.encode("utf-16"), "not UTF-8, byte offset 0"),
        (CLEAN.encode("utf-16-le"), "NUL at byte offset 1"),
        (HEADER.encode() + b"caf\xe9,2024-01-01,1\n", f"not UTF-8, byte offset {len(HEADER) + 3}"),
        (HEADER.encode() + b"a\0,2024-01-01,1\n", f"NUL at byte offset {len(HEADER) + 1}"),
        (CLEAN.encode() + "é".encode()[:1], f"not UTF-8, byte offset {len(CLEAN)}"),
    ],
    ids=["UTF-16", "UTF-16 without BOM", "Latin-1", "NUL", "cut"],
)
def test_another_encoding_is_refused_with_its_byte_offset(refusal: Refusal, content: bytes, offset: str) -> None:
    assert offset in refusal(content)


def test_a_letter_across_the_boundary_of_two_chunks_is_read(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    text = HEADER + "ä€😀,2024-01-01,1\n"
    expected = read(text).fingerprint
    for size in range(1, 9):
        monkeypatch.setattr("tasks.files.CHUNK", size)
        assert read(text, "chunks.csv").fingerprint == expected


def test_a_byte_offset_counts_from_the_start_of_the_file(refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.files.CHUNK", 7)
    assert f"byte offset {len(CLEAN) + 1}" in refusal(CLEAN.encode() + b"a\xe9,2024-01-01,1\n")


def test_lines_that_end_in_cr_alone_are_refused(refusal: Refusal) -> None:
    assert "lines end in CR alone" in refusal(CLEAN.replace("\n", "\r"))


@pytest.mark.parametrize(
    ("bad", "fields"),
    [("a,2024-01-02,1,9", 4), ("a,2024-01-02", 2), ("a", 1), ("a,2024-01-02,1,234.5", 4)],
)
def test_a_row_of_another_width_is_refused_by_row(refusal: Refusal, bad: str, fields: int) -> None:
    message = refusal(f"{HEADER}a,2024-01-01,\n\n{bad}\n")
    assert f"row 4 has {fields} field{'s' * (fields > 1)}, the header has 3" in message


def test_a_short_row_does_not_shift_its_values(refusal: Refusal) -> None:
    text = "unique_id,ds,y,price\na,2024-01-01,5,9.99\na,2024-01-02,9.99\n"
    assert "row 3 has 3 fields, the header has 4" in refusal(text)


def test_a_quote_that_never_closes_is_refused(refusal: Refusal) -> None:
    refusal(HEADER + 'a,2024-01-01,1\n"a,2024-01-02,1\na,2024-01-03,1\n')


@pytest.mark.parametrize("content", [HEADER + ",2024-01-01,1\n", HEADER + '"",2024-01-01,1\n'])
def test_an_empty_id_is_refused_by_row(refusal: Refusal, content: str) -> None:
    assert "row 2, series" in refusal(content)


def test_a_null_id_in_parquet_is_refused_by_row(refusal: Refusal) -> None:
    frame = long(["a", None], [date(2024, 1, 1)] * 2, [1.0, 2.0])
    assert "row 2, series None: unique_id is None; expected a name" in refusal(frame, "rows.parquet")


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("unique_id", [["a"]]),
        ("unique_id", [b"\xff"]),
        ("ds", [2024]),
        ("ds", [timedelta(days=1)]),
        ("ds", [None]),
        ("y", [True]),
        ("y", [[1.0]]),
    ],
)
def test_a_parquet_column_of_another_kind_is_refused_by_name(
    refusal: Refusal, column: str, values: list[object]
) -> None:
    frame = long(["a"], [date(2024, 1, 1)], [1.0]).with_columns(pl.Series(column, values))
    assert f"column {column} holds {frame.schema[column]}, expected" in refusal(frame, "rows.parquet")


@pytest.mark.parametrize("keep", [0, 4, 0.5, -1])
def test_a_cut_parquet_file_is_refused_in_one_line(read: Read, refusal: Refusal, tmp_path: Path, keep: float) -> None:
    read(long(["a"], [date(2024, 1, 1)], [1.0]), "whole.parquet")
    whole = (tmp_path / "in" / "whole.parquet").read_bytes()
    size = int(keep * len(whole)) if isinstance(keep, float) else keep
    message = refusal(whole[:size], "cut.parquet")
    assert "cut.parquet: incomplete or not Parquet" in message
    assert "panicked" not in message


def test_text_named_parquet_is_refused(refusal: Refusal) -> None:
    assert "incomplete or not Parquet" in refusal(CLEAN, "rows.parquet")


def test_a_refusal_publishes_nothing(refusal: Refusal, tmp_path: Path) -> None:
    refusal(HEADER + "a,2024-01-01,x\n")
    assert not (tmp_path / "raw").exists()


def test_more_rows_than_the_memory_holds_are_refused_before_one_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, day = tmp_path / "rows.parquet", date(2024, 1, 1)
    long(["a"] * 50_000, [day] * 50_000, [1.0] * 50_000).write_parquet(path)
    free = SimpleNamespace(available=50_000 * files.ROW_BYTES - 1)
    monkeypatch.setattr(files.psutil, "virtual_memory", lambda: free)
    monkeypatch.setattr(files, "rows_of", lambda *_: pytest.fail("a row was read"))
    with pytest.raises(DataError, match=r"holds 50,000 rows, which need about 0\.0 GB of memory to read"):
        files.read_file(path, SeriesConfig(path=str(path), freq="D"))
    free.available += 1
    with pytest.raises(pytest.fail.Exception, match="a row was read"):
        files.read_file(path, SeriesConfig(path=str(path), freq="D"))
