"""Series that ended long before the others: which ones, what becomes of them, and what is told."""

from datetime import datetime

import pandas as pd
import polars as pl
import pytest

from tasks.contract import split_rows
from tasks.ended import ENDED, AgeRule
from tasks.frequency import parse_frequency
from tasks.handles import Account

LAST = "2024-09-30"
OPEN = {f"open{n}": 0 for n in range(9)}


def collection(freq: str, length: int = 60, **ages: int) -> pl.DataFrame:
    """Series of `length` values, each of which ends so many steps before LAST."""
    longest = length + max(ages.values(), default=0)
    times = [stamp.to_pydatetime() for stamp in pd.date_range(end=LAST, periods=longest, freq=freq)]
    rows = [
        (name, ds, 10.0 + n % 7)
        for name, age in sorted(ages.items())
        for n, ds in enumerate(times[longest - age - length : longest - age])
    ]
    return pl.DataFrame(rows, schema={"unique_id": pl.String, "ds": pl.Datetime("us"), "y": pl.Float64}, orient="row")


def split(
    rows: pl.DataFrame, freq: str, rule: AgeRule = AgeRule(), gaps: str = "missing", need: int = 1
) -> tuple[list[str], dict[str, str], Account]:
    """Names of the used series, rule by series that was set aside, and the account."""
    used, aside, account = split_rows(rows.sort("unique_id", "ds", "y"), parse_frequency(freq), gaps, need, 8, rule)
    return used["unique_id"].unique().sort().to_list(), dict(aside.select("unique_id", "rule").iter_rows()), account


@pytest.mark.parametrize(
    ("freq", "limit"),
    [
        ("15min", 96), ("h", 168), ("4h", 42), ("D", 28), ("B", 20), ("W-MON", 13), ("MS", 6), ("ME", 6), ("QS", 3),
        ("YS", 3), ("30D", 3),
    ],
)  # fmt: skip
def test_by_default_the_frequency_says_how_old_an_end_may_be(freq: str, limit: int) -> None:
    at_limit, past = collection(freq, **OPEN, old=limit), collection(freq, **OPEN, old=limit + 1)
    assert split(at_limit, freq)[1:] == ({}, split(collection(freq, **OPEN, old=0), freq)[2])
    assert split(past, freq)[:2] == (sorted(OPEN), {"old": ENDED})


def test_the_note_tells_how_many_an_example_and_both_ends() -> None:
    account = split(collection("D", **OPEN, shut=100, closed=365), "D")[2]
    assert account.notes == (
        "2 of 11 series ended more than 28 steps before the latest value ('open0' on 2024-09-30), e.g. 'closed' on "
        "2023-10-01, 365 steps before it; left out as ended; --target.ended keep takes them in, --target.max_age N "
        "sets another age",
    )


def test_rows_of_an_ended_series_have_a_line_of_their_own_in_the_account() -> None:
    account = split(collection("D", **OPEN, old=99), "D")[2]
    assert account.quarantined == {ENDED: 60}
    assert (account.series_in, account.series_used) == (10, 9)
    assert account.balanced()


def test_where_many_ended_their_ends_are_no_sign_and_they_are_kept_and_told() -> None:
    spread = collection("MS", a=0, b=10, c=20, d=30, e=0, f=1)  # a collection of the past: 3 of 6
    names, aside, account = split(spread, "MS")
    assert (names, aside) == (list("abcdef"), {})
    (note,) = account.notes
    assert note.startswith("3 of 6 series ended more than 6 steps before the latest value ('a' on 2024-09-01)")
    assert "kept, each with its own cutoff" in note
    assert split(spread, "MS", AgeRule("drop"))[1] == dict.fromkeys("bcd", ENDED)


def test_a_third_of_the_series_is_the_most_that_is_left_out_by_itself() -> None:
    assert split(collection("D", a=0, b=0, c=50), "D")[1] == {"c": ENDED}
    assert split(collection("D", a=0, c=50), "D")[1] == {}


