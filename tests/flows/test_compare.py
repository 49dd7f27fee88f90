"""`carryover compare` on stored runs, on the candidates under them, and on models."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from tiny_pipeline import BACKTEST, WINDOW, series

from flows import cli
from flows.compare import compare
from rnn_model.errors import ConfigError
from tasks.config import BacktestConfig, WindowConfig
from tasks.handles import Outcome
from tasks.series_config import TargetConfig

pytestmark = pytest.mark.usefixtures("one_home")


def test_a_run_stands_for_its_chosen_model_and_a_child_for_itself(outcome: Outcome) -> None:
    assert outcome.evaluation is not None
    assert outcome.selection is not None
    made = compare(outcome.run.run_id, outcome.evaluation.runs["SeasonalNaive"][:12])  # a beginning will do
    short = outcome.run.run_id[:8]
    assert (made.first, made.second) == (f"{outcome.selection.chosen} of {short}", f"SeasonalNaive of {short}")
    whole = made.effects[0]
    assert whole.champion == pytest.approx(outcome.evaluation.table[outcome.selection.chosen]["SQL"], rel=1e-6)
    assert whole.challenger == pytest.approx(outcome.evaluation.table["SeasonalNaive"]["SQL"], rel=1e-6)


def test_a_comparison_is_a_run_of_its_own(outcome: Outcome) -> None:
    assert outcome.evaluation is not None
    made = compare(outcome.run.run_id, outcome.evaluation.runs["AutoETS"])
    stored = MlflowClient(made.run.uri).get_run(made.run.run_id)
    assert stored.data.tags["carryover.verdict"] == made.verdict
    assert stored.data.tags["mlflow.note.content"].endswith(made.sentence)


def test_options_of_a_backtest_are_refused_where_both_are_runs(outcome: Outcome) -> None:
    run, window, backtest = outcome.run.run_id, WindowConfig(horizon=3), BacktestConfig(cutoffs=2)
    idle = "target.freq, window.horizon, backtest.cutoffs, backtest.baselines would change nothing"
    with pytest.raises(ConfigError, match=idle):
        compare(run, run, target=TargetConfig(freq="MS"), window=window, backtest=backtest)


@pytest.mark.parametrize("option", ["--gate.promote=false", "--gate.champion=base", "--gate.smallest_segment=9"])
def test_options_of_a_promotion_are_none_of_a_comparison(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["compare", "base", "base", option]) == 2
    assert option[2:].partition("=")[0] in capsys.readouterr().err


def test_a_model_is_backtested_on_the_target_first(outcome: Outcome, tmp_path: Path) -> None:
    path = tmp_path / "sales.parquet"
    series().write_parquet(path)
    target = TargetConfig(path=str(path), freq="MS")
    made = compare(str(outcome.model.folder), outcome.run.run_id, target=target, window=WINDOW, backtest=BACKTEST)
    assert made.effects[0].gain == pytest.approx(0.0, abs=1e-9)  # the same weights on the same windows
    assert made.verdict == "no difference that matters"
    assert made.first == str(outcome.model.folder)


def test_runs_on_other_windows_are_refused(outcome: Outcome, tmp_path: Path) -> None:
    path = tmp_path / "sales.parquet"
    series().write_parquet(path)
    target, fewer = TargetConfig(path=str(path), freq="MS"), BacktestConfig(cutoffs=1, baselines=("SeasonalNaive",))
    with pytest.raises(ConfigError, match=r"3 series, 1 cutoff to .*3 series, 2 cutoffs to .*other data"):
        compare(str(outcome.model.folder), outcome.run.run_id, target=target, window=WINDOW, backtest=fewer)
