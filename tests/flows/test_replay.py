"""A run made again comes out equal; where its data, settings or arithmetic are others, the stage is named."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from mlflow.tracking import MlflowClient
from tiny_pipeline import BACKTEST, FINETUNE, HORIZON, MODEL, PRETRAIN, SOURCE, WINDOW, carry, series

from flows.cli import run as command
from flows.evaluate import evaluate
from flows.finetune import finetune
from flows.pretrain import pretrain
from rnn_model.config import FitConfig
from rnn_model.transfer import Candidate, tune
from tasks import finetune as finetuning
from tasks.config import FinetuneConfig, HorizonConfig
from tasks.handles import Outcome, Run
from tasks.receipt import RECEIPT, Receipt, Stage
from tasks.sameness import in_one_line, same_receipt
from tasks.series_config import TargetConfig

pytestmark = pytest.mark.usefixtures("one_home")
MONTHLY = SOURCE.model_copy(update={"freq": "MS"})


@pytest.fixture
def receipt(one_home: Path) -> Callable[[Run], Receipt]:
    """The receipt of a run, from the disk."""
    return lambda run: Receipt.model_validate_json((one_home / "receipts" / run.run_id / RECEIPT).read_text())


@pytest.fixture
def first_difference(outcome: Outcome, receipt: Callable[[Run], Receipt]) -> Callable[[Outcome], str]:
    """What another run is, compared with the usual one."""
    return lambda other: in_one_line(same_receipt(receipt(outcome.run), receipt(other.run), 1e-6))


def nudged(by: float) -> Callable[..., Candidate]:
    """A tuning whose result is off by a factor, as arithmetic that depends on more than its seed would be."""

    def call(network: Any, strategy: Any, *rest: Any) -> Candidate:
        candidate = tune(network, strategy, *rest)
        if strategy != "biases":
            return candidate
        for weight in candidate.network.parameters():
            weight.data.mul_(by)
        return replace(candidate, losses=candidate.losses * by)

    return call


@pytest.mark.timeout(900)  # servers and stores are set up anew
def test_a_run_made_again_in_a_fresh_process_is_equal(outcome: Outcome, one_home: Path, tmp_path: Path) -> None:
    client = MlflowClient(outcome.run.uri)
    before = client.get_run(outcome.run.run_id).to_dictionary()
    kept = {path for name in ("models", "raw", "validated", "windows") for path in (one_home / name).rglob("*")}
    summary = tmp_path / "replay.json"
    assert command(["replay", outcome.run.run_id, "--summary", str(summary)]) == 0
    found = json.loads(summary.read_text())
    assert found["verdict"] == "equal"
    assert {stage["verdict"] for stage in found["stages"]} == {"equal"}
    assert {path for name in ("models", "raw", "validated", "windows") for path in (one_home / name).rglob("*")} == kept
    assert client.get_run(outcome.run.run_id).to_dictionary() == before
    tags = client.get_run(found["run"]["run_id"]).data.tags
    assert (tags["carryover.replay_of"], tags["carryover.verdict"]) == (outcome.run.run_id, "equal")


def test_a_difference_exits_76_and_the_last_line_names_it(
    outcome: Outcome, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def otherwise(receipt: Receipt, *_: Any) -> Receipt:
        chosen = Stage(name="select", same={"chosen": "nobody"})
        return receipt.model_copy(update={"stages": tuple(chosen if s.name == "select" else s for s in receipt.stages)})

    monkeypatch.setattr("flows.replay.run_again", otherwise)
    assert command(["replay", outcome.run.run_id]) == 76
    assert outcome.selection is not None
    expected = f"Verdict: different at select: chosen got nobody, was {outcome.selection.chosen}"
    assert capsys.readouterr().out.splitlines()[-1] == expected


def test_every_stage_of_the_chain_stands_in_the_receipt(outcome: Outcome, receipt: Callable[[Run], Receipt]) -> None:
    names = [stage.name for stage in receipt(outcome.run).stages]
    models = ["zero-shot", "full", "mirrored", "biases", "scratch", "average", "ensemble"]
    baselines = ["SeasonalNaive", "AutoETS", "DynamicOptimizedTheta"]
    expected = ["ingest", "validate", "window", "corpus", "pretrain", *(f"fine-tune {m}" for m in models), "select"]
    assert names == [*expected, "evaluation", *(f"backtest {m}" for m in baselines + models), "promote"]


def test_a_changed_row_is_different_at_ingest(
    outcome: Outcome, home: Path, first_difference: Callable[[Outcome], str]
) -> None:
    path = home / "changed" / "target.parquet"
    path.parent.mkdir()
    series().with_columns(pl.col("y") + pl.int_range(pl.len()).eq(0).cast(pl.Float64)).write_parquet(path)
    assert first_difference(carry(path)).startswith("different at ingest: rows got ")


def test_another_order_of_the_rows_is_no_difference(
    outcome: Outcome, home: Path, first_difference: Callable[[Outcome], str]
) -> None:
    path = home / "reversed" / "target.parquet"
    path.parent.mkdir()
    series().reverse().write_parquet(path)
    assert first_difference(carry(path)) == "equal"


def test_another_rate_is_different_at_the_first_tuned_candidate(
    outcome: Outcome, target: Path, first_difference: Callable[[Outcome], str]
) -> None:
    anew = carry(target, finetune=FINETUNE.model_copy(update={"learning_rate": 0.1}))
    assert outcome.selection is not None
    assert anew.selection is not None
    pairs = zip(outcome.selection.contenders, anew.selection.contenders, strict=True)
    first = next(was.model.strategy for was, now in pairs if was.model.weights != now.model.weights)
    assert first_difference(anew).startswith(f"different at fine-tune {first}: ")


def test_another_seed_is_different_at_the_corpus(target: Path, first_difference: Callable[[Outcome], str]) -> None:
    assert first_difference(carry(target, seed=4)).startswith("different at corpus: content got ")


def test_arithmetic_that_is_off_is_found_where_it_is(
    home: Path, first_difference: Callable[[Outcome], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "nudged" / "target.parquet"  # another path is another run: the one of before has finished
    path.parent.mkdir()
    series().write_parquet(path)
    monkeypatch.setattr(finetuning, "tune", nudged(1.001))
    assert first_difference(carry(path)).startswith("different at fine-tune biases: validation loss got")


def test_the_other_commands_leave_receipts_too(
    outcome: Outcome, target: Path, receipt: Callable[[Run], Receipt]
) -> None:
    months = TargetConfig(path=str(target), freq="MS")
    fit = FitConfig(**PRETRAIN.model_dump(include=set(FitConfig.model_fields)))
    base = pretrain(source=MONTHLY, window=HorizonConfig(horizon=HORIZON), model=MODEL, pretrain=fit, seed=3)
    assert base.run is not None
    chosen = FinetuneConfig(**FINETUNE.model_dump() | {"strategies": ("biases",)})
    tuned = finetune(str(base.folder), months, WINDOW, chosen, BACKTEST, seed=3)
    scored = evaluate(str(base.folder), months, WINDOW, BACKTEST.model_copy(update={"baselines": ("SeasonalNaive",)}))
    client = MlflowClient(scored.run.uri)
    parent = client.get_run(base.run.run_id).data.tags["mlflow.parentRunId"]
    shared = ["ingest", "validate", "window", "start"]
    expected = {
        ("pretrain", parent): ["corpus", "pretrain"],
        ("finetune", tuned.run.run_id): [*shared, "fine-tune zero-shot", "fine-tune biases", "select"],
        ("evaluate", scored.run.run_id): [*shared, "evaluation", "backtest SeasonalNaive", "backtest pretrain"],
    }
    for (flow, run_id), stages in expected.items():
        found = receipt(tuned.run.model_copy(update={"run_id": run_id}))
        assert (found.flow, [stage.name for stage in found.stages]) == (flow, stages)
