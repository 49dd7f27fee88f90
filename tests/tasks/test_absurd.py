"""Values beyond all that is usual in their series are told, and nothing else is."""

from datetime import datetime, timedelta

import polars as pl
import pytest

from tasks.absurd import absurd_values
from tasks.contract import split_rows
from tasks.frequency import parse_frequency

DAY = datetime(2024, 1, 1)


def series(values: list[float | None], name: str = "a") -> pl.DataFrame:
    points = [(name, DAY + timedelta(days=n), y) for n, y in enumerate(values)]
    schema = {"unique_id": pl.String, "ds": pl.Datetime("us"), "y": pl.Float64}
    return pl.DataFrame(points, schema=schema, orient="row")


USUAL: list[float | None] = [50.0, -40.0, None, 60.0, 0.0] * 5


def test_a_value_beyond_all_others_is_told_with_its_series_and_time() -> None:
    rows = pl.concat([series(USUAL), series([*USUAL, -1e39, 50.0], "b")])
    (note,) = absurd_values(rows)
    assert note.startswith(
        "values over 1,000,000 times the usual size in 1 series, e.g. 1e+39 at 2024-01-26 00:00 in series 'b', "
        "where 50 is usual; "
    )


@pytest.mark.parametrize(
    "values",
    [
        [1e39 * (y or 0) for y in USUAL],  # a series of that size
        [*USUAL, 5e7],  # exactly a million times the median of 50
        [1e-9, 1e-9, 1e-9, 1000.0, 1000.0] * 5,  # noise in place of zeros
        [0.0] * 30 + [5.0],
        [1.0, 1e9],
        [None] * 9,
        [float(2**n) for n in range(30)],  # growth
    ],
)
def test_what_is_usual_somehow_is_not_told(values: list[float | None]) -> None:
    assert absurd_values(series(values)) == ()


def test_a_run_and_a_forecast_are_told_alike() -> None:
    frame = series([*USUAL, 1e20])
    used, _, account = split_rows(frame, parse_frequency("D"), "missing", 1, 8)
    assert used["unique_id"].n_unique() == 1
    assert account.notes == absurd_values(frame)
