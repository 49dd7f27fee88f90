"""Two backtested models side by side, on losses that are known by construction."""

from collections.abc import Callable

import polars as pl
import pytest
from known_losses import HORIZON, losses, noisy, rising, scored

from rnn_model.errors import ConfigError
from tasks import compare
from tasks.compare import Backtested, Comparison, Verdict, compare_models
from tasks.config import GateConfig, JudgingConfig
from tasks.evaluate import publish_backtest
from tasks.handles import Decision, Run
from tasks.judgement import judge, sameness
from tasks.pairing import pair, read_groups, read_scored
from tasks.segments import KINDS, segments

CONFIG = GateConfig(min_effect=0.02)
RUN = Run(uri="sqlite:///x", experiment_id="1", run_id="r", name="comparison")


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("log_table", "log_metrics", "set_tags", "describe", "show_table"):
        monkeypatch.setattr(compare, name, lambda *_, **__: None)


def stored(
    factor: float,
    run_id: str,
    fingerprint: str = "f" * 64,
    size: tuple[int, int] = (40, 12),
    step: int = HORIZON,
    broken: Callable[[pl.DataFrame], pl.DataFrame] = pl.DataFrame.clone,
) -> Backtested:
    """A backtest whose model `net` has `factor` times the usual losses, but for noise.

    `size`: series and cutoffs, `step` days apart; `broken`: what befalls its scores.
    """
    usual = losses(*size)
    model = scored("net", noisy(usual, factor) if factor != 1 else usual, step=step)
    labels = pl.DataFrame({"unique_id": [f"s{i:03}" for i in range(40)], "label": ["north"] * 15 + ["south"] * 25})
    groups = segments(rising(*size), model.scores, KINDS, labels.head(size[0]))
    folder = publish_backtest({"net": model.forecasts}, {"net": broken(model.scores)}, groups, run_id)
    return Backtested(run_id=run_id, model="net", fingerprint=fingerprint, folder=folder)


def compared(first: Backtested, second: Backtested) -> Comparison:
    done: Comparison = compare_models(first, second, CONFIG, RUN)
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
    assert made.sentence.startswith("net of aaaaaaaa is better: the SQL of net of aaaaaaaa is ")
    assert "lower than that of net of bbbbbbbb over 40 series and 12 cutoffs (90% interval of the gain" in made.sentence


def judged(first: Backtested, second: Backtested) -> Decision:
    """What the gate says of the second as a challenger of the first."""
    old, new = (read_scored(m.folder, m.model, m.fingerprint, m.title) for m in (first, second))
    return judge(old, new, read_groups(first.folder), CONFIG)


def half_unknown(scores: pl.DataFrame) -> pl.DataFrame:
    """No loss in the first six series."""
    return scores.with_columns(SQL=pl.when(pl.col("unique_id") < "s006").then(float("nan")).otherwise("SQL"))


@pytest.mark.usefixtures("quiet")
def test_windows_without_a_loss_leave_both_the_gate_and_the_comparison_undecided() -> None:
    first, second = stored(1.0, "a" * 32, size=(12, 4)), stored(0.8, "b" * 32, size=(12, 4), broken=half_unknown)
    made = compared(first, second)
    assert made.verdict == judged(first, second).outcome == "not enough evidence"
    assert made.sentence.startswith("Not enough evidence: net of bbbbbbbb has no finite loss in 24 windows of 's000'")


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("size", "step", "needed"), [((12, 1), 2, 2), ((3, 4), 2, 8), ((12, 2), 1, 3)])
def test_too_few_cutoffs_leave_both_undecided(size: tuple[int, int], step: int, needed: int) -> None:
    first, second = (stored(factor, run_id * 32, size=size, step=step) for factor, run_id in ((1.0, "a"), (0.8, "b")))
    made = compared(first, second)
    assert made.verdict == judged(first, second).outcome == "not enough evidence"
    assert made.sentence.endswith(f"cannot tell it from chance, {needed} are needed.")
    assert "interval" not in made.sentence


@pytest.mark.usefixtures("quiet")
def test_equal_losses_differ_in_nothing_however_few_the_cutoffs() -> None:
    made = compared(stored(1.0, "a" * 32, size=(3, 1)), stored(1.0, "b" * 32, size=(3, 1)))
    assert made.verdict == "no difference that matters"
    assert made.sentence.endswith("net of bbbbbbbb has the same SQL in each of 3 windows.")


@pytest.mark.parametrize(("apart", "same"), [(1e-14, True), (1e-6, False)])
def test_losses_that_differ_by_rounding_are_the_same(apart: float, same: bool) -> None:
    known = losses(9, 3)
    pairs = pair(scored("one", known), scored("other", known * (1 + apart)), "SQL")
    assert bool(sameness(pairs, JudgingConfig())) is same


@pytest.mark.usefixtures("quiet")
def test_the_table_says_where_a_difference_comes_from() -> None:
    effects = {effect.part: effect for effect in compared(stored(1.0, "a" * 32), stored(0.8, "b" * 32)).effects}
    assert list(effects) == ["all", "segment=north", "segment=south", "step=1", "step=2"]
    assert (effects["segment=north"].series, effects["segment=south"].series) == (15, 25)


@pytest.mark.usefixtures("quiet")
def test_backtests_of_other_windows_are_not_compared() -> None:
    with pytest.raises(ConfigError, match="other data, cutoffs or metrics"):
        compared(stored(1.0, "a" * 32), stored(0.8, "b" * 32, fingerprint="0" * 64))
