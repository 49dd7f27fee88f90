"""Models after the run: logged, loaded, forecast with, evaluated and trained further."""

import math
import subprocess
import sys
from pathlib import Path

import mlflow
import polars as pl
import pytest
from mlflow.tracking import MlflowClient
from tiny_pipeline import BACKTEST, FINETUNE, HORIZON, MODEL, PRETRAIN, SOURCE, WINDOW, carry, series

from flows.evaluate import evaluate
from flows.finetune import finetune
from flows.forecast import forecast
from flows.pretrain import pretrain
from rnn_model.checkpoint import load_card
from rnn_model.config import ModelConfig
from rnn_model.errors import ConfigError, IntegrityError
from tasks.config import BacktestConfig, HorizonConfig, PretrainConfig
from tasks.handles import Outcome
from tasks.series_config import SourceConfig, TargetConfig

pytestmark = pytest.mark.usefixtures("one_home")
TUNED_AGAIN = ("zero-shot", "biases", "scratch", "ensemble")
COLUMNS = [f"0.{i}" for i in range(1, 10)]


def months(path: Path, **options: object) -> TargetConfig:
    return TargetConfig.model_validate({"path": str(path), "freq": "MS", **options})


def starting_from(outcome: Outcome) -> PretrainConfig:
    return PretrainConfig.model_validate({"from": str(outcome.model.folder)})


def test_logged_model_forecasts_what_the_model_folder_forecasts(outcome: Outcome, target: Path, home: Path) -> None:
    made = forecast(str(outcome.model.folder), months(target), HorizonConfig(horizon=HORIZON))
    mlflow.set_tracking_uri(outcome.run.uri)
    served = mlflow.pyfunc.load_model(outcome.model_uri).predict(series().to_pandas())
    written = pl.read_parquet(made.data)
    assert (
        pl.from_pandas(served).sort("unique_id", "ds")["0.9"].to_list()
        == written.sort("unique_id", "ds")["0.9"].to_list()
    )


def test_logged_model_refuses_infinity(outcome: Outcome) -> None:
    mlflow.set_tracking_uri(outcome.run.uri)
    bad = series().with_columns(y=pl.when(pl.int_range(pl.len()) == 7).then(math.inf).otherwise(pl.col("y")))
    with pytest.raises(mlflow.exceptions.MlflowException, match="infinite y"):
        mlflow.pyfunc.load_model(outcome.model_uri).predict(bad.to_pandas())


def test_logged_model_holds_no_pickle(outcome: Outcome) -> None:
    local = Path(mlflow.artifacts.download_artifacts(artifact_uri=outcome.model_uri, tracking_uri=outcome.run.uri))
    endings = {path.suffix for path in local.rglob("*") if path.is_file()}
    assert ".safetensors" in endings
    assert not endings & {".pkl", ".pickle", ".pt", ".pth", ".joblib", ".bin"}


def test_forecast_by_run_id_equals_forecast_by_folder(outcome: Outcome, target: Path, home: Path) -> None:
    config, horizon = months(target), HorizonConfig(horizon=HORIZON)
    by_run = forecast(outcome.run.run_id, config, horizon, force=True)
    by_folder = forecast(str(outcome.model.folder), config, horizon, force=True)
    assert by_run.folder != by_folder.folder
    assert pl.read_parquet(by_run.data).equals(pl.read_parquet(by_folder.data))


def test_evaluate_alone_gives_the_pipelines_figures(outcome: Outcome, target: Path) -> None:
    again = evaluate(str(outcome.model.folder), months(target), WINDOW, BACKTEST)
    assert again.evaluation is not None
    assert outcome.evaluation is not None
    assert again.evaluation.table[outcome.model.strategy] == outcome.evaluation.table[outcome.model.strategy]
    assert again.evaluation.fingerprint == outcome.evaluation.fingerprint


def test_pretrain_then_finetune_alone_give_the_pipelines_weights(outcome: Outcome, target: Path) -> None:
    source = SourceConfig(freq="MS", synthetic=SOURCE.synthetic)
    base = pretrain(source, HorizonConfig(horizon=HORIZON), MODEL, PRETRAIN, seed=3)
    alone = finetune(str(base.folder), months(target), WINDOW, FINETUNE, BACKTEST, seed=3)
    assert alone.selection is not None
    assert outcome.selection is not None
    assert {c.model.strategy: c.model.weights for c in alone.selection.contenders} == {
        c.model.strategy: c.model.weights for c in outcome.selection.contenders
    }


def test_logged_model_predicts_bit_equal_in_a_new_process(outcome: Outcome, target: Path, home: Path) -> None:
    made = forecast(str(outcome.model.folder), months(target), HorizonConfig(horizon=HORIZON))
    script = (
        "import sys, mlflow, pandas; mlflow.set_tracking_uri(sys.argv[1]);"
        "mlflow.pyfunc.load_model(sys.argv[2]).predict(pandas.read_parquet(sys.argv[3])).to_parquet(sys.argv[4])"
    )
    there = home / "there.parquet"
    arguments = [outcome.run.uri, str(outcome.model_uri), str(target), str(there)]
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, timeout=120, capture_output=True)
    both = [pl.read_parquet(path).sort("unique_id", "ds").select(COLUMNS) for path in (made.data, there)]
    assert both[0].equals(both[1])


