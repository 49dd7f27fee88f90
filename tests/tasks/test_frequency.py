"""Names of frequencies, their seasons, and the integer grid: pandas' own calendars are the independent answer."""

from datetime import datetime, timedelta

import pandas as pd
import polars as pl
import pytest

from rnn_model.errors import ConfigError
from tasks.frequency import ANY, grid_position, grid_time, guess_frequency, in_range, parse_frequency, stated_periods

CALENDARS = [  # our name, pandas' name, first timestamp on that calendar
    ("s", "s", "2024-02-28 23:59:58"),
    ("15min", "15min", "2023-12-31 23:30"),
    ("h", "h", "2024-02-28 22:00"),
    ("6h", "6h", "2024-02-28 18:00"),
    ("D", "D", "2024-02-25"),
    ("B", "B", "2024-02-28"),
    ("W-MON", "W-MON", "2024-02-26"),
    ("W", "W-WED", "2024-02-28"),
    ("2W", "14D", "2024-02-28"),
    ("MS", "MS", "2023-11-01"),
    ("ME", "ME", "2023-10-31"),
    ("ME", "ME", "2023-02-28"),
    ("ME", "ME", "2024-02-29"),
    ("ME", "ME", "2023-04-30"),
    ("QS", "QS", "2023-04-01"),
    ("QE", "QE", "2023-06-30"),
    ("3MS", "3MS", "2023-05-01"),
    ("YS", "YS", "1999-01-01"),
    ("YE", "YE", "1999-12-31"),
    ("YE-FEB", "YE-FEB", "2023-02-28"),
]


def calendar(pandas_name: str, first: str, length: int = 60) -> list[datetime]:
    return [stamp.to_pydatetime() for stamp in pd.date_range(first, periods=length, freq=pandas_name)]


def positions(name: str, stamps: list[datetime]) -> list[int | None]:
    frame = pl.DataFrame({"ds": stamps}, schema={"ds": pl.Datetime("us")})
    return frame.select(grid_position(parse_frequency(name), pl.col("ds"), pl.col("ds").first()))["ds"].to_list()


def times(name: str, first: datetime, steps: list[int]) -> list[datetime]:
    frame = pl.DataFrame({"first": [first] * len(steps), "p": steps}, schema_overrides={"first": pl.Datetime("us")})
    return frame.select(ds=grid_time(parse_frequency(name), pl.col("first"), pl.col("p")))["ds"].to_list()


@pytest.mark.parametrize(("name", "pandas_name", "first"), CALENDARS)
def test_grid_time_walks_the_calendar(name: str, pandas_name: str, first: str) -> None:
    expected = calendar(pandas_name, first)
    assert times(name, expected[0], list(range(60))) == expected


@pytest.mark.parametrize(("name", "pandas_name", "first"), CALENDARS)
def test_grid_position_counts_the_calendar(name: str, pandas_name: str, first: str) -> None:
    assert positions(name, calendar(pandas_name, first)) == list(range(60))


@pytest.mark.parametrize(("name", "pandas_name", "first"), CALENDARS)
def test_grid_position_jumps_over_absent_steps(name: str, pandas_name: str, first: str) -> None:
    stamps = calendar(pandas_name, first)
    assert positions(name, [stamps[0], stamps[2], stamps[59]]) == [0, 2, 59]


@pytest.mark.parametrize(
    ("name", "first", "stray"),
    [
        ("h", "2024-01-01 00:00", "2024-01-01 01:30"),
        ("15min", "2024-01-01 00:00", "2024-01-01 00:20"),
        ("D", "2024-01-01 00:00", "2024-01-02 12:00"),
        ("W-MON", "2024-01-01", "2024-01-09"),
        ("B", "2024-01-05", "2024-01-06"),
        ("B", "2024-01-05 09:00", "2024-01-08 10:00"),
        ("MS", "2024-01-01", "2024-02-02"),
        ("MS", "2024-01-01 00:00", "2024-02-01 06:00"),
        ("MS", "2023-01-30", "2023-02-27"),
        ("MS", "2023-01-30", "2023-03-31"),
        ("MS", "2023-02-28", "2023-03-28"),  # from a month's end the grid goes through month ends
        ("QS", "2024-01-01", "2024-02-01"),
        ("YS", "2024-01-01", "2024-07-01"),
        ("2W", "2024-01-01", "2024-01-08"),
    ],
)
def test_a_stray_timestamp_has_no_position(name: str, first: str, stray: str) -> None:
    assert positions(name, [datetime.fromisoformat(first), datetime.fromisoformat(stray)]) == [0, None]


