"""A user's own grouping: one label per series, beside the values and never among them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from rnn_model.errors import IntegrityError
from tasks.future import copied
from tasks.handles import Dataset
from tasks.ingest import ingest_files
from tasks.labels import FILE, read_labels
from tasks.segments import segments
from tasks.series_config import ColumnsConfig, SeriesConfig, SourceConfig, TargetConfig
from tasks.validate import validate_dataset

HEADER = "unique_id,ds,y,region\n"
PLAIN = "a,2024-01-01,1\na,2024-01-02,2\nb,2024-01-01,3\nb,2024-01-02,4\nc,2024-01-01,5\n"
REGIONS = {"a": "North", "b": "South", "c": ""}
ROWS = HEADER + "".join(f"{line},{REGIONS[line[0]]}\n" for line in PLAIN.splitlines())
SEGMENT = ColumnsConfig(segment="region")
Read = Callable[..., Dataset]
Refusal = Callable[..., str]


def labels(dataset: Dataset) -> dict[str, str]:
    frame = read_labels(dataset)
    assert frame is not None
    assert frame.schema == {"unique_id": pl.String(), "label": pl.String()}
    return dict(frame.iter_rows())


def frame_of(values: object, dtype: pl.DataType | None = None) -> pl.DataFrame:
    regions = pl.Series("region", values, dtype)
    ids = [f"s{n}" for n in range(len(regions))]
    return pl.DataFrame({"unique_id": ids, "ds": datetime(2024, 1, 1), "y": 1.0}).with_columns(regions)


def test_every_series_has_its_label_and_one_without_stands_in_none(read: Read) -> None:
    assert labels(read(ROWS, columns=SEGMENT)) == {"a": "North", "b": "South"}


def test_without_a_segment_column_there_are_no_labels(read: Read) -> None:
    dataset = read(ROWS)
    assert dataset.labels is None
    assert read_labels(dataset) is None


def test_labels_are_no_part_of_the_data(read: Read) -> None:
    plain, grouped = read("unique_id,ds,y\n" + PLAIN, "plain.csv"), read(ROWS, columns=SEGMENT)
    assert (grouped.fingerprint, grouped.folder) == (plain.fingerprint, plain.folder)
    assert pl.read_parquet(grouped.data).columns == ["unique_id", "ds", "y"]


def test_equal_labels_stand_in_one_place_in_any_order_and_format(read: Read) -> None:
    shuffled = HEADER + "".join(reversed(ROWS.removeprefix(HEADER).splitlines(keepends=True)))
    parquet = pl.read_csv(ROWS.encode(), try_parse_dates=True).with_columns(pl.col("region").cast(pl.Categorical))
    found = {
        read(content, name, columns=SEGMENT).labels
        for content, name in ((ROWS, "rows.csv"), (shuffled, "other.csv"), (parquet, "rows.parquet"))
    }
    other = read(ROWS.replace("South", "East"), "east.csv", columns=SEGMENT)
    assert len(found) == 1
    assert other.labels not in found


def test_labels_pass_validation_and_make_groups(read: Read, tmp_path: Path) -> None:
    raw = read(ROWS, columns=SEGMENT)
    validated = validate_dataset(raw, SeriesConfig(path="rows.csv", freq="D"), 1, 8, tmp_path).dataset
    windows = pl.DataFrame({"unique_id": ["a", "b", "c"], "cutoff": datetime(2024, 1, 1)})
    groups = segments(pl.read_parquet(validated.data), windows, (), read_labels(validated))
    assert groups.rows() == [("a", "segment=North"), ("b", "segment=South")]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([3, None, -1], pl.Int32(), ["3", None, "-1"]),
        ([3.0, None, 2.5], pl.Float64(), ["3", None, "2.5"]),
        ([1.0, np.nan, np.inf], pl.Float32(), ["1", None, "inf"]),
        ([1e300, 2.0], pl.Float64(), ["1e+300", "2"]),
        ([True, False, None], pl.Boolean(), ["true", "false", None]),
        ([" North ", "  ", "NA"], pl.String(), ["North", None, "NA"]),
    ],
)
def test_numbers_and_booleans_become_text(
    read: Read, values: list[object], dtype: pl.DataType, expected: list[str | None]
) -> None:
    found = labels(read(frame_of(values, dtype), "rows.parquet", columns=SEGMENT, null_values=["NA"]))
    assert [found.get(f"s{n}") for n in range(len(values))] == expected


@pytest.mark.parametrize("values", [[["x"]], [b"x"], [{"k": 1}], [timedelta(1)]])
def test_a_column_of_what_has_no_text_is_refused(refusal: Refusal, values: list[object]) -> None:
    words = refusal(frame_of(values), "rows.parquet", columns=SEGMENT)
    assert "column 'region' holds" in words
    assert "--target.columns.segment" in words


def test_two_labels_in_one_series_are_refused_with_the_series_and_both(refusal: Refusal) -> None:
    words = refusal(ROWS.replace("2024-01-02,4,South", "2024-01-02,4,East"), columns=SEGMENT)
    assert "column 'region' (columns.segment): series 'b' has the labels 'East' and 'South'; give all rows" in words


def test_further_labels_and_series_of_that_kind_are_counted(refusal: Refusal) -> None:
    rows = [f"{name},2024-01-0{day},1,{name}{day % 3}" for name in "ab" for day in range(1, 5)]
    assert "'a0' and 'a1' and 1 more (so have 1 other series)" in refusal(HEADER + "\n".join(rows), columns=SEGMENT)


def test_a_row_without_a_label_does_not_contradict_the_others(read: Read) -> None:
    assert labels(read(ROWS.replace("2024-01-02,2,North", "2024-01-02,2,"), columns=SEGMENT))["a"] == "North"


def test_files_of_a_glob_have_to_agree(read: Read, refusal: Refusal, tmp_path: Path) -> None:
    read(ROWS, "north.csv", columns=SEGMENT)
    path = str(tmp_path / "in" / "*.csv")
    words = refusal(HEADER + "a,2024-01-03,1,West\n", "west.csv", columns=SEGMENT, path=path)
    assert "series 'a' has the labels 'North' and 'West'" in words


def test_labels_after_as_of_do_not_exist(read: Read) -> None:
    late = ROWS + f"b,2024-01-03,6,West\nb,2024-01-04,6,{'x' * 61}\nd,2024-01-03,6,West\n"
    assert labels(read(late, columns=SEGMENT, as_of="2024-01-02")) == {"a": "North", "b": "South"}


@pytest.mark.parametrize(
    ("label", "shown"),
    [("x" * 61, "xxx... of 61 characters"), ("two\nlines", r"'two\nlines'"), ("two\u2028lines", r"'two\u2028lines'")],
)
def test_long_and_broken_labels_are_refused(refusal: Refusal, label: str, shown: str) -> None:
    words = refusal(frame_of(["North", label]), "rows.parquet", columns=SEGMENT)
    assert "series 's1' has the label" in words
    assert shown.split(" of ")[0].strip("'") in words
    assert "expected 60 at most, without line breaks" in words


def test_sixty_characters_are_taken(read: Read) -> None:
    assert labels(read(ROWS.replace("South", "é" * 60), columns=SEGMENT))["b"] == "é" * 60


@pytest.mark.parametrize("count", [50, 51])
def test_more_than_fifty_labels_are_no_grouping(read: Read, refusal: Refusal, count: int) -> None:
    frame = frame_of(list(range(count)))
    if count == 50:
        assert len(labels(read(frame, "rows.parquet", columns=SEGMENT))) == 50
    else:
        assert "51 different labels, 50 at most" in refusal(frame, "rows.parquet", columns=SEGMENT)


def test_a_column_without_any_label_is_refused(refusal: Refusal) -> None:
    assert "no series has a label" in refusal(ROWS.replace("North", "").replace("South", ""), columns=SEGMENT)


# which column it is


def test_a_missing_segment_column_is_refused_with_the_nearest(refusal: Refusal) -> None:
    words = refusal(ROWS.replace(",region", ",Region"), columns=SEGMENT)
    assert "no column 'region'" in words
    assert "nearest is 'Region'; name it with --target.columns.segment NAME" in words


def test_a_segment_column_with_a_known_name_is_not_taken_for_the_value(read: Read, refusal: Refusal) -> None:
    rows = ROWS.replace("unique_id,ds,y,region", "item_id,timestamp,sold,target")
    dataset = read(rows, columns=ColumnsConfig(y="sold", segment="target"))
    assert pl.read_parquet(dataset.data)["y"].to_list() == [1, 2, 3, 4, 5]
    assert labels(dataset) == {"a": "North", "b": "South"}
    words = refusal(rows, columns=ColumnsConfig(segment="target"))
    assert "column 'target' is declared as columns.segment" in words
    assert "--target.columns.y NAME" in words


@pytest.mark.parametrize("name", ["id", "ds", "y"])
def test_a_column_is_not_both_a_segment_and_something_else(name: str) -> None:
    with pytest.raises(ValidationError, match=f"segment x is also {name}"):
        ColumnsConfig.model_validate({name: "x", "segment": "x"})


def test_a_source_has_no_segments() -> None:
    with pytest.raises(ValidationError, match=r"columns\.segment groups series of a target"):
        SourceConfig(path="a.csv", freq="D", columns=SEGMENT)


# what is made of it


def test_a_changed_file_of_labels_is_not_read(read: Read) -> None:
    dataset = read(ROWS, columns=SEGMENT)
    assert dataset.labels is not None
    assert dataset.labels.name == FILE
    pl.DataFrame({"unique_id": ["a"], "label": ["South"]}).write_parquet(dataset.labels)
    with pytest.raises(IntegrityError):
        read_labels(dataset)


def test_a_copy_with_another_future_is_read_without_labels(read: Read, tmp_path: Path) -> None:
    rows = pl.read_parquet(read(ROWS, columns=SEGMENT).data)
    rows.write_parquet(tmp_path / "copy.parquet")
    target = copied(TargetConfig(path="rows.csv", freq="D", columns=SEGMENT), tmp_path / "copy.parquet", rows)
    assert ingest_files(target, "copy", tmp_path / "raw").labels is None
