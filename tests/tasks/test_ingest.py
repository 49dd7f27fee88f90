"""Rows read and parsed: what is the same data, and which values are refused."""

import hashlib
import random
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_model.errors import DataError
from tasks.handles import Dataset
from tasks.ingest import ingest_files
from tasks.series_config import ColumnsConfig, SeriesConfig

HEADER = "unique_id,ds,y\n"
ROWS = "b,2024-01-02,4\na,2024-01-01,1.5\na,2024-01-02,\nb,2024-01-01,-3\n"
CLEAN = HEADER + ROWS
Read = Callable[..., Dataset]
Refusal = Callable[..., str]


def rows_of(dataset: Dataset) -> list[tuple[object, ...]]:
    return pl.read_parquet(dataset.data).rows()


def long(ids: list[object], ds: list[object], y: list[object]) -> pl.DataFrame:
    return pl.DataFrame({"unique_id": ids, "ds": ds, "y": y})


# what is read


def test_rows_come_out_typed_and_sorted(read: Read) -> None:
    dataset = read(CLEAN)
    assert pl.read_parquet_schema(dataset.data) == {
        "unique_id": pl.String(),
        "ds": pl.Datetime("us"),
        "y": pl.Float64(),
    }
    first, second = datetime(2024, 1, 1), datetime(2024, 1, 2)
    assert rows_of(dataset) == [("a", first, 1.5), ("a", second, None), ("b", first, -3.0), ("b", second, 4.0)]
    assert (dataset.rows, dataset.series) == (4, 2)


def test_the_second_dialect_is_known_by_name(read: Read) -> None:
    other = read(CLEAN.replace(HEADER, "item_id,timestamp,target\n"), "other.csv")
    assert other.fingerprint == read(CLEAN).fingerprint


def test_other_names_are_mapped(read: Read) -> None:
    columns = ColumnsConfig(id="shop", ds="day", y="sold")
    mapped = read(CLEAN.replace(HEADER, "shop,day,sold\n"), "shops.csv", columns=columns)
    assert mapped.fingerprint == read(CLEAN).fingerprint


def test_one_name_can_be_mapped_and_the_others_left_to_the_dialect(read: Read) -> None:
    text = "item_id,timestamp,sold\na,2024-01-01,2\n"
    assert rows_of(read(text, columns=ColumnsConfig(y="sold"))) == [("a", datetime(2024, 1, 1), 2.0)]


def test_further_columns_in_any_order_are_left_out(read: Read) -> None:
    text = "price,y,ds,unique_id,note\n9,1,2024-01-01,a,hello\n"
    assert rows_of(read(text)) == [("a", datetime(2024, 1, 1), 1.0)]


def test_csv_and_parquet_of_the_same_rows_are_the_same_data(read: Read) -> None:
    frame = long(["b", "a", "a", "b"], [date(2024, 1, d) for d in (2, 1, 2, 1)], [4.0, 1.5, None, -3.0])
    assert read(frame, "rows.parquet").fingerprint == read(CLEAN).fingerprint


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + CLEAN.encode(),
        CLEAN.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + CLEAN.replace("\n", "\r\n").encode(),
        CLEAN.rstrip("\n").encode(),
        (CLEAN + "\n\n").encode(),
        CLEAN.replace("a,", '"a",').encode(),
        CLEAN.replace(",1.5", ", 1.50 ").encode(),
        CLEAN.replace("2024-01-02,\n", "2024-01-02,NaN\n").encode(),
    ],
    ids=["BOM", "CRLF", "BOM and CRLF", "no last line end", "blank lines", "quotes", "spaces", "NaN"],
)
def test_spellings_of_the_same_rows_are_the_same_data(read: Read, content: bytes) -> None:
    assert read(content, "other.csv").fingerprint == read(CLEAN).fingerprint


@pytest.mark.parametrize(
    "content",
    [CLEAN.replace("1.5", "1.25"), CLEAN.replace("01-02,4", "01-03,4"), CLEAN.replace("b,", "c,"), HEADER + ROWS[:31]],
    ids=["value", "time", "id", "row"],
)
def test_any_change_is_other_data(read: Read, content: str) -> None:
    assert read(content, "other.csv").fingerprint != read(CLEAN).fingerprint


def test_ids_that_read_alike_when_joined_are_other_data(read: Read) -> None:
    one = read(HEADER + "ab,2024-01-01,1\nc,2024-01-01,1\n")
    other = read(HEADER + "a,2024-01-01,1\nbc,2024-01-01,1\n", "other.csv")
    assert one.fingerprint != other.fingerprint


