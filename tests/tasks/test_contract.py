"""The rules, the grid and the account: every row ends as used, padded or quarantined, and the sums match."""

from collections import Counter
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.contract import SPARSEST, frame_windows, split_rows
from tasks.frequency import parse_frequency
from tasks.handles import Account

DAY = datetime(2024, 1, 1)
INF = float("inf")
Points = list[tuple[datetime | int, float | None]]


def frame(**series: Points) -> pl.DataFrame:
    """Sorted rows; a time given as a number counts days from 2024-01-01."""
    rows = [
        (name, DAY + timedelta(days=when) if isinstance(when, int) else when, value)
        for name, points in series.items()
        for when, value in points
    ]
    schema = {"unique_id": pl.String, "ds": pl.Datetime("us"), "y": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("unique_id", "ds", "y")


def days(*values: float | None) -> Points:
    return list(enumerate(values))


def split(
    rows: pl.DataFrame, freq: str = "D", gaps: str = "missing", need: int = 1, context: int = 4
) -> tuple[pl.DataFrame, dict[str, str], Account]:
    """Used rows, rule by quarantined series, and the account."""
    used, quarantine, account = split_rows(rows, parse_frequency(freq), gaps, need, context)
    return used, dict(quarantine.select("unique_id", "rule").iter_rows()), account


GOOD = days(1, 2, 3, 4, 5)


# the rules


@pytest.mark.parametrize(
    ("rule", "points"),
    [
        ("infinite value", days(1, INF, 3)),
        ("infinite value", days(1, -INF, 3)),
        ("beyond 1e300", days(1, -1.1e300, 3)),
        ("time out of range", [(datetime(1, 1, 1), 1.0), (0, 2.0), (1, 3.0)]),
        ("time out of range", [(0, 1.0), (1, 2.0), (datetime(9999, 12, 31), 3.0)]),
        ("conflicting duplicate", [(0, 1.0), (1, 2.0), (1, 3.0)]),
        ("conflicting duplicate", [(0, 1.0), (1, None), (1, 3.0)]),
        ("off the frequency", [(0, 1.0), (1, 2.0), (datetime(2024, 1, 3, 12), 3.0)]),
        ("coarser than the frequency", [(0, 1.0), (7, 2.0), (14, 3.0)]),
        ("mostly gaps", [(0, 1.0), (1, 2.0), (1000, 3.0)]),
        ("no value at all", days(None, None, None)),
        ("shorter than 3", days(1, 2)),
    ],
)
def test_a_series_that_breaks_a_rule_is_set_aside_whole_and_the_others_go_on(rule: str, points: Points) -> None:
    used, rules, account = split(frame(bad=points, good=GOOD), need=3)
    assert rules == {"bad": rule}
    assert used["unique_id"].unique().to_list() == ["good"]
    assert account.quarantined == {rule: len(points)}


def test_a_quarantined_series_names_its_first_bad_row_and_its_counts() -> None:
    points = [(0, 1.0), (1, None), (2, INF), (3, 4.0), (4, INF)]
    _, quarantine, _ = split_rows(frame(a=points), parse_frequency("D"), "missing", 1, 4)
    assert quarantine.rows(named=True) == [
        {"unique_id": "a", "rule": "infinite value", "at": DAY + timedelta(days=2), "rows": 5, "observed": 4}
    ]


def test_a_series_that_breaks_two_rules_is_counted_under_the_first() -> None:
    _, rules, account = split(frame(a=[(0, INF), (0, 2.0), (7, 1.0)]))
    assert rules == {"a": "infinite value"}
    assert account.quarantined == {"infinite value": 3}


def test_a_whole_frame_of_good_series_has_no_quarantine() -> None:
    used, rules, account = split(frame(a=GOOD, b=days(None, 1, None)))
    assert rules == {}
    assert account.quarantined == {}
    assert used.equals(frame(a=GOOD, b=days(None, 1, None)))


@pytest.mark.parametrize(
    ("freq", "step"),
    [("h", timedelta(days=30)), ("MS", timedelta(days=1)), ("D", timedelta(hours=1)), ("MS", timedelta(days=365))],
)
def test_another_frequency_than_declared_breaks_a_rule(freq: str, step: timedelta) -> None:
    _, rules, _ = split(frame(a=[(DAY + n * step, float(n)) for n in range(30)]), freq)
    assert list(rules) == ["a"]


@pytest.mark.parametrize(("points", "is_used"), [(3, True), (2, False)])
def test_need_counts_the_steps_a_series_spans(points: int, is_used: bool) -> None:
    used, _, _ = split(frame(a=days(*range(points))), need=3)
    assert used.height == (points if is_used else 0)


def test_one_row_more_than_the_sparsest_series_is_used() -> None:
    edge = 2 * SPARSEST - 1
    used, rules, _ = split(frame(a=[(0, 1.0), (edge, 2.0)], b=[(0, 1.0), (edge + 1, 2.0)]))
    assert used["unique_id"].unique().to_list() == ["a"]
    assert rules == {"b": "mostly gaps"}


def test_a_stray_timestamp_does_not_fill_the_memory() -> None:
    stray = [(datetime(1970, 1, 1), 0.0)] + [(DAY + timedelta(seconds=n), 1.0) for n in range(100)]
    _, rules, account = split(frame(a=stray), freq="s")
    assert rules == {"a": "mostly gaps"}
    assert account.added == 0


def test_a_constant_series_is_kept_and_counted() -> None:
    _, rules, account = split(frame(flat=days(5, 5, None, 5), zero=days(0, 0), moving=GOOD))
    assert rules == {}
    assert account.constant == 2


# duplicates


def test_equal_duplicates_are_dropped_and_counted() -> None:
    points = [(0, 1.0), (1, 2.0), (1, 2.0), (1, 2.0), (2, None), (2, None)]
    used, rules, account = split(frame(a=points))
    assert rules == {}
    assert used.equals(frame(a=days(1, 2, None)))
    assert account.quarantined == {"equal duplicate": 3}
    assert (account.rows_in, account.padded) == (6, 3)


def test_equal_values_at_other_times_are_no_duplicates() -> None:
    assert split(frame(a=days(1, 1, 1), b=days(1, 1, 1)))[0].height == 6


# the grid


def test_absent_rows_become_missing_steps_and_are_counted() -> None:
    used, _, account = split(frame(a=[(0, 1.0), (1, 2.0), (4, 5.0)]))
    assert used.equals(frame(a=days(1, 2, None, None, 5)))
    assert account.added == 2


def test_absent_rows_are_zero_by_policy_and_are_counted() -> None:
    used, _, account = split(frame(a=[(0, 1.0), (1, 2.0), (4, 5.0)], b=days(7, 7)), gaps="zero")
    assert used.equals(frame(a=days(1, 2, 0, 0, 5), b=days(7, 7)))
    assert account.added == 2


def test_a_missing_value_in_a_row_stays_missing_where_absent_rows_are_zero() -> None:
    used, _, _ = split(frame(a=[(0, 1.0), (1, None), (3, 2.0)]), gaps="zero")
    assert used["y"].to_list() == [1.0, None, 0.0, 2.0]


@pytest.mark.parametrize(
    ("freq", "stamps", "absent"),
    [
        ("ME", ["2023-12-31", "2024-01-31", "2024-03-31"], "2024-02-29"),
        ("MS", ["2022-12-01", "2023-01-01", "2023-03-01"], "2023-02-01"),
        ("B", ["2024-01-04", "2024-01-05", "2024-01-09"], "2024-01-08"),
        ("QE", ["2023-06-30", "2023-09-30", "2024-03-31"], "2023-12-31"),
        ("15min", ["2024-01-01 23:30", "2024-01-01 23:45", "2024-01-02 00:15"], "2024-01-02 00:00"),
        ("W-MON", ["2024-01-01", "2024-01-08", "2024-01-22"], "2024-01-15"),
    ],
)
def test_the_absent_step_is_the_one_of_the_calendar(freq: str, stamps: list[str], absent: str) -> None:
    used, _, _ = split(frame(a=[(datetime.fromisoformat(s), 1.0) for s in stamps]), freq)
    assert used.filter(pl.col("y").is_null())["ds"].to_list() == [datetime.fromisoformat(absent)]


def test_no_timestamp_of_a_used_series_is_moved() -> None:
    monthly = [datetime(2023, 2, 28), datetime(2023, 3, 28), datetime(2023, 4, 28), datetime(2023, 5, 28)]
    rows = frame(a=[(ds, 1.0) for ds in monthly], b=[(ds.replace(day=1), 1.0) for ds in monthly])
    used, rules, _ = split(rows, "MS")
    assert set(used["ds"]) <= set(rows["ds"])
    assert rules == {}


# the account


def test_series_that_fill_the_context_are_used_and_shorter_ones_padded() -> None:
    _, _, account = split(frame(long=days(1, 2, 3, 4), short=days(1, 2, 3)), context=4)
    assert (account.used, account.padded) == (4, 3)
    assert (account.series_in, account.series_used) == (2, 2)


def test_a_series_fills_the_context_by_its_steps_and_is_counted_by_its_rows() -> None:
    _, _, account = split(frame(a=[(0, 1.0), (1, 2.0), (3, 4.0)]), context=4)
    assert (account.used, account.padded, account.added) == (3, 0, 1)


def test_an_account_is_balanced_only_when_the_sums_match() -> None:
    account = Account(
        rows_in=10, used=4, padded=3, quarantined={"a": 1, "b": 2}, added=5, series_in=3, series_used=2, constant=0
    )
    assert account.balanced()
    assert not account.model_copy(update={"rows_in": 11}).balanced()


VALUES = st.sampled_from([0.0, -0.0, 1.0, 2.5]) | st.none() | st.sampled_from([INF, -INF])
TIMES = st.integers(0, 8).map(lambda n: DAY + timedelta(days=n)) | st.sampled_from(
    [datetime(1, 1, 1), datetime(9999, 12, 31), datetime(2024, 1, 2, 6), datetime(2030, 1, 1)]
)
FRAMES = st.lists(st.tuples(st.sampled_from("abcd"), TIMES, VALUES), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    rows=FRAMES,
    freq=st.sampled_from(["D", "h", "B", "W", "MS", "YE"]),
    gaps=st.sampled_from(["missing", "zero"]),
    need=st.integers(1, 4),
)
def test_every_row_is_used_padded_or_quarantined(
    rows: list[tuple[str, datetime, float | None]], freq: str, gaps: str, need: int
) -> None:
    schema = {"unique_id": pl.String, "ds": pl.Datetime("us"), "y": pl.Float64}
    raw = pl.DataFrame(rows, schema=schema, orient="row").sort("unique_id", "ds", "y")
    used, rules, account = split(raw, freq, gaps, need)

    distinct = Counter(name for name, _, _ in set(rows))
    kept = set(used["unique_id"])
    expected = Counter({rule: sum(distinct[n] for n in rules if rules[n] == rule) for rule in set(rules.values())})
    dropped = len(rows) - len(set(rows))
    if dropped:
        expected["equal duplicate"] = dropped
    assert account.rows_in == len(rows)
    assert account.quarantined == dict(expected)
    assert account.used + account.padded == sum(distinct[name] for name in kept)
    assert account.rows_in == account.used + account.padded + sum(account.quarantined.values())
    assert kept | set(rules) == set(distinct)
    assert not kept & set(rules)
    assert account.added == used.height - sum(distinct[name] for name in kept)


# windows over the grid


def test_a_frame_becomes_one_flat_array_with_an_offset_per_series() -> None:
    windows = frame_windows(frame(a=days(1, None, 3), b=days(4, 5)), (7, 364))
    np.testing.assert_array_equal(windows.values, [1, np.nan, 3, 4, 5])
    assert windows.offsets.tolist() == [0, 3, 5]
    assert windows.end.tolist() == [3, 2]
    assert windows.periods.tolist() == [[7, 364], [7, 364]]
