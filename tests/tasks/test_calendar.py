"""Months, quarters and years on any day: python-dateutil's clipping is the independent answer."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from dateutil.relativedelta import relativedelta

from tasks.contract import split_rows
from tasks.forecaster import step_times
from tasks.frequency import anchor_day, grid_position, grid_time, guess_frequency, parse_frequency
from tasks.handles import Dataset
from tasks.series_config import SeriesConfig
from tasks.validate import validate_dataset

MONTHLY = parse_frequency("MS")
MONTHS = {"MS": 1, "ME": 1, "2MS": 2, "QS": 3, "YS": 12}


def on_day(day: int, year: int, month: int, steps: int, step: int) -> list[datetime]:
    """A grid through a day of the month, which short months clip."""
    return [datetime(year, month, 1, 6) + relativedelta(months=n * step, day=day) for n in range(steps)]


@pytest.mark.parametrize("freq", MONTHS)
@pytest.mark.parametrize("day", range(1, 32))
def test_every_day_from_every_month_is_a_grid_and_goes_on_there(freq: str, day: int) -> None:
    """Two years in positions and times; from what they tell, two more."""
    frequency, step = parse_frequency(freq), MONTHS[freq]
    for year in (2020, 2021):
        for month in range(1, 13):
            whole = on_day(day, year, month, 14 + 24 // step, step)
            known = whole[: 12 if step == 12 else 24 // step]
            ends = all((stamp + relativedelta(days=1)).day == 1 for stamp in known)
            if ends:  # months' ends alone go on as such
                whole = on_day(31, year, month, len(whole), step)
            frame = pl.DataFrame({"ds": known}, schema={"ds": pl.Datetime("us")})
            ds, anchor = pl.col("ds"), anchor_day(pl.col("ds"))
            assert frame.select(p=grid_position(frequency, ds, ds.first(), anchor))["p"].to_list() == [
                *range(len(known))
            ]
            more = pl.DataFrame({"n": range(len(whole))}).with_columns(
                first=pl.lit(known[0], pl.Datetime("us")), day=frame.select(anchor).to_series()[0]
            )
            times = more.select(t=grid_time(frequency, pl.col("first"), pl.col("n"), pl.col("day")))["t"]
            assert times.to_list() == whole


def rows_on(days: list[datetime], name: str = "a") -> pl.DataFrame:
    schema = {"unique_id": pl.String, "ds": pl.Datetime("us"), "y": pl.Float64}
    return pl.DataFrame([(name, ds, float(n)) for n, ds in enumerate(days)], schema=schema, orient="row")


@pytest.mark.parametrize(
    ("day", "start", "following"),
    [
        (28, (2021, 2), ["2023-02-28", "2023-03-28"]),
        (29, (2021, 2), ["2023-02-28", "2023-03-29"]),
        (30, (2021, 2), ["2023-02-28", "2023-03-30"]),
        (31, (2021, 2), ["2023-02-28", "2023-03-31"]),
        (31, (2021, 4), ["2023-04-30", "2023-05-31"]),
        (1, (2021, 2), ["2023-02-01", "2023-03-01"]),
    ],
)
def test_forecasts_go_on_the_day_that_all_rows_tell(day: int, start: tuple[int, int], following: list[str]) -> None:
    rows = rows_on(on_day(day, *start, 24, 1))
    used, quarantine, account = split_rows(rows, parse_frequency("MS"), "missing", 1, 8)
    assert quarantine.is_empty()
    assert account.added == 0
    assert step_times(used, "MS", 2)["ds"].dt.strftime("%Y-%m-%d").to_list() == following


def test_gaps_are_filled_on_the_day_of_the_other_rows() -> None:
    days = on_day(30, 2021, 2, 12, 1)
    used, quarantine, _ = split_rows(rows_on([d for n, d in enumerate(days) if n not in (3, 4)]), MONTHLY, "zero", 1, 8)
    assert quarantine.is_empty()
    assert used["ds"].to_list() == days


def test_each_series_has_a_day_of_its_own() -> None:
    both = pl.concat([rows_on(on_day(28, 2021, 2, 12, 1)), rows_on(on_day(31, 2021, 2, 12, 1), "b")])
    used, quarantine, _ = split_rows(both, MONTHLY, "missing", 1, 8)
    assert quarantine.is_empty()
    assert used["ds"].to_list() == both["ds"].to_list()


def test_a_stray_row_is_the_one_that_is_named() -> None:
    days = on_day(1, 2021, 1, 12, 1)
    days[5] = days[5].replace(day=17)
    _, quarantine, _ = split_rows(rows_on(days), MONTHLY, "missing", 1, 8)
    assert quarantine.select("rule", "at").row(0) == ("off the frequency", days[5])


def test_rows_of_the_28th_look_monthly() -> None:
    assert guess_frequency(pl.Series(on_day(28, 2021, 2, 24, 1), dtype=pl.Datetime("us"))) == "MS"


def test_a_file_of_the_28th_that_begins_in_february_is_used(read: Callable[..., Dataset], tmp_path: Path) -> None:
    lines = [f"a,{day:%Y-%m-%d},{n}" for n, day in enumerate(on_day(28, 2021, 2, 48, 1))]
    raw = read("unique_id,ds,y\n" + "\n".join(lines) + "\n", freq="MS")
    config = SeriesConfig(path="rows.csv", freq="MS")
    assert validate_dataset(raw, config, need=7, context=64, root=tmp_path / "validated").account.series_used == 1