def test_minus_zero_is_zero(read: Read) -> None:
    assert read(HEADER + "a,2024-01-01,-0.0\n").fingerprint == read(HEADER + "a,2024-01-01,0\n", "z.csv").fingerprint


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "ä", "a,b", "=1"]),
            st.integers(0, 5),
            st.none() | st.floats(-10, 10) | st.just(float("nan")) | st.just(float("inf")),
        ),
        min_size=1,
        max_size=20,
    ),
    seed=st.integers(0, 2**32),
)
def test_the_order_of_rows_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, float | None]], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("order")
    shuffled = random.Random(seed).sample(rows, len(rows))
    made = []
    for name, order in (("sorted", rows), ("shuffled", shuffled)):
        ids, days, y = zip(*order, strict=True)
        frame = long(list(ids), [datetime(2024, 1, 1) + timedelta(days=d) for d in days], list(y))
        frame.with_columns(pl.col("y").cast(pl.Float64)).write_csv(folder / f"{name}.csv")
        dataset = ingest_files(SeriesConfig(path=str(folder / f"{name}.csv"), freq="D"), "rows", folder / name)
        made.append((dataset.fingerprint, hashlib.sha256(dataset.data.read_bytes()).hexdigest()))
    assert made[0] == made[1]


def test_a_glob_reads_every_file(read: Read, tmp_path: Path) -> None:
    read(HEADER + "a,2024-01-01,1\n", "one.csv")
    read(long(["b"], [date(2024, 1, 1)], [2.0]), "two.parquet")
    both = ingest_files(SeriesConfig(path=str(tmp_path / "in" / "*"), freq="D"), "rows", tmp_path / "raw")
    assert rows_of(both) == [("a", datetime(2024, 1, 1), 1.0), ("b", datetime(2024, 1, 1), 2.0)]


def test_a_file_whose_name_looks_like_a_pattern_is_read_as_itself(read: Read) -> None:
    read(HEADER + "b,2024-01-01,2\n", "sales1.csv")
    assert rows_of(read(HEADER + "a,2024-01-01,1\n", "sales[1].csv")) == [("a", datetime(2024, 1, 1), 1.0)]


def test_the_source_is_not_touched(read: Read, tmp_path: Path) -> None:
    read(CLEAN)
    assert (tmp_path / "in" / "rows.csv").read_bytes() == CLEAN.encode()


def test_the_folder_is_named_by_the_content(read: Read, tmp_path: Path) -> None:
    dataset = read(CLEAN)
    assert dataset.folder == tmp_path / "raw" / dataset.fingerprint[:16]


def test_whole_numbers_as_ids_become_text(read: Read) -> None:
    frame = long([7, 10], [date(2024, 1, 1)] * 2, [1, 2])
    assert [row[0] for row in rows_of(read(frame, "rows.parquet"))] == ["10", "7"]


@pytest.mark.parametrize(
    ("freq", "stated", "season", "periods"),
    [
        *[("h", None, 24, (24, 168)), ("h", 12, 12, (12, 12)), ("h", 168, 168, (24, 168)), ("MS", 6, 6, (6, 6))],
        *[("W-MON", None, 1, (13, 52)), ("W-MON", 52, 52, (13, 52)), ("W-MON", 26, 26, (26, 26))],
    ],
)
def test_a_declared_season_is_that_of_the_metrics_and_of_the_network_unless_it_has_it(
    read: Read, freq: str, stated: int | None, season: int, periods: tuple[int, int]
) -> None:
    dataset = read(CLEAN, freq=freq, season=stated)
    assert (dataset.season, dataset.periods) == (season, periods)


# times


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-05", datetime(2024, 1, 5)),
        ("2024-01", datetime(2024, 1, 1)),
        ("2024-01-05 10:30", datetime(2024, 1, 5, 10, 30)),
        ("2024-01-05T10:30", datetime(2024, 1, 5, 10, 30)),
        ("2024-01-05 10:30:15", datetime(2024, 1, 5, 10, 30, 15)),
        ("2024-01-05T10:30:15.25", datetime(2024, 1, 5, 10, 30, 15, 250_000)),
        ("2024-01-05T10:30:15Z", datetime(2024, 1, 5, 10, 30, 15)),
        ("2024-01-05T10:30Z", datetime(2024, 1, 5, 10, 30)),
        ("2024-01-05T10:30:15+02:00", datetime(2024, 1, 5, 8, 30, 15)),
        ("2024-01-05 23:30:00-0500", datetime(2024, 1, 6, 4, 30)),
        ("0001-01-01", datetime(1, 1, 1)),
        ("9999-12-31", datetime(9999, 12, 31)),
    ],
)
def test_iso_times_are_read_and_offsets_become_utc(read: Read, text: str, expected: datetime) -> None:
    assert rows_of(read(f"{HEADER}a,{text},1\n", freq="h"))[0][1] == expected


def test_every_row_may_have_an_offset_of_its_own(read: Read) -> None:
    autumn = "a,2024-10-27T02:30:00+02:00,1\na,2024-10-27T02:30:00+01:00,2\n"  # one wall-clock time, twice
    assert [row[1] for row in rows_of(read(HEADER + autumn, freq="h"))] == [
        datetime(2024, 10, 27, 0, 30),
        datetime(2024, 10, 27, 1, 30),
    ]


def test_zoned_parquet_times_become_utc(read: Read) -> None:
    frame = long(["a"], [datetime(2024, 7, 1, 12)], [1.0]).with_columns(
        pl.col("ds").dt.replace_time_zone("Europe/Berlin").dt.cast_time_unit("ns")
    )
    assert rows_of(read(frame, "rows.parquet", freq="h"))[0][1] == datetime(2024, 7, 1, 10)


