"""The last season again, from sound values alone, and only where that has a meaning."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from rnn_model.config import DECILES
from tasks.contract import check, split_rows
from tasks.fallback import LEAST_ERRORS, mend, naive, naive_answers
from tasks.forecaster import COLUMNS
from tasks.frequency import parse_frequency

DAY = datetime(2024, 1, 1)
WEEK = [5.0, 8.0, 6.0, 1.0, 7.0, 7.0, 4.0]
INFINITY = float("inf")
Point = tuple[str, datetime, float | None]


def points(name: str, values: list[float | None]) -> list[Point]:
    return [(name, DAY + timedelta(days=n), y) for n, y in enumerate(values)]


def frame(*rows: Point) -> pl.DataFrame:
    schema = {"unique_id": pl.String, "ds": pl.Datetime("us"), "y": pl.Float64}
    return pl.DataFrame(list(rows), schema=schema, orient="row").sort("unique_id", "ds", "y")


def answered(rows: pl.DataFrame, gaps: str = "missing") -> tuple[pl.DataFrame, dict[str, str]]:
    _, quarantine, _ = split_rows(rows, parse_frequency("D"), gaps, 1, 1)
    made, why = naive_answers(rows, quarantine, "D", gaps, 7, 9)
    return made, dict(why.iter_rows())


def test_the_last_season_comes_again_on_the_series_calendar() -> None:
    made, why = answered(frame(*points("a", [INFINITY, *WEEK[1:], *WEEK, *WEEK])))
    assert made.columns == COLUMNS
    assert made["y_hat"].to_list() == [*WEEK, 5.0, 8.0]
    assert made["ds"].to_list() == [DAY + timedelta(days=21 + n) for n in range(9)]
    assert made["cutoff"].unique().to_list() == [DAY + timedelta(days=20)]
    assert why == {}


def test_a_faulty_value_in_the_last_season_is_answered_by_the_season_before() -> None:
    made, _ = answered(frame(*points("a", [*WEEK, *WEEK[:3], -1e301, *WEEK[4:]])))
    assert made["y_hat"].to_list() == [*WEEK, 5.0, 8.0]


@pytest.mark.parametrize("other", [0.5, 4000.0, None])
def test_of_two_values_at_one_time_neither_is_repeated(other: float | None) -> None:
    rows = points("a", [*WEEK, *WEEK[:-1], 4.5])
    made, _ = answered(frame(*rows, ("a", rows[-1][1], other)))
    assert made["y_hat"].to_list() == [*WEEK, 5.0, 8.0]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (points("a", [1.0, INFINITY, 2.0]), "over 10% of its rows are faulty"),
        (points("a", [*WEEK, INFINITY, *[None] * 7]), "no sound value in the last 7 steps"),
        ([*points("a", [*WEEK, INFINITY, *WEEK]), ("a", DAY + timedelta(hours=1), 1.0)], "off the frequency"),
        ([("a", DAY + timedelta(days=7 * n), INFINITY if n == 3 else 1.0) for n in range(30)], "coarser than"),
        ([*points("a", [INFINITY, *WEEK, *WEEK]), ("a", datetime(2044, 1, 1), 1.0)], "mostly gaps"),
    ],
)
def test_where_repeating_has_no_meaning_a_series_stays_left_out(rows: list[Point], reason: str) -> None:
    made, why = answered(frame(*rows))
    assert made.is_empty()
    assert made.columns == COLUMNS
    assert why["a"].startswith(reason)


def test_series_that_break_a_rule_of_the_calendar_alone_are_not_touched() -> None:
    made, why = answered(frame(*points("a", [*WEEK]), ("a", DAY + timedelta(hours=1), 1.0), *points("b", [None])))
    assert made.is_empty()
    assert why == {}


def test_deciles_are_the_mirrored_errors_of_the_past_and_widen_by_the_root_of_the_seasons() -> None:
    y = np.array([0.0, 10.0] * 8) + np.repeat(np.arange(8.0), 2)  # every season one higher: 14 errors of 1
    point, deciles = naive(y, 2, 4)
    assert point.tolist() == [7.0, 17.0, 7.0, 17.0]
    np.testing.assert_allclose(deciles[0], [6, 6, 6, 6, 7, 8, 8, 8, 8])
    np.testing.assert_allclose(deciles[2, [0, 4, 8]], [7 - np.sqrt(2), 7, 7 + np.sqrt(2)])


def test_with_too_few_errors_there_are_no_deciles_rather_than_invented_ones() -> None:
    assert np.isnan(naive(np.arange(float(LEAST_ERRORS)), 1, 3)[1]).all()
    assert not np.isnan(naive(np.arange(LEAST_ERRORS + 1.0), 1, 3)[1]).any()
    made, _ = answered(frame(*points("a", [INFINITY, *WEEK, *WEEK[:3]])))
    assert made.select(DECILES).null_count().sum_horizontal().item() == 9 * 9
    assert made["y_hat"].null_count() == 0


def test_where_nothing_is_negative_no_decile_is() -> None:
    y = np.array([0.0, 9.0] * 10)
    assert naive(y, 1, 3)[1].min() == 0.0
    assert naive(-y, 1, 3)[1].min() < 0.0


def test_a_mended_series_passes_the_contract() -> None:
    mended, _ = mend(frame(*points("a", [*WEEK, INFINITY, *WEEK])))
    position = pl.int_range(pl.len(), dtype=pl.Int64)
    grid = {"first": pl.lit(DAY).cast(pl.Datetime("us")), "day": pl.lit(0, pl.Int8), "position": position}
    assert check(mended.with_columns(**grid), 1).is_empty()


@pytest.mark.parametrize(("faults", "spoilt"), [(1, 0), (2, 1)])
def test_a_tenth_of_the_times_may_be_faulty(faults: int, spoilt: int) -> None:
    rows = points("a", [1.0] * 10)
    assert mend(frame(*rows, *((name, ds, 2.0) for name, ds, _ in rows[:faults])))[1].height == spoilt
