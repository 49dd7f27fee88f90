"""Pairs of windows: what is refused, what falls on one date, and the table of effects that comes of them."""

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_losses import DAY, Array, losses, noisy, scored

from rnn_model.config import DECILES
from rnn_model.errors import ConfigError
from tasks.config import GateConfig
from tasks.effects import effects_table, lay_out
from tasks.frequency import grid_time, parse_frequency
from tasks.handles import Effect
from tasks.pairing import Pairs, Scored, date_windows, pair

# ---- the same windows, or no comparison


def refusal(change: Callable[[Scored], Scored]) -> str:
    champion = losses(6, 2)
    with pytest.raises(ConfigError) as raised:
        pair(scored("champion v3", champion), change(scored("full", champion)), "SQL")
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_another_evaluation_is_refused() -> None:
    assert "their losses do not compare" in refusal(lambda m: Scored(m.name, "e" * 64, m.scores, m.forecasts))


def test_a_missing_window_is_refused() -> None:
    message = refusal(lambda m: Scored(m.name, m.fingerprint, m.scores[:-1], m.forecasts))
    assert "champion v3 has 12 windows and full 11, 1 of them not in both (series 's005'" in message


def test_other_observed_values_are_refused() -> None:
    changed = pl.col("y") + (pl.col("unique_id") == "s002").cast(pl.Float64)
    message = refusal(lambda m: Scored(m.name, m.fingerprint, m.scores, m.forecasts.with_columns(y=changed)))
    assert "observed values" in message


# ---- dates


def pairs_of(cutoffs: dict[str, list[int]], horizon: int) -> tuple[list[int], int]:
    """Dates of the windows of series whose cutoffs are these days, in their order, and the lags."""
    parts = [
        {"unique_id": name, "cutoff": DAY + timedelta(days=cut), "ds": DAY + timedelta(days=cut + step), "step": step}
        for name, cuts in cutoffs.items()
        for cut in cuts
        for step in range(1, horizon + 1)
    ]
    forecasts = pl.DataFrame(parts).with_columns(y=pl.lit(1.0), **{q: pl.lit(2.0) for q in DECILES})
    scores = (
        forecasts.select("unique_id", "cutoff").unique().with_columns(SQL=pl.lit(1.0), MAE=pl.lit(1.0), QL=pl.lit(0.5))
    )
    model = Scored("any", "f", scores, forecasts)
    pairs = pair(model, model, "SQL")
    return pairs.windows.sort("unique_id", "cutoff")["date"].to_list(), pairs.lags


def test_cutoffs_on_the_same_days_are_dates() -> None:
    assert pairs_of({"a": [10, 14, 18], "b": [14, 18]}, horizon=4) == ([0, 1, 2, 1, 2], 0)


def test_series_that_end_on_other_days_share_the_nearest_dates() -> None:
    assert pairs_of({"a": [10, 14, 18], "b": [9, 13, 17]}, horizon=4) == ([0, 1, 2, 0, 1, 2], 1)


@pytest.mark.parametrize(("closed", "dates", "counted"), [(0, 3, 3), (1, 6, 3), (6, 6, 5), (12, 6, 6)])
def test_cutoffs_that_few_series_have_hardly_count(closed: int, dates: int, counted: int) -> None:
    parts = [
        {"unique_id": f"s{n:02d}", "cutoff": DAY + timedelta(days=cut), "date": cut, "champion": 1.0, "challenger": 1.0}
        for n in range(12 + closed)
        for cut in (range(3) if n < closed else range(3, 6))
    ]
    none = pl.DataFrame()
    pairs = Pairs("a", "b", windows=pl.DataFrame(parts), steps=none, unknown=none, left_out=0, lags=0)
    assert pairs.windows["date"].n_unique() == dates
    assert pairs.cutoffs == counted


def test_windows_longer_than_the_step_overlap_later_dates() -> None:
    assert pairs_of({"a": [10, 12, 14, 16], "b": [10, 12, 14, 16]}, horizon=5)[1] == 2


@st.composite
def ragged(draw: st.DrawFn) -> pl.DataFrame:
    """Forecasts of series on one calendar, which have some of the cutoffs each, a step apart, and end where they do."""
    freq, step = draw(st.sampled_from(["B", "MS", "W", "QE", "h"])), draw(st.integers(1, 8))
    grid = grid_time(parse_frequency(freq), pl.lit(datetime(1990, 1, 31)), pl.int_range(200))
    times = pl.select(grid).to_series().to_list()
    parts = []
    for name in range(draw(st.integers(1, 8))):
        last = draw(st.integers(100, 190))
        places = [last - step * k for k in range(draw(st.integers(1, 12)))]
        parts += [{"unique_id": f"s{name}", "cutoff": times[at], "ds": times[at + step]} for at in places]
    return pl.DataFrame(parts)


@settings(max_examples=150, deadline=None)
@given(ragged())
def test_cutoffs_of_one_series_fall_on_dates_of_their_own_in_order(forecasts: pl.DataFrame) -> None:
    dates, _ = date_windows(forecasts)
    assert dates.height == forecasts.height
    steps = dates.sort("unique_id", "cutoff").select(pl.col("date").diff().over("unique_id"))
    assert (steps["date"].drop_nulls() == 1).all()


def test_a_step_of_business_days_before_a_weekend_is_a_date_of_its_own() -> None:
    # 8 business days are 10 or 12 days. Days 23 and 13 are 31 and 41 before the last: nearest to 3 steps of 12, both.
    assert pairs_of({"a": [30, 42, 54], "b": [1, 13, 23]}, horizon=10)[0] == [3, 4, 5, 0, 1, 2]


def test_two_windows_of_a_series_at_one_date_are_refused() -> None:
    frame = pl.DataFrame({"unique_id": ["a", "a"], "date": [3, 3], "step": [0, 0], "champion": 1.0, "challenger": 1.0})
    with pytest.raises(ValueError, match="series 'a' has 2 windows at date 3"):
        lay_out(frame, pl.Series(["a"]), 0)


# ---- the table of effects


def effects(champion: Array, challenger: Array, groups: pl.DataFrame) -> dict[str, Effect]:
    pairs = pair(scored("old", champion), scored("new", challenger), "SQL")
    return {effect.part: effect for effect in effects_table(pairs, groups, GateConfig())}


def test_effects_stand_for_all_series_each_segment_and_each_step() -> None:
    champion = losses(8, 3)
    factor = np.array([0.5] * 2 + [0.75] * 6)[:, None]
    groups = pl.DataFrame({"unique_id": ["s000", "s001"], "part": ["size=small"] * 2})
    table = effects(champion, champion * factor, groups)
    assert list(table) == ["all", "size=small", "step=1", "step=2"]
    assert table["size=small"].gain == pytest.approx(0.5)
    assert (table["size=small"].series, table["size=small"].windows) == (2, 6)
    assert [table[part].p is None for part in table] == [False, True, True, True]


def test_the_steps_of_a_window_average_to_its_loss() -> None:
    champion = losses(8, 3)
    groups = pl.DataFrame(schema={"unique_id": pl.String, "part": pl.String})
    table = effects(champion, noisy(champion, 0.9), groups)
    assert (table["step=1"].challenger + table["step=2"].challenger) / 2 == pytest.approx(table["all"].challenger)
