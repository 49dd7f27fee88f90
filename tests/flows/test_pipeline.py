"""The whole chain on three series and a few steps: what it leaves behind, and that nothing leaks."""

import math
from pathlib import Path

import mlflow
import polars as pl
import pytest
from mlflow.tracking import MlflowClient
from tiny_pipeline import BASELINES, CANDIDATES, CUTOFFS, FIRST_CUTOFF, HORIZON, POINTS, carry, series

from rnn_model.errors import DataError
from tasks.handles import Outcome

pytestmark = pytest.mark.usefixtures("one_home")


def run_of(outcome: Outcome, run_id: str | None = None) -> "mlflow.entities.Run":
    return MlflowClient(outcome.run.uri).get_run(run_id or outcome.run.run_id)


def test_every_candidate_and_baseline_is_scored_on_the_same_windows(outcome: Outcome) -> None:
    assert outcome.evaluation is not None
    scores = pl.read_parquet(outcome.evaluation.folder / "scores.parquet")
    windows = {
        name: set(map(tuple, own.select("unique_id", "cutoff").iter_rows()))
        for (name,), own in scores.group_by("model")
    }
    assert set(windows) == CANDIDATES | BASELINES
    assert len({frozenset(w) for w in windows.values()}) == 1
    assert outcome.evaluation.windows == 3 * CUTOFFS


def test_figures_in_the_table_are_finite(outcome: Outcome) -> None:
    assert outcome.evaluation is not None
    assert all(math.isfinite(value) for row in outcome.evaluation.table.values() for value in row.values())


def test_the_chosen_candidate_is_never_worse_than_zero_shot_on_validation(outcome: Outcome) -> None:
    assert outcome.selection is not None
    losses = {c.model.strategy: c.validation_loss for c in outcome.selection.contenders}
    assert losses[outcome.selection.chosen] <= losses["zero-shot"]
    assert outcome.selection.reason.startswith(f"{outcome.selection.chosen}: ")
    assert outcome.model == outcome.selection.best.model


def test_the_row_account_balances(outcome: Outcome) -> None:
    assert outcome.account.rows_in == 3 * POINTS
    assert outcome.account.balanced()


def test_parent_and_children_read_finished(outcome: Outcome) -> None:
    client = MlflowClient(outcome.run.uri)
    children = client.search_runs([outcome.run.experiment_id], f"tags.`mlflow.parentRunId` = '{outcome.run.run_id}'")
    assert {c.data.tags["mlflow.runName"] for c in children} == CANDIDATES | BASELINES | {"pretrain"}
    assert {c.info.status for c in [*children, run_of(outcome)]} == {"FINISHED"}


def test_settings_are_logged_flat(outcome: Outcome) -> None:
    params = run_of(outcome).data.params
    assert params["window.horizon"] == str(HORIZON)
    assert params["model.cell"] == "lstm"
    assert params["source.synthetic.series"] == "64"
    assert params["seed"] == "3"


def test_every_model_has_the_same_metric_names(outcome: Outcome) -> None:
    assert outcome.evaluation is not None
    names = [
        {m for m in run_of(outcome, run_id).data.metrics if m.startswith("backtest/")}
        for run_id in outcome.evaluation.runs.values()
    ]
    expected = {"MASE", "RMSSE", "sMAPE", "MAE", "WQL", "SQL", "coverage_80", "OWA"}
    parent = {m for m in run_of(outcome).data.metrics if m.startswith("backtest/")}
    assert all(found == {f"backtest/{m}" for m in expected} for found in [*names, parent])


def test_metrics_of_each_validation_are_logged(outcome: Outcome) -> None:
    assert outcome.evaluation is not None
    history = MlflowClient(outcome.run.uri).get_metric_history(outcome.evaluation.runs["full"], "val/loss")
    assert [m.step for m in history] == [2, 4]


def test_every_candidate_says_what_was_done_to_its_deciles(outcome: Outcome) -> None:
    assert outcome.evaluation is not None
    assert set(outcome.evaluation.calibration) == CANDIDATES
    for name in CANDIDATES:
        data = run_of(outcome, outcome.evaluation.runs[name]).data
        assert data.tags["carryover.calibration"] == "not adjusted: 9 windows of 3 series, 30 series are needed"
        before, after = (data.metrics[f"calibration/coverage_80_{when}"] for when in ("before", "after"))
        assert before == after == data.metrics["backtest/coverage_80"]
        assert 0 <= data.metrics["calibration/validation_coverage_80"] <= 1
    assert "calibration/coverage_80_after" in run_of(outcome).data.metrics


def test_the_target_is_an_input_of_the_run(outcome: Outcome) -> None:
    inputs = run_of(outcome).inputs.dataset_inputs
    assert [i.dataset.name for i in inputs] == ["target"]
    assert run_of(outcome).data.tags["data.target"] == outcome.data


def test_figures_are_logged(outcome: Outcome) -> None:
    figures = {f.path for f in MlflowClient(outcome.run.uri).list_artifacts(outcome.run.run_id, "figures")}
    names = ("calibration", "error_by_step", "fan_charts", "learning_curves")
    assert figures == {f"figures/{name}.png" for name in names}


def test_mlflow_run_names_the_prefect_run(outcome: Outcome) -> None:
    from prefect.client.orchestration import get_client

    flow_run_id = run_of(outcome).data.tags["prefect.flow_run_id"]
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(flow_run_id).state_name == "Completed"  # type: ignore[union-attr, arg-type]


def test_prefect_artifacts_show_every_stage_and_the_mlflow_run(outcome: Outcome) -> None:
    from prefect.client.orchestration import get_client

    flow_run_id = run_of(outcome).data.tags["prefect.flow_run_id"]
    with get_client(sync_client=True) as client:
        artifacts = [a for a in client.read_artifacts() if str(a.flow_run_id) == flow_run_id]
    assert {a.key for a in artifacts} == {"row-account", "pretraining", "fine-tuning", "backtest", "gate", "mlflow-run"}
    link = next(a for a in artifacts if a.key == "mlflow-run")
    assert outcome.run.run_id in str(link.data)


def test_nothing_fitted_moves_when_everything_after_the_first_cutoff_changes(outcome: Outcome, home: Path) -> None:
    path = home / "shifted.parquet"
    series(shift_after=FIRST_CUTOFF).write_parquet(path)
    other = carry(path)
    assert outcome.selection is not None
    assert other.selection is not None
    for before, after in zip(outcome.selection.contenders, other.selection.contenders, strict=True):
        assert before.model.weights == after.model.weights
        assert before.validation_loss == after.validation_loss
    assert outcome.evaluation is not None
    assert other.evaluation is not None
    first, second = (first_cutoff_forecasts(o.evaluation.folder) for o in (outcome, other))
    assert first.height == 3 * HORIZON * len(CANDIDATES | BASELINES)
    assert first.equals(second)
    assert outcome.evaluation.table != other.evaluation.table  # the change did reach the test windows


def first_cutoff_forecasts(folder: Path) -> pl.DataFrame:
    frame = pl.read_parquet(folder / "forecasts.parquet").drop("y")
    return frame.filter(pl.col("cutoff") == pl.col("cutoff").min()).sort("model", "unique_id", "step")


def test_a_failed_run_reads_failed_and_names_the_reason(home: Path, prefect_server: None) -> None:
    path = home / "short.parquet"
    series().group_by("unique_id", maintain_order=True).head(3).write_parquet(path)
    with pytest.raises(DataError, match="shorter than"):
        carry(path)
    client = MlflowClient(f"sqlite:///{home / 'data' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("short")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    assert "shorter than" in run.data.tags["carryover.error"]
