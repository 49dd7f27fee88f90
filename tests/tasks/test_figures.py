"""Figures by what they draw."""

from tasks.figures import effects_chart
from tasks.handles import Effect
from tasks.significance import WORST


def test_an_unknown_interval_is_not_drawn() -> None:
    effect = Effect(
        part="size=large", series=9, windows=9, champion=1.0, challenger=0.9, gain=0.1, low=WORST, high=1.0
    )  # fmt: skip
    low, high = effects_chart([effect]).axes[0].get_xlim()
    assert 0 < high - low < 20  # percent: the gain of 10 and its 0, and not a million
