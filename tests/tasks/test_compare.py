"""Two backtested models side by side, on losses that are known by construction."""

import polars as pl
import pytest
from known_losses import losses, noisy, rising, scored

from rnn_model.errors import ConfigError
from tasks import compare
from tasks.compare import Backtested, Comparison, Verdict, compare_models
from tasks.config import GateConfig
from tasks.evaluate import publish_backtest
from tasks.handles import Run
from tasks.segments import KINDS, segments

CONFIG = GateConfig(min_effect=0.02)
RUN = Run(uri="sqlite:///x", experiment_id="1", run_id="r", name="comparison")


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("log_table", "log_metrics", "set_tags", "describe", "show_table"):
        monkeypatch.setattr(compare, name, lambda *_, **__: None)


def stored(factor: float, run_id: str, fingerprint: str = "f" * 64) -> Backtested:
    """A backtest of 40 series and 12 cutoffs, whose model `net` has `factor` times the usual losses, but for noise."""
    usual = losses(40, 12)
    model = scored("net", noisy(usual, factor) if factor != 1 else usual)
    labels = pl.DataFrame({"unique_id": [f"s{i:03}" for i in range(40)], "label": ["north"] * 15 + ["south"] * 25})
    groups = segments(rising(40, 12), model.scores, KINDS, labels)
    folder = publish_backtest({"net": model.forecasts}, {"net": model.scores}, groups, run_id)
    return Backtested(run_id=run_id, model="net", fingerprint=fingerprint, folder=folder)


def compared(first: Backtested, second: Backtested) -> Comparison:
    done: Comparison = compare_models.fn(first, second, CONFIG, RUN)
    return done


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (1.0, 0.8, "second is better"),
        (0.8, 1.0, "first is better"),
        (1.0, 1.001, "no difference that matters"),
    ],
)
def test_the_verdict_is_the_same_whichever_stands_first(first: float, second: float, verdict: Verdict) -> None:
    made = compared(stored(first, "a" * 32), stored(second, "b" * 32))
    assert made.verdict == verdict
    assert made.effects[0].gain == pytest.approx(1 - second / first, abs=0.005)


@pytest.mark.usefixtures("quiet")
def test_the_sentence_names_the_better_one_and_by_how_much() -> None:
    made = compared(stored(0.8, "a" * 32), stored(1.0, "b" * 32))
    assert made.sentence.startswith("Net of aaaaaaaa is better: the SQL of net of aaaaaaaa is ")
    assert "lower than that of net of bbbbbbbb, over 40 series and 480 windows" in made.sentence


@pytest.mark.usefixtures("quiet")
def test_the_table_says_where_a_difference_comes_from() -> None:
    effects = {effect.part: effect for effect in compared(stored(1.0, "a" * 32), stored(0.8, "b" * 32)).effects}
    assert list(effects) == ["all", "segment=north", "segment=south", "step=1", "step=2"]
    assert (effects["segment=north"].series, effects["segment=south"].series) == (15, 25)


@pytest.mark.usefixtures("quiet")
def test_backtests_of_other_windows_are_not_compared() -> None:
    with pytest.raises(ConfigError, match="other data, cutoffs or metrics"):
        compared(stored(1.0, "a" * 32), stored(0.8, "b" * 32, fingerprint="0" * 64))
