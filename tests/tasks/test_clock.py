"""Times with zones and offsets: Python's zoneinfo is the independent answer."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from pydantic import ValidationError
from zoned_rows import (
    BERLIN,
    HEADER,
    HOURS,
    IN_UTC,
    KOLKATA,
    PLAIN,
    SAO_PAULO,
    YEAR,
    Read,
    Refusal,
    csv,
    local,
    midnights,
    parquet,
    times,
)

from rnn_model.errors import ConfigError, DataError
from tasks.clock import check_zone, in_zone, instant_of, moment_of, wall_time, zone_of
from tasks.ingest import check_clocks, ingest_files
from tasks.series_config import SeriesConfig
from tasks.validate import validate_dataset

# ---- days and coarser: the wall clock


@pytest.mark.parametrize("end", ["T00:00:00{z}", " 00:00:00{z}", "T00:00{z}"])
def test_days_of_a_clock_that_changes_are_those_of_the_text(read: Read, end: str) -> None:
    texts = [f"{stamp:%Y-%m-%d}" + end.format(z=stamp.isoformat()[-6:]) for stamp in YEAR]
    dataset = read(HEADER + csv(texts))
    assert times(dataset) == PLAIN
    assert dataset.fingerprint == read(HEADER + csv([f"{stamp:%Y-%m-%d}" for stamp in YEAR]), "plain.csv").fingerprint
    (note,) = dataset.notes
    assert "(+01:00, +02:00); a day is that of the wall clock" in note
    assert dataset.output_zone is None


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_days_of_a_column_with_a_zone_are_those_of_its_clock(read: Read, unit: str) -> None:
    dataset = read(parquet(YEAR, "Europe/Berlin", unit), "rows.parquet")
    assert times(dataset) == PLAIN
    assert dataset.timezone == "Europe/Berlin"
    assert dataset.notes == ("times are in Europe/Berlin; its wall clock says which day it is",)


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "Asia/Tokyo"])
def test_a_declared_zone_decides_on_days_whatever_the_times_were_written_in(read: Read, name: str) -> None:
    dataset = read(parquet(YEAR, name), "rows.parquet", timezone="Europe/Berlin")
    assert times(dataset) == PLAIN
    assert "converted to Europe/Berlin" in dataset.notes[0]


def test_days_in_utc_of_another_zone_are_refused_with_the_option(refusal: Refusal) -> None:
    words = refusal(HEADER + csv([stamp.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for stamp in YEAR]))
    assert "'a' has days that begin at 22:00 and at 23:00 on the clock of UTC" in words
    assert "--target.timezone Europe/Berlin" in words


def test_months_in_utc_of_another_zone_are_refused_too(read: Read, refusal: Refusal) -> None:
    months = [datetime(2023 + n // 12, n % 12 + 1, 1, tzinfo=BERLIN) for n in range(24)]
    assert "--target.timezone" in refusal(parquet(months, "UTC"), "rows.parquet", freq="MS")
    named = read(parquet(months, "UTC"), "rows.parquet", freq="MS", timezone="Europe/Berlin")
    assert times(named) == [month.replace(tzinfo=None) for month in months]


def test_days_in_utc_that_never_begin_at_midnight_are_told(read: Read) -> None:
    kolkata = midnights(KOLKATA, datetime(2024, 1, 1), 40)  # 18:30 the day before, all year
    told = " ".join(read(parquet(kolkata, "UTC"), "rows.parquet").notes)
    assert "no day begins at midnight on the clock of UTC (they do at 18:30)" in told
    own = read(parquet(kolkata, "UTC"), "rows.parquet", timezone="Asia/Kolkata")
    assert times(own) == [stamp.replace(tzinfo=None) for stamp in kolkata]
    assert "midnight" not in " ".join(own.notes)


def test_a_day_without_a_midnight_begins_at_its_first_hour(read: Read) -> None:
    days = midnights(SAO_PAULO, datetime(2018, 10, 20), 40)  # 4 November 2018 began at 01:00
    frame = parquet(days, "America/Sao_Paulo")
    assert datetime(2018, 11, 4, 1) in frame["ds"].dt.replace_time_zone(None).to_list()
    assert times(read(frame, "rows.parquet")) == [day.replace(tzinfo=None) for day in days]


def test_wall_time_is_what_zoneinfo_shows() -> None:
    instants = [datetime(1990, 1, 1) + n * timedelta(hours=1009) for n in range(400)]
    for name in ("Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns", "Europe/Moscow"):
        shown = wall_time(pl.Series(instants, dtype=pl.Datetime("us")), name).to_list()
        there = [moment.replace(tzinfo=UTC).astimezone(ZoneInfo(name)).replace(tzinfo=None) for moment in instants]
        assert shown == there


@pytest.mark.parametrize("freq", ["D", "B", "W", "MS", "ME", "QS", "YS"])
def test_every_coarser_step_goes_by_the_wall_clock(read: Read, tmp_path: Path, freq: str) -> None:
    step = {"D": "1d", "B": "1d", "W": "1w", "MS": "1mo", "ME": "1mo", "QS": "3mo", "YS": "1y"}[freq]
    plain = pl.datetime_range(datetime(2001, 1, 1), datetime(2025, 1, 1), step, eager=True)
    plain = plain.dt.month_end() if freq == "ME" else plain
    plain = plain.filter(plain.dt.weekday() <= 5) if freq == "B" else plain
    texts = [stamp.replace(tzinfo=BERLIN).isoformat() for stamp in plain.to_list()]
    raw = read(HEADER + csv(texts), freq=freq)
    done = validate_dataset(raw, SeriesConfig(path="x.csv", freq=freq), 1, 8, tmp_path / "validated")
    assert pl.read_parquet(done.dataset.data)["ds"].to_list() == plain.to_list()


# ---- hours and finer: absolute time


def test_hours_are_kept_in_utc_and_come_out_in_their_zone(read: Read) -> None:
    dataset = read(parquet(HOURS, "Europe/Berlin"), "rows.parquet", freq="h")
    assert times(dataset) == IN_UTC
    assert dataset.output_zone == "Europe/Berlin"
    back = in_zone(pl.read_parquet(dataset.data), dataset.output_zone, ["ds"])["ds"]
    assert back.dt.strftime("%Y-%m-%dT%H:%M:%S%:z").to_list() == [stamp.isoformat() for stamp in HOURS]


def test_offsets_that_change_name_no_zone_and_one_can_be_declared(read: Read) -> None:
    text = HEADER + csv([stamp.isoformat() for stamp in HOURS])
    dataset, named = read(text, freq="h"), read(text, freq="h", timezone="Europe/Berlin")
    assert times(dataset) == times(named) == IN_UTC
    assert (dataset.output_zone, named.output_zone) == ("UTC", "Europe/Berlin")
    assert "forecasts are in UTC; --target.timezone names another" in dataset.notes[0]
    assert dataset.fingerprint == named.fingerprint
    assert dataset.content != named.content


@pytest.mark.parametrize(
    ("offset", "zone"),
    [("Z", "UTC"), ("+00:00", "UTC"), ("+02:00", "Etc/GMT-2"), ("-0500", "Etc/GMT+5"), ("+05:30", "Asia/Kolkata")],
)
def test_one_offset_is_a_zone_of_its_own(read: Read, offset: str, zone: str) -> None:
    dataset = read(HEADER + csv([f"2024-01-01T0{n}:00:00{offset}" for n in range(9)]), freq="h")
    assert dataset.output_zone == zone
    back = in_zone(pl.read_parquet(dataset.data), zone, ["ds"])["ds"].dt.replace_time_zone(None)
    assert back.to_list() == [datetime(2024, 1, 1, n) for n in range(9)]


@pytest.mark.parametrize("offset", range(-720, 841, 15))
def test_the_zone_of_an_offset_has_that_offset(offset: int) -> None:
    name = zone_of(offset)
    if name is not None:
        assert datetime(2024, 7, 1, tzinfo=ZoneInfo(name)).utcoffset() == timedelta(minutes=offset)


def test_z_and_offsets_mix_and_a_short_offset_is_read(read: Read) -> None:
    dataset = read(HEADER + csv(["2024-01-01T00:00:00Z", "2024-01-01 02:00:00+01"][:1]), freq="h")
    assert times(dataset) == [datetime(2024, 1, 1)]
    mixed = read(
        HEADER + csv(["2024-01-01T00:00:00Z", "2024-01-01T02:00:00+01:00", "2024-01-01T07:30+05:30"][:2]), freq="h"
    )
    assert times(mixed) == [datetime(2024, 1, 1), datetime(2024, 1, 1, 1)]
    postgres = read(HEADER + csv(["2024-01-01 00:00:00+01", "2024-01-01 06:30:00+05:30"]), freq="h")
    assert times(postgres) == [datetime(2023, 12, 31, 23), datetime(2024, 1, 1, 1)]


def test_naive_times_stay_naive(read: Read) -> None:
    dataset = read(HEADER + csv([f"2024-01-01T0{n}:00:00" for n in range(9)]), freq="h")
    assert (dataset.timezone, dataset.output_zone, dataset.notes) == (None, None, ())


# ---- as of a time


def test_as_of_goes_by_the_wall_clock_of_days(read: Read) -> None:
    frame = parquet(YEAR, "Europe/Berlin")
    for as_of in ("2024-07-02", "2024-07-01T22:00Z", "2024-07-02T00:00+02:00", "2024-07-01T18:00-04:00"):
        assert times(read(frame, "rows.parquet", as_of=as_of))[-1] == datetime(2024, 7, 2)
    for as_of in ("2024-07-01T23:59", "2024-07-01T21:59Z", "2024-07-02T00:00+03:00"):
        assert times(read(frame, "rows.parquet", as_of=as_of))[-1] == datetime(2024, 7, 1)


def test_as_of_with_an_offset_is_compared_with_instants_of_texts(read: Read) -> None:
    text = HEADER + csv([stamp.isoformat() for stamp in YEAR])
    assert times(read(text, as_of="2024-07-01T22:00Z"))[-1] == datetime(2024, 7, 2)
    assert times(read(text, as_of="2024-07-01T21:59Z"))[-1] == datetime(2024, 7, 1)


def test_as_of_without_an_offset_is_a_time_of_the_rows_zone(read: Read) -> None:
    dataset = read(parquet(HOURS, "Europe/Berlin"), "rows.parquet", freq="h", as_of="2024-10-26T12:00")
    assert times(dataset)[-1] == datetime(2024, 10, 26, 10)
    assert "as_of 2024-10-26T12:00 was taken as a time of Europe/Berlin" in dataset.notes


def test_as_of_with_an_offset_needs_the_zone_of_naive_rows(read: Read, refusal: Refusal) -> None:
    text = HEADER + csv(local(HOURS))
    assert "e.g. --target.timezone Europe/Berlin" in refusal(text, freq="h", as_of="2024-10-26T10:00Z")
    dataset = read(text, freq="h", as_of="2024-10-26T10:00Z", timezone="Europe/Berlin")
    assert times(dataset)[-1] == datetime(2024, 10, 26, 10)


@pytest.mark.parametrize(
    ("text", "zone", "by_day", "expected"),
    [
        ("2024-07-02", "Europe/Berlin", False, datetime(2024, 7, 1, 22)),
        ("2024-07-02", "Europe/Berlin", True, datetime(2024, 7, 2)),
        ("2024-07-02T00:30+02:00", "America/New_York", True, datetime(2024, 7, 1, 18, 30)),
        ("2024-07-02T00:30+02:00", None, True, datetime(2024, 7, 2, 0, 30)),
        ("2024-07-02T00:30+02:00", None, False, datetime(2024, 7, 1, 22, 30)),
        ("2024-03-31T02:30", "Europe/Berlin", False, datetime(2024, 3, 31, 1, 30)),
        ("2024-07-02", None, False, datetime(2024, 7, 2)),
    ],
)
def test_a_moment_is_of_the_clock_that_rows_are_kept_in(
    text: str, zone: str | None, by_day: bool, expected: datetime
) -> None:
    assert moment_of(text, zone, by_day) == expected


def test_the_first_of_two_hours_is_meant() -> None:
    assert instant_of(datetime(2024, 10, 27, 2, 30), "Europe/Berlin") == datetime(2024, 10, 27, 0, 30)


# ---- several files, and names of zones


def test_a_file_without_a_zone_beside_one_with_needs_a_declared_one(read: Read, tmp_path: Path) -> None:
    read(HEADER + csv(local(HOURS[:30])), "one.csv", freq="h")
    read(HEADER + csv([stamp.isoformat() for stamp in HOURS[30:]]), "two.csv", freq="h")
    path = str(tmp_path / "in" / "*.csv")
    with pytest.raises(DataError, match=r"with and without a time zone \(\+01:00\).*--target\.timezone"):
        ingest_files(SeriesConfig(path=path, freq="h"), "rows", tmp_path / "raw")
    named = ingest_files(SeriesConfig(path=path, freq="h", timezone="Europe/Berlin"), "rows", tmp_path / "raw")
    assert times(named) == IN_UTC


def test_hours_with_and_without_a_zone_are_no_source_and_target(read: Read) -> None:
    naive = read(HEADER + csv(local(HOURS[:20])), freq="h")
    zoned = read(parquet(HOURS, "Europe/Berlin"), "rows.parquet", freq="h")
    with pytest.raises(DataError, match=r"times without a zone, rows has times in Europe/Berlin.*--source\.timezone"):
        check_clocks(naive, zoned)
    with pytest.raises(DataError, match=r"--target\.timezone"):
        check_clocks(zoned, naive)
    check_clocks(zoned, zoned)
    check_clocks(
        read(HEADER + csv(["2024-01-01"])), read(parquet(YEAR, "UTC"), "days.parquet", timezone="Europe/Berlin")
    )


def test_columns_of_several_zones_come_out_in_utc(read: Read, tmp_path: Path) -> None:
    read(parquet(HOURS[:30], "Europe/Berlin"), "one.parquet", freq="h")
    read(parquet(HOURS[30:], "Asia/Tokyo"), "two.parquet", freq="h")
    both = ingest_files(SeriesConfig(path=str(tmp_path / "in" / "*.parquet"), freq="h"), "rows", tmp_path / "raw")
    assert times(both) == IN_UTC
    assert both.output_zone == "UTC"
    assert "several offsets or zones (Asia/Tokyo, Europe/Berlin)" in both.notes[0]


@pytest.mark.parametrize(("freq", "options"), [("D", {}), ("h", {}), ("D", {"timezone": "Europe/Berlin"})])
def test_an_offset_within_a_text_needs_a_declared_zone(
    read: Read, refusal: Refusal, freq: str, options: dict[str, str]
) -> None:
    text = HEADER + "a,Mon Jul 01 00:00:00 +0200 2024,1\n"
    options = {"freq": freq, "datetime_format": "%a %b %d %H:%M:%S %z %Y"} | options
    if "timezone" in options:
        assert times(read(text, **options)) == [datetime(2024, 7, 1)]
    else:
        assert "the offset of ds is not at its end" in refusal(text, **options)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Europe/Berln", "did you mean Europe/Berlin"),
        ("europe/berlin", "did you mean Europe/Berlin"),
        ("Berlin", "did you mean Europe/Berlin"),
        ("+02:00", "give one such as Europe/Berlin, or UTC"),
        ("", "give one such as Europe/Berlin, or UTC"),
    ],
)
def test_a_zone_that_is_none_is_refused_with_the_nearest(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_zone(name)
    with pytest.raises(ValidationError, match=words):
        SeriesConfig.model_validate({"timezone": name})


def test_zones_are_known_without_a_database_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.clock.available_timezones", set)
    assert check_zone("Europe/Berlin") == "Europe/Berlin"
    with pytest.raises(ConfigError, match="give one such as"):
        check_zone("Europe/Berln")