def test_one_stray_date_far_ahead_ends_no_other_series() -> None:
    rows = collection("D", **OPEN)
    stray = rows.filter(unique_id="open0").tail(1).with_columns(ds=pl.lit(datetime(2025, 9, 30)))
    names, aside, account = split(pl.concat([rows, stray]), "D")
    assert (names, aside) == (sorted(OPEN), {})
    assert "8 of 9 series ended more than 28 steps before the latest value ('open0' on 2025-09-30)" in account.notes[0]


def test_keep_takes_every_series_in_and_still_tells() -> None:
    names, aside, account = split(collection("D", **OPEN, old=365), "D", AgeRule("keep"))
    assert (len(names), aside) == (10, {})
    assert "1 of 10 series ended" in account.notes[0]
    assert "kept, each with its own cutoff, as asked" in account.notes[0]


def test_a_stated_age_takes_the_place_of_the_usual_one() -> None:
    rows = collection("D", **OPEN, old=40)
    assert split(rows, "D", AgeRule(max_age=40))[1] == {}
    assert split(rows, "D", AgeRule(max_age=39))[1] == {"old": ENDED}


def test_rows_without_a_value_do_not_keep_a_shop_open() -> None:
    rows = collection("D", length=200, **OPEN, closed=0)
    shut = (pl.col("unique_id") == "closed") & (pl.col("ds") > datetime(2024, 6, 1))
    rows = rows.with_columns(y=pl.when(~shut).then("y"))
    assert split(rows, "D")[1] == {"closed": ENDED}


def test_a_series_that_paused_as_long_before_has_not_ended() -> None:
    rows = collection("D", length=400, **OPEN, winter=40)
    paused = (pl.col("unique_id") == "winter") & pl.col("ds").is_between(datetime(2024, 1, 1), datetime(2024, 1, 25))
    assert split(rows.filter(~paused), "D")[1] == {}
    assert split(rows, "D")[1] == {"winter": ENDED}


def test_a_rare_sale_is_no_end_but_a_year_without_one_is() -> None:
    rare = collection("D", length=400, **OPEN, rare=0, gone=300)
    sold = pl.col("ds").dt.day() == 15  # once a month; the last one 15 days before the others' end
    rows = rare.filter(sold | ~pl.col("unique_id").is_in(["rare", "gone"]))
    rows = rows.filter((pl.col("unique_id") != "rare") | (pl.col("ds") < datetime(2024, 8, 20)))  # 46 days
    assert split(rows, "D", gaps="zero")[1] == {"gone": ENDED}


def test_an_ended_series_is_named_as_ended_whatever_value_it_breaks_a_rule_with() -> None:
    rows = collection("D", **OPEN, old=90)
    rows = rows.with_columns(
        y=pl.when((pl.col("unique_id") == "old") & (pl.col("ds").dt.day() == 3)).then(float("inf")).otherwise("y")
    )
    assert split(rows, "D")[1] == {"old": ENDED}
    assert split(rows, "D", need=61)[1]["old"] == ENDED


@pytest.mark.parametrize("bad", [datetime(9999, 1, 1), datetime(2025, 12, 31, 7)])
def test_a_time_that_breaks_a_rule_is_nobodys_latest(bad: datetime) -> None:
    rows = collection("D", **OPEN)
    stray = rows.head(1).with_columns(ds=pl.lit(bad), unique_id=pl.lit("open8"))
    _, aside, account = split(pl.concat([rows, stray]), "D")
    assert list(aside) == ["open8"]
    assert account.notes == ()


def test_weeks_and_months_of_other_anchors_are_compared_by_time() -> None:
    mondays, sundays = collection("W-MON", a=0, b=0), collection("W-SUN", c=1, d=14)
    assert split(pl.concat([mondays, sundays]), "W")[1] == {"d": ENDED}
    first, last = collection("MS", a=0, b=0), collection("ME", c=1, d=8)
    assert split(pl.concat([first, last]), "MS")[1] == {"d": ENDED}


def test_without_a_rule_nothing_is_left_out_or_told() -> None:
    rows = collection("D", **OPEN, old=365).sort("unique_id", "ds")
    _, aside, account = split_rows(rows, parse_frequency("D"), "missing", 1, 8)
    assert (aside.height, account.notes) == (0, ())