@pytest.mark.parametrize(
    ("first", "second"),
    [("2024-01-01T00:00:00", "2024-01-01T01:00:00Z"), ("2024-01-01T00:00:00Z", "2024-01-01T01:00:00")],
)
def test_times_with_and_without_zone_in_one_file_are_refused(refusal: Refusal, first: str, second: str) -> None:
    message = refusal(f"{HEADER}a,{first},1\na,{second},2\n", freq="h")
    assert f"row 3, series 'a': ds is {second!r}; expected a date like the first one, {first!r}" in message


def test_times_with_and_without_zone_in_two_files_are_refused(read: Read, tmp_path: Path) -> None:
    read(HEADER + "a,2024-01-01T00:00:00,1\n", "one.csv")
    read(HEADER + "b,2024-01-01T00:00:00Z,1\n", "two.csv")
    with pytest.raises(DataError, match="with and without a time zone"):
        ingest_files(SeriesConfig(path=str(tmp_path / "in" / "*.csv"), freq="h"), "rows", tmp_path / "raw")


@pytest.mark.parametrize("bad", ["2024-02-30", "01/03/2024", "2024-03-01 00:00:00", "tomorrow", ""])
def test_a_time_unlike_the_first_is_refused_by_row(refusal: Refusal, bad: str) -> None:
    message = refusal(f"{HEADER}a,2024-02-28,1\na,2024-02-29,1\nb,{bad},1\n")
    assert f"row 4, series 'b': ds is {bad or None!r}; expected a date like the first one, '2024-02-28'" in message


def test_a_first_time_that_is_none_is_refused_with_an_example(refusal: Refusal) -> None:
    message = refusal(HEADER + "a,2024-02-30,1\na,2024-02-31,1\n")
    assert "row 2, series 'a': ds is '2024-02-30' (and 1 more rows); expected a date like 2024-01-31" in message


def test_a_declared_format_is_used(read: Read) -> None:
    dataset = read(HEADER + "a,03.04.2024,1\n", datetime_format="%d.%m.%Y")
    assert rows_of(dataset)[0][1] == datetime(2024, 4, 3)


@pytest.mark.parametrize("bad", ["2024-04-03", "31.04.2024"])
def test_a_time_unlike_the_declared_format_is_refused_by_row(refusal: Refusal, bad: str) -> None:
    message = refusal(f"{HEADER}a,03.04.2024,1\na,{bad},1\n", datetime_format="%d.%m.%Y")
    assert f"row 3, series 'a': ds is {bad!r}" in message
    assert "%d.%m.%Y" in message


# numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("7", 7.0), ("-2.5e-3", -0.0025), ("+1", 1.0), (".5", 0.5), ("", None), ("NaN", None), ("nan", None)],
        *[("inf", float("inf")), ("-inf", float("-inf")), ("1e400", float("inf")), ("-1e400", float("-inf"))],
    ],
)
def test_numbers_missing_values_and_infinities_are_read(read: Read, text: str, value: float | None) -> None:
    assert rows_of(read(f"{HEADER}a,2024-01-01,{text}\n"))[0][2] == value


@pytest.mark.parametrize("text", ["1,234.5", "1,5", "$3", "NA", "null", "1_000", "0x1F", "True", "--", "1 000", "٣"])
def test_what_is_no_number_is_refused_by_row(refusal: Refusal, text: str) -> None:
    message = refusal(f'{HEADER}a,2024-01-01,1\na,2024-01-02,"{text}"\n')
    assert f"row 3, series 'a': y is {text!r}; expected a number such as 1234.5" in message


def test_a_declared_null_value_is_missing(read: Read) -> None:
    dataset = read(HEADER + "a,2024-01-01,NA\na,2024-01-02,-\n", null_values=("NA", "-"))
    assert [row[2] for row in rows_of(dataset)] == [None, None]


def test_a_declared_null_value_does_not_allow_others(refusal: Refusal) -> None:
    assert "y is 'N/A'" in refusal(HEADER + "a,2024-01-01,NA\na,2024-01-02,N/A\n", null_values=("NA",))


@pytest.mark.parametrize("row", [5, 1_000_000])
def test_text_among_a_million_numbers_is_refused_by_row_wherever_it_stands(
    read: Read, tmp_path: Path, row: int
) -> None:
    path = tmp_path / "in" / "rows.csv"
    path.parent.mkdir()
    number = pl.int_range(2, 1_000_002)  # rows as an editor counts them: the header is row 1
    text = pl.when(number == row).then(pl.lit("oops")).otherwise(number.cast(pl.String))
    pl.select(unique_id=pl.lit("a"), ds=pl.lit("2024-01-01"), y=text).write_csv(path)
    with pytest.raises(DataError) as raised:
        ingest_files(SeriesConfig(path=str(path), freq="D"), "rows", tmp_path / "raw")
    assert str(raised.value).startswith(f"{path}: row {row}, series 'a': y is 'oops'; expected a number such as 1234.5")
