"""Figures by what they draw."""

import warnings
from datetime import datetime, timedelta

import polars as pl
import pytest

from rnn_model.config import DECILES
from tasks.figures import canvas, draw_fan, effects_chart
from tasks.handles import Effect
from tasks.significance import WORST


def test_an_unknown_interval_is_not_drawn() -> None:
    effect = Effect(
        part="size=large", series=9, windows=9, champion=1.0, challenger=0.9, gain=0.1, low=WORST, high=1.0
    )  # fmt: skip
    axes = effects_chart([effect], "SeasonalNaive").axes[0]
    assert axes.get_xlabel().startswith("gain on SeasonalNaive")
    low, high = axes.get_xlim()
    assert 0 < high - low < 20  # percent: the gain of 10 and its 0, and not a million


@pytest.mark.parametrize("hours", [40, 64, 70, 24 * 100, 24 * 365 * 2])
def test_a_chart_finds_its_dates_without_a_warning(hours: int) -> None:
    start = datetime(2020, 1, 1)
    past = pl.DataFrame({"ds": [start, start + timedelta(hours=hours - 1)], "y": [1.0, 2.0]})
    ahead = pl.DataFrame({"ds": [start + timedelta(hours=hours)], "y": [2.0]} | {q: [2.0] for q in DECILES})
    figure, axes = canvas((4, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_fan(axes[0], past, ahead)
        figure.draw_without_rendering()
