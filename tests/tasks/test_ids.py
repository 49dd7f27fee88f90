"""One series has one id however it is written, look-alikes are named, and what is no name is refused with its row."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from rnn_model.errors import DataError
from tasks.handles import Dataset
from tasks.ingest import ingest_files
from tasks.series_config import SeriesConfig

Read = Callable[..., Dataset]
Refusal = Callable[..., str]
Both = Callable[..., Dataset]
HEADER = "unique_id,ds,y\n"


def ids(dataset: Dataset) -> list[str]:
    return pl.read_parquet(dataset.data)["unique_id"].unique().sort().to_list()


def long(names: list[object], day: int = 1, kind: type[pl.DataType] | None = None) -> pl.DataFrame:
    return pl.DataFrame({"unique_id": pl.Series(names, dtype=kind, strict=False), "ds": date(2024, 1, day), "y": 1.0})


@pytest.fixture
def parts(tmp_path: Path) -> Both:
    """Frames or CSV texts as the parts of one target, in files of their own."""

    def call(*contents: pl.DataFrame | str) -> Dataset:
        folder = tmp_path / "parts"
        folder.mkdir()
        for number, content in enumerate(contents):
            if isinstance(content, str):
                (folder / f"{number}.csv").write_text(content)
            else:
                content.write_parquet(folder / f"{number}.parquet")
        return ingest_files(SeriesConfig(path=str(folder / "*"), freq="D"), "rows", tmp_path / "raw")

    return call


@pytest.mark.parametrize(
    ("first", "second", "example"),
    [
        ([1, 2], [1.0, 2.0], "'1' and '1.0'"),
        ([1.0, 2.0], ["1", "2"], "'1' and '1.0'"),
        ([1, 2], ["1", "2"], "the text '1' and the number 1"),
        ([1, 2], ["1.0", "2.0"], "'1' and '1.0'"),
        ([1, 2], [Decimal("1.00"), Decimal("2.00")], "'1' and '1.00'"),
        (["1", "2"], [" 1", "2\t"], "' 1' and '1'"),
        (["1", "2"], ["1\u00a0", "\u30002"], "'1' and '1\\xa0'"),
        (["1", "2"], ["\ufeff1", "2\u200b"], "'1' and '\\ufeff1'"),
    ],
)
def test_ids_that_differ_in_type_or_blanks_are_one_and_named(
    parts: Both, first: list[object], second: list[object], example: str
) -> None:
    dataset = parts(long(first), long(second, day=2))
    assert ids(dataset) == ["1", "2"]
    assert dataset.notes == (f"2 ids in several ways of writing are one series each, e.g. {example}",)


@pytest.mark.parametrize("other", [[1.0, 2.5], ["1.0", "a"]])
def test_a_whole_float_among_other_ids_is_the_integer_of_another_part(parts: Both, other: list[object]) -> None:
    assert ids(parts(long([1]), long(other, day=2))) == ["1", str(other[1])]


def test_parts_of_text_without_types_are_merged_too(parts: Both) -> None:
    dataset = parts(f"{HEADER}7,2024-01-01,1\n", f"{HEADER}7.0,2024-01-02,1\n8.0,2024-01-02,1\n")
    assert (ids(dataset), len(dataset.notes)) == (["7", "8"], 2)


def test_blanks_within_one_file_are_taken_off(read: Read) -> None:
    dataset = read(f'{HEADER}a,2024-01-01,1\na ,2024-01-02,2\n"\tb",2024-01-01,1\n')
    assert ids(dataset) == ["a", "b"]
    assert dataset.notes == (
        "1 id in several ways of writing is one series, e.g. 'a' and 'a '",
        "1 id read without the blanks around, e.g. '\\tb' as 'b'",
    )


def test_equal_rows_of_a_csv_and_a_parquet_of_floats_have_one_fingerprint(read: Read) -> None:
    text = read(f"{HEADER}1.0,2024-01-01,1\n2.0,2024-01-01,1\n")
    assert text.fingerprint == read(long([1.0, 2.0]), "rows.parquet").fingerprint
    assert text.notes == ("2 ids read as whole numbers, e.g. '1.0' as '1'",)


@pytest.mark.parametrize(
    "names",
    [["007", "008"], ["1.5", "2.5"], ["1.0", "1.10"], ["00.0"], ["1e5"], ["-1", "a b"], ["v1.0", "v1"], ["-0.0"]],
)
def test_other_texts_stay_as_they_are_without_a_word(read: Read, names: list[str]) -> None:
    dataset = read(long(list(names)), "rows.parquet")
    assert (ids(dataset), dataset.notes) == (sorted(names), ())


def test_floats_that_are_not_whole_stay_as_they_are(read: Read) -> None:
    assert ids(read(long([0.5, -3.0, 1e15]), "rows.parquet")) == ["-3", "0.5", "1000000000000000"]


@pytest.mark.parametrize(
    ("names", "example"),
    [
        (["A", "a"], "'A' and 'a'"),
        (["Straße", "STRAßE"], "'STRAßE' and 'Straße'"),
        (["caf\u00e9", "cafe\u0301"], "'cafe\\u0301' and 'caf\\xe9'"),
        (["\uff21", "A"], "'A' and '\\uff21'"),
        (["a b", "a\u00a0b"], "'a b' and 'a\\xa0b'"),
        (["ab", "a\u200bb"], "'ab' and 'a\\u200bb'"),
        (["7", "007"], "'007' and '7'"),
    ],
)
def test_ids_that_look_alike_stay_apart_and_are_named(read: Read, names: list[str], example: str) -> None:
    dataset = read(long([*names, "other"]), "rows.parquet")
    assert len(ids(dataset)) == 3
    assert dataset.notes == (
        f"2 ids stay apart though they look alike (upper case, Unicode form, blanks or leading zeros), e.g. {example}",
    )


@pytest.mark.parametrize("name", ["a\nb", "a\n", "\ra", "a\x00b", "a\x1b[31mb", "a\u2028b", "a\x85", "a\x0bb"])
def test_an_id_with_a_line_break_or_control_character_is_refused_by_row(refusal: Refusal, name: str) -> None:
    message = refusal(long(["a", name]), "rows.parquet")
    assert message.endswith(
        f"row 2, series {name!r}: unique_id is {name!r}; expected a name without line breaks and control characters"
    )


@pytest.mark.parametrize("name", ["", " ", "\u00a0\t", "\u200b", None, float("nan"), float("inf")])
def test_an_id_of_nothing_is_refused_by_row(refusal: Refusal, name: object) -> None:
    first = 1.0 if isinstance(name, float) else "a"
    message = refusal(long([first, name]), "rows.parquet")
    assert "row 2, series " in message
    assert message.endswith("; expected a name")


@pytest.mark.parametrize(("kind", "size"), [(pl.Float64, 2.0**53), (pl.Float32, 2.0**24)])
def test_a_float_too_large_to_be_one_integer_is_refused(refusal: Refusal, kind: type[pl.DataType], size: float) -> None:
    assert "stands for several ids" in refusal(long([1.0, size], kind=kind), "rows.parquet")


def test_merged_rows_at_one_time_follow_the_contract(parts: Both) -> None:
    later = pl.concat([long([1.0]), long([1.0], day=2)])
    frame = pl.read_parquet(parts(long([1]), later).data)
    assert frame.height == 3  # the contract drops equal rows of one time, and counts them
    assert frame["unique_id"].unique().to_list() == ["1"]


def test_two_labels_of_one_merged_series_are_refused(tmp_path: Path) -> None:
    for number, (name, region) in enumerate([(1, "north"), (1.0, "south")]):
        frame = long([name]).with_columns(region=pl.lit(region))
        frame.write_parquet(tmp_path / f"{number}.parquet")
    config = SeriesConfig.model_validate(
        {"path": str(tmp_path / "*.parquet"), "freq": "D", "columns": {"segment": "region"}}
    )
    with pytest.raises(DataError, match="series '1' has the labels 'north' and 'south'"):
        ingest_files(config, "rows", tmp_path / "raw")