def test_evaluating_on_points_the_model_has_seen_is_refused(outcome: Outcome, target: Path) -> None:
    with pytest.raises(ConfigError, match="past its first test cutoff"):
        evaluate(str(outcome.model.folder), months(target), WINDOW, BacktestConfig(cutoffs=5))


def test_starting_from_a_model_that_has_seen_the_test_is_refused(outcome: Outcome, target: Path) -> None:
    with pytest.raises(ConfigError, match="past its first test cutoff"):
        carry(
            target, pretrain=PretrainConfig(**{"from": str(outcome.model.folder)}), backtest=BacktestConfig(cutoffs=5)
        )


def test_an_ensemble_is_kept_whole_forecasts_and_is_tuned_as_one_network(outcome: Outcome, target: Path) -> None:
    assert outcome.selection is not None
    folder = next(c.model.folder for c in outcome.selection.contenders if c.model.strategy == "ensemble")
    assert forecast(str(folder), months(target), HorizonConfig(horizon=HORIZON)).series == 3
    assert load_card(folder).members == 2
    start = PretrainConfig.model_validate({"from": str(folder)})
    again = carry(target, pretrain=start, finetune=FINETUNE.model_copy(update={"strategies": TUNED_AGAIN}))
    assert again.selection is not None
    made = {c.model.strategy: load_card(c.model.folder).members for c in again.selection.contenders}
    assert made == {"zero-shot": 2, "biases": 2, "scratch": 1}
    assert again.selection.reason.endswith("; no ensemble was made, as the model that this starts from is one")


def test_asking_for_another_network_than_the_models_is_refused(outcome: Outcome, target: Path) -> None:
    other = MODEL.model_copy(update={"cell": "gru"})
    with pytest.raises(IntegrityError, match="cell gru"):
        carry(target, pretrain=starting_from(outcome), model=other)


def test_evaluation_fingerprint_does_not_depend_on_the_network(outcome: Outcome, target: Path) -> None:
    other = carry(target, model=ModelConfig(width=8, num_layers=1, context=16, patch=4))
    assert other.evaluation is not None
    assert outcome.evaluation is not None
    assert other.evaluation.fingerprint == outcome.evaluation.fingerprint


def test_a_forecast_with_another_gap_policy_than_the_models_is_refused(
    outcome: Outcome, target: Path, home: Path
) -> None:
    with pytest.raises(ConfigError, match="made with gaps missing"):
        forecast(str(outcome.model.folder), months(target, gaps="zero"), output=home / "never.parquet", force=True)
    assert not (home / "never.parquet").exists()


def test_a_pretraining_run_can_be_started_from_and_is_not_repeated(outcome: Outcome, target: Path) -> None:
    source = SourceConfig(freq="MS", synthetic=SOURCE.synthetic)
    base = pretrain(source, HorizonConfig(horizon=HORIZON), MODEL, PRETRAIN, seed=3)
    assert base.run is not None
    again = carry(target, pretrain=PretrainConfig(**{"from": base.run.run_id}))
    assert again.selection is not None
    assert outcome.selection is not None
    assert again.selection.best.model.weights == outcome.selection.best.model.weights
    history = MlflowClient(outcome.run.uri).get_metric_history(base.run.run_id, "val/loss")
    assert [m.step for m in history] == [2, 4]  # taken from disk, and still with its curve


def test_replaying_the_pretraining_changes_what_is_tuned_and_its_loss_there_is_known(
    outcome: Outcome, target: Path
) -> None:
    replayed = carry(target, finetune=FINETUNE.model_copy(update={"replay": 0.5}))
    assert outcome.selection is not None
    assert replayed.selection is not None
    plain, mixed = ({c.model.strategy: c for c in done.selection.contenders} for done in (outcome, replayed))
    assert plain["zero-shot"].model.weights == mixed["zero-shot"].model.weights
    assert plain["zero-shot"].source_loss == mixed["zero-shot"].source_loss  # before any tuning
    assert plain["full"].model.weights != mixed["full"].model.weights
    assert all(c.source_loss is not None and c.source_loss > 0 for c in mixed.values())
    logged = MlflowClient(replayed.run.uri).get_run(mixed["full"].model.run.run_id).data.metrics
    assert logged["val/source_loss"] == mixed["full"].source_loss


def test_a_replay_in_fine_tuning_alone_is_refused_at_once(outcome: Outcome, target: Path) -> None:
    with pytest.raises(ConfigError, match="replay needs the corpus of a pretraining; use `carryover run`"):
        finetune(str(outcome.model.folder), months(target), finetune=FINETUNE.model_copy(update={"replay": 0.5}))


def test_evaluate_alone_logs_its_input_and_the_figures_on_the_parent(outcome: Outcome, target: Path) -> None:
    done = evaluate(str(outcome.model.folder), months(target), WINDOW, BACKTEST)
    run = MlflowClient(done.run.uri).get_run(done.run.run_id)
    assert [i.dataset.name for i in run.inputs.dataset_inputs] == ["target"]
    assert run.data.metrics["backtest/MASE"] == done.evaluation.table[done.model.strategy]["MASE"]  # type: ignore[union-attr]
