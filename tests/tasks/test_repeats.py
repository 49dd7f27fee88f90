"""Several rows at one time: the hour that a clock shows twice, by order, and other values as declared."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from zoned_rows import BERLIN, HEADER, HOUR, HOURS, IN_UTC, YEAR, Read, Refusal, csv, hours, local, times

from rnn_model.errors import DataError
from tasks.ingest import ingest_files
from tasks.series_config import SeriesConfig
from tasks.validate import validate_dataset

# ---- the hour that is there twice, and the one that is not


def test_the_hour_that_is_there_twice_is_resolved_by_order(read: Read) -> None:
    dataset = read(HEADER + csv(local(HOURS)), freq="h", timezone="Europe/Berlin")
    assert pl.read_parquet(dataset.data).select("ds", "y").rows() == [(ds, float(n)) for n, ds in enumerate(IN_UTC)]
    assert dataset.output_zone == "Europe/Berlin"
    assert "shows 1 time twice (1 series, e.g. 'a' at 2024-10-27 02:00)" in dataset.notes[0]


def test_of_a_series_that_runs_backwards_the_first_is_the_later_hour(read: Read) -> None:
    lines = csv(local(HOURS)).splitlines(keepends=True)
    forwards = read(HEADER + "".join(lines), freq="h", timezone="Europe/Berlin")
    backwards = read(HEADER + "".join(reversed(lines)), "back.csv", freq="h", timezone="Europe/Berlin")
    assert forwards.fingerprint == backwards.fingerprint


def test_equal_values_of_the_two_hours_are_two_values(read: Read) -> None:
    lines = "".join(f"a,{time},0\n" for time in local(HOURS))
    assert times(read(HEADER + lines, freq="h", timezone="Europe/Berlin")) == IN_UTC


def test_a_file_that_was_read_twice_is_still_resolved(read: Read) -> None:
    lines = csv(local(HOURS))
    dataset = read(HEADER + lines + lines, freq="h", timezone="Europe/Berlin")
    assert pl.read_parquet(dataset.data)["ds"].unique().sort().to_list() == IN_UTC


def test_quarters_of_the_doubled_hour_are_resolved_each(read: Read) -> None:
    start = datetime(2024, 10, 26, 22, tzinfo=UTC)
    quarters = [(start + n * HOUR / 4).astimezone(BERLIN) for n in range(30)]
    dataset = read(HEADER + csv(local(quarters)), freq="15min", timezone="Europe/Berlin")
    assert times(dataset) == [stamp.astimezone(UTC).replace(tzinfo=None) for stamp in quarters]


def test_one_row_of_the_doubled_hour_is_told(read: Read) -> None:
    once = list(dict.fromkeys(local(HOURS)))
    dataset = read(HEADER + csv(once), freq="h", timezone="Europe/Berlin")
    assert "1 of these times had one row, taken as the earlier hour" in dataset.notes[0]


def test_the_missing_hour_is_no_gap(read: Read, tmp_path: Path) -> None:
    spring = hours(BERLIN, datetime(2024, 3, 30), 60)
    options = {"freq": "h", "timezone": "Europe/Berlin"}
    raw = read(HEADER + csv(local(spring)), **options)
    config = SeriesConfig.model_validate({"path": "x.csv"} | options)
    assert validate_dataset(raw, config, 1, 8, tmp_path / "validated").account.added == 0


def test_a_time_that_the_clock_leaves_out_is_refused(refusal: Refusal) -> None:
    text = HEADER + csv([f"2024-03-31T0{n}:00:00" for n in range(5)])
    words = refusal(text, freq="h", timezone="Europe/Berlin")
    assert "series 'a' has a row at 2024-03-31 02:00, which the clock of Europe/Berlin leaves out" in words


def test_a_row_without_a_value_in_the_hour_left_out_is_none(read: Read) -> None:
    lines = "".join(f"a,2024-03-31T0{n}:00:00,{'' if n == 2 else n}\n" for n in range(5))
    dataset = read(HEADER + lines, freq="h", timezone="Europe/Berlin")
    assert times(dataset) == [datetime(2024, 3, 30, 23) + n * HOUR for n in range(4)]
    assert "1 row without a value at times that the clock of Europe/Berlin leaves out" in dataset.notes[0]


def test_days_in_utc_without_an_offset_are_refused_with_what_to_write(read: Read, tmp_path: Path) -> None:
    raw = read(HEADER + csv([stamp.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") for stamp in YEAR]))
    with pytest.raises(DataError, match=r"begin at 22:00 and at 23:00.*write them with Z.*--target\.timezone"):
        validate_dataset(raw, SeriesConfig(path="x.csv", freq="D"), 1, 8, tmp_path / "validated")


@pytest.mark.parametrize(("policy", "value"), [("first", 1.0), ("last", 4.0), ("mean", 2.5)])
def test_different_values_of_one_time_are_resolved_as_declared(
    read: Read, tmp_path: Path, policy: str, value: float
) -> None:
    text = HEADER + "b,2024-01-01,9\na,2024-01-02,1\na,2024-01-01,7\na,2024-01-02,\na,2024-01-02,4\na,2024-01-01,7\n"
    raw = read(text, duplicates=policy)
    frame = pl.read_parquet(raw.data)
    assert frame.filter(ds=datetime(2024, 1, 2))["y"].to_list() == [value]
    assert raw.merged == 2
    assert (
        f"1 time of 1 series held different values, e.g. 'a' at 2024-01-02 (1 and nothing, taken as {value:g})".replace(
            "2024-01-02 (", "2024-01-02 00:00 ("
        )
        in raw.notes[0]
    )
    config = SeriesConfig.model_validate({"path": "x.csv", "freq": "D", "duplicates": policy})
    account = validate_dataset(raw, config, 1, 8, tmp_path / "validated").account
    assert account.rows_in == 6
    assert account.balanced()
    assert account.quarantined == {
        "equal duplicate": 1,
        f"conflicting duplicate, where the {policy} counts": 2,
    }


def test_undeclared_they_are_set_aside_with_the_options(read: Read, tmp_path: Path) -> None:
    raw = read(HEADER + csv(local(HOURS)), freq="h")
    with pytest.raises(DataError, match=r"--target\.timezone, or say .* --target\.duplicates first, last or mean"):
        validate_dataset(raw, SeriesConfig(path="x.csv", freq="h"), 1, 8, tmp_path / "validated")


def test_the_doubled_hour_may_stand_in_two_files(read: Read, tmp_path: Path) -> None:
    read(HEADER + csv(local(HOURS[:27])), "one.csv", freq="h")  # up to the first 02:00
    read(HEADER + csv(local(HOURS[27:])), "two.csv", freq="h")
    config = SeriesConfig(path=str(tmp_path / "in" / "*.csv"), freq="h", timezone="Europe/Berlin")
    assert times(ingest_files(config, "rows", tmp_path / "raw")) == IN_UTC