@pytest.mark.parametrize(
    ("text", "unit", "count"),
    [
        ("h", "h", 1),
        ("H", "h", 1),
        ("15min", "min", 15),
        ("15T", "min", 15),
        ("D", "D", 1),
        ("d", "D", 1),
        ("B", "B", 1),
        ("W-SUN", "W", 1),
        ("M", "ME", 1),
        ("3MS", "MS", 3),
        ("Q", "QE", 1),
        ("QS-OCT", "QS", 1),
        ("A", "YE", 1),
        ("AS", "YS", 1),
        (" h ", "h", 1),
    ],
)
def test_usual_names_are_known(text: str, unit: str, count: int) -> None:
    frequency = parse_frequency(text)
    assert (frequency.unit, frequency.count) == (unit, count)


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "m", "0D", "-1D", "1.5h", "2B", "9999999D", "MS2", "h\n1", "monthly"),
        *("D-MON", "W-XYZ", "W-JAN", "W-mon", "QS-MON", "ME-JAN"),  # anchors that the unit does not have
    ],
)
def test_unknown_names_are_refused_with_the_allowed_ones(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is not known; allowed: s, min, h, D, B, W, MS"):
        parse_frequency(text)


@pytest.mark.parametrize(
    ("name", "season", "periods"),
    [
        ("s", 60, (60, 60)),
        ("min", 1440, (1440, 1440)),
        ("15min", 96, (96, 672)),
        ("30min", 48, (48, 336)),
        ("h", 24, (24, 168)),
        ("6h", 4, (4, 4)),
        ("48h", 1, (1, 1)),
        ("7min", 1, (1, 1)),
        ("D", 7, (7, 364)),
        ("B", 5, (5, 5)),
        ("W-MON", 1, (13, 52)),
        ("2W", 1, (1, 1)),
        ("MS", 12, (12, 12)),
        ("ME", 12, (12, 12)),
        ("3MS", 4, (4, 4)),
        ("QE", 4, (4, 4)),
        ("YS", 1, (1, 1)),
    ],
)
def test_season_for_metrics_and_periods_for_the_network(name: str, season: int, periods: tuple[int, int]) -> None:
    frequency = parse_frequency(name)
    assert (frequency.season, frequency.periods) == (season, periods)


@pytest.mark.parametrize(
    ("name", "season", "periods"),
    [
        *[("W", None, (13, 52)), ("W", 1, (13, 52)), ("W", 13, (13, 52)), ("W", 52, (13, 52)), ("W", 26, (26, 26))],
        *[("4W", 13, (13, 13)), ("15min", 24, (24, 24)), ("D", 364, (7, 364)), ("h", 168, (24, 168))],
        *[(ANY, None, (1, 1)), (ANY, 24, (24, 24))],
    ],
)
def test_a_stated_season_stands_alone_unless_it_is_one_of_the_frequencys_own(
    name: str, season: int | None, periods: tuple[int, int]
) -> None:
    assert stated_periods(name, season) == periods


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        *[("MS", "ME", True), ("W-MON", "W-SUN", True), ("QS", "3MS", True), ("YS", "12ME", True)],
        *[("MS", "QS", False), ("h", "D", False), ("15min", "30min", False), ("B", "D", False)],
    ],
)
def test_rhythm_ignores_the_anchor_and_nothing_else(one: str, other: str, same: bool) -> None:
    assert (parse_frequency(one).rhythm == parse_frequency(other).rhythm) is same


@pytest.mark.parametrize(
    ("pandas_name", "guess"),
    [("h", "h"), ("15min", "15min"), ("D", "D"), ("B", "B"), ("W-TUE", "W"), ("MS", "MS"), ("QS", "QS"), ("YS", "YS")],
)
def test_the_likely_frequency_is_guessed_in_spite_of_gaps(pandas_name: str, guess: str) -> None:
    stamps = calendar(pandas_name, "2019-01-01")
    del stamps[20], stamps[33]
    assert guess_frequency(pl.Series(stamps, dtype=pl.Datetime("us"))) == guess


def test_timestamps_without_a_rhythm_are_of_unknown_frequency() -> None:
    stamps = [datetime(2024, 1, 1) + timedelta(microseconds=7919 * n**3) for n in range(40)]
    assert guess_frequency(pl.Series(stamps, dtype=pl.Datetime("us"))) == "unknown"


def test_years_1700_to_2200_are_in_range() -> None:
    stamps = [datetime(1699, 12, 31), datetime(1700, 1, 1), datetime(2200, 1, 1), datetime(2200, 1, 2)]
    frame = pl.DataFrame({"ds": stamps}, schema={"ds": pl.Datetime("us")})
    assert frame.select(in_range(pl.col("ds")))["ds"].to_list() == [False, True, True, False]
