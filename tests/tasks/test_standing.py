"""Whether a champion can be asked tonight's questions; where it cannot, the reason is kept and it does not compete."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnn_model.checkpoint import ModelCard
from rnn_model.config import ModelConfig
from tasks.config import BacktestConfig, WindowConfig
from tasks.handles import Dataset, Model, Standing
from tasks.standing import stand
from tasks.window import make_windows

CARD = ModelCard(
    model=ModelConfig(width=8, num_layers=1, context=32, patch=4),
    freq="D",
    periods=(7, 364),
    horizon=4,
    strategy="full",
    seen={"a": "2024-01-10T00:00:00.000000"},
)
MODEL = Model(folder=Path("champion"), weights="w" * 64, strategy="champion", context=32)


@pytest.fixture
def standing(stored: Callable[..., Dataset]) -> Callable[..., Standing]:
    """How a champion with this card stands before a test of `horizon` steps on forty days of series a."""

    def call(horizon: int = 4, **card: Any) -> Standing:
        dataset = stored(a=[float(n % 7) for n in range(40)])
        windows = make_windows(dataset, WindowConfig(horizon=horizon), BacktestConfig(cutoffs=1))
        known = Standing(address="models:/sales/3")
        return stand(known, MODEL, CARD.model_copy(update=card), dataset, windows)

    return call


def test_a_champion_of_the_same_target_enters_the_backtest(standing: Callable[..., Standing]) -> None:
    found = standing()
    assert (found.models, found.refused) == ((MODEL,), "")


def test_a_horizon_past_what_it_answers_is_refused_with_both_figures(standing: Callable[..., Standing]) -> None:
    found = standing(horizon=7)
    assert found.models == ()
    assert found.refused.startswith("models:/sales/3 cannot be compared: horizon 7: this model answers 1 to 6 steps")


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"freq": "h"}, "made for freq h"),
        ({"periods": (5, 260)}, "made for seasons (5, 260)"),
        ({"gaps": "zero"}, "gaps 'zero'"),
        ({"seen": {"b": "2024-01-10T00:00:00.000000"}}, "only 0 in both"),
        ({"seen": {"a": "2024-02-09T00:00:00.000000"}}, "past its first test cutoff"),
    ],
)
def test_another_target_or_seen_answers_are_refused(
    standing: Callable[..., Standing], card: dict[str, Any], words: str
) -> None:
    found = standing(**card)
    assert found.models == ()
    assert words in found.refused
