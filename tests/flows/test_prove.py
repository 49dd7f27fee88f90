"""The proof holds for the chain as it is, and names the stage of each leak that is planted in it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from mlflow.tracking import MlflowClient
from tiny_pipeline import HORIZON, MODEL, series

import flows.prove
import flows.stages
import rnn_model.network
import tasks.baselines
import tasks.evaluate
import tasks.finetune
import tasks.future
import tasks.leakage
import tasks.progress
import tasks.validate
import tasks.window
from flows.cli import run
from rnn_model.checkpoint import ModelCard, save_model
from rnn_model.errors import LeakError
from rnn_model.network import build_network
from rnn_model.scaling import Scale
from rnn_model.windows import Index, Split, Windows
from tasks.config import BacktestConfig, FinetuneConfig, TrackingConfig, WindowConfig
from tasks.handles import Run
from tasks.leakage import Proof
from tasks.series_config import TargetConfig

FINETUNE = FinetuneConfig(steps=3, batch_size=8, validate_every=1, strategies=("full", "average"))
BACKTEST = BacktestConfig(cutoffs=2, baselines=("SeasonalNaive",))
WINDOW = WindowConfig(horizon=HORIZON)
MODELS = {"SeasonalNaive", "zero-shot", "full", "average"}
TRACKED = (flows.prove, flows.stages, tasks.evaluate, tasks.finetune, tasks.leakage, tasks.progress, tasks.validate)
TOLD = ("log_metrics", "log_params", "log_table", "log_dataset", "log_folder", "set_tags", "describe", "show_table")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A small model that was never trained, and three series."""
    network = build_network(MODEL, HORIZON, seed=1)
    with torch.no_grad():
        network.readout.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    card = ModelCard(model=MODEL, freq="any", periods=(12, 12), horizon=HORIZON, strategy="pretrain")
    series().write_parquet(tmp_path / "sales.parquet")
    return save_model(network, card, tmp_path / "start"), tmp_path / "sales.parquet"


@pytest.fixture
def proof(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[], Proof]:
    """The flow and its stages as plain functions: without a server and a store, in seconds."""

    @contextmanager
    def untracked(*names: object) -> Iterator[Run]:
        yield Run(uri="none", experiment_id="0", run_id=str(names[1]), name="none")

    for module in TRACKED:
        for name in ("tracked", "child"):
            monkeypatch.setattr(module, name, untracked, raising=False)
        for name in TOLD:
            monkeypatch.setattr(module, name, lambda *_, **__: None, raising=False)
    start, sales = files
    target = TargetConfig(path=str(sales), freq="MS", max_quarantined=0.5)
    sections = (target, WINDOW, FINETUNE, BACKTEST, TrackingConfig())
    return lambda: flows.prove.prove.fn(str(start), *sections, seed=3)


def test_nothing_before_a_cutoff_moves(proof: Callable[[], Proof]) -> None:
    made = proof()
    assert made.leaks == ()
    first = {f.stage for f in made.findings if f.cutoff == 0 and not f.control}
    assert first >= {f"forecasts of {name}" for name in MODELS}
    assert first >= {"validated rows", "scalers", "training windows", "losses of every step", "fitted weights"}
    assert {f.cutoff for f in made.findings if f.stage == "forecasts of full"} == {0, 1}
    assert all(f.compared for f in made.findings if f.stage != "scores of windows that end before")


# leaks, each planted where such things happen


def rows_scaled_by_their_whole_series(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = tasks.window.frame_windows

    def scaled(frame: pl.DataFrame, periods: tuple[int, int]) -> Windows:
        return honest(frame.with_columns(y=pl.col("y") / pl.col("y").abs().max().over("unique_id")), periods)

    monkeypatch.setattr(tasks.window, "frame_windows", scaled)


def gaps_filled_from_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = tasks.validate.split_rows

    def filled(*given: Any) -> tuple[pl.DataFrame, pl.DataFrame, Any]:
        used, *rest = honest(*given)
        smooth = pl.mean_horizontal("y", pl.col("y").shift(-1).over("unique_id"))
        return used.with_columns(y=smooth), *rest

    monkeypatch.setattr(tasks.validate, "split_rows", filled)


def a_scale_with_a_floor_of_all_data(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, float] = {}
    gather, honest = Windows.gather, rnn_model.network.window_scale

    def watched(self: Windows, *given: Any) -> Any:
        seen["largest"] = float(np.nanmax(np.abs(self.values)))
        return gather(self, *given)

    def floored(context: torch.Tensor, period: torch.Tensor) -> Scale:
        scale = honest(context, period)
        return Scale(scale.level, scale.spread.clamp_min(1e-3 * seen["largest"]))

    monkeypatch.setattr(Windows, "gather", watched)
    monkeypatch.setattr(rnn_model.network, "window_scale", floored)


def a_history_that_is_usual_over_all_series(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = tasks.window.split_windows

    def usual(*given: Any) -> Split:
        split = honest(*given)
        first = np.where(split.test >= 0, split.test, 10**6).min(0)
        return Split(split.test, split.validation, int(np.median(np.minimum(first // 2, 32))))

    monkeypatch.setattr(tasks.window, "split_windows", usual)


def trainings_stopped_by_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, honest = tasks.finetune.open_windows, tasks.finetune.tune
    held: dict[str, Any] = {}

    def watched(handle: Any) -> Any:
        held["windows"], held["split"] = opened(handle)
        return held["windows"], held["split"]

    def stopped(network: Any, strategy: Any, material: Any, *given: Any) -> Any:
        test = held["windows"].batches(held["split"].test_index(0), MODEL.context, HORIZON)
        return honest(network, strategy, material._replace(validation=test), *given)

    monkeypatch.setattr(tasks.finetune, "open_windows", watched)
    monkeypatch.setattr(tasks.finetune, "tune", stopped)


def a_choice_that_knows_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, honest = tasks.finetune.open_windows, tasks.finetune.select
    held: dict[str, float] = {}

    def watched(handle: Any) -> Any:
        windows, split = opened(handle)
        held["sum"] = float(np.nansum(windows.values))
        return windows, split

    def chosen(candidates: Any, series: Any) -> Any:
        return honest(candidates, series)._replace(reason=f"the data add up to {held['sum']}")

    monkeypatch.setattr(tasks.finetune, "open_windows", watched)
    monkeypatch.setattr(tasks.finetune, "select", chosen)


def a_baseline_fitted_past_its_cutoff(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_of_it(windows: Windows, series: int, origin: int, longest: int) -> np.ndarray:
        start = windows.offsets[series]  # what a view hides is still in its values
        return np.nan_to_num(np.asarray(windows.values[start : start + origin + HORIZON], dtype=np.float64))

    monkeypatch.setattr(tasks.baselines, "_history", all_of_it)


def forecasts_that_begin_a_step_late(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = tasks.evaluate.plain_and_adjusted
    monkeypatch.setattr(tasks.evaluate, "until_cutoff", lambda windows, index: windows)

    def late(network: Any, windows: Windows, index: Index, *rest: Any) -> Any:
        return honest(network, windows, Index(index.series, index.origin + 1), *rest)

    monkeypatch.setattr(tasks.evaluate, "plain_and_adjusted", late)


def as_of_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    import tasks.ingest

    monkeypatch.setattr(tasks.ingest, "known_rows", lambda frame, config, zone: (frame, 1))


@pytest.mark.parametrize(
    ("plant", "stage"),
    [
        (gaps_filled_from_what_follows, "validated rows"),
        (rows_scaled_by_their_whole_series, "windows"),
        (as_of_forgotten, "where series are cut"),
        (a_history_that_is_usual_over_all_series, "where series are cut"),
        (a_scale_with_a_floor_of_all_data, "scalers"),
        (trainings_stopped_by_the_test, "losses of every step"),
        (a_choice_that_knows_the_test, "selection"),
        (a_baseline_fitted_past_its_cutoff, "forecasts of SeasonalNaive"),
        (forecasts_that_begin_a_step_late, "forecasts of average"),
    ],
)
def test_a_planted_leak_is_named_by_its_stage(
    plant: Callable[[pytest.MonkeyPatch], None],
    stage: str,
    proof: Callable[[], Proof],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    with pytest.raises(LeakError, match=f"after test cutoff 1 was changed, and {stage} moved: ") as raised:
        proof()
    assert raised.value.exit_code == 76


def test_a_proof_in_which_nothing_was_changed_proves_nothing(
    proof: Callable[[], Proof], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.future, "with_other_values", lambda rows, *_: rows)
    with pytest.raises(LeakError, match="nothing is proved: control: values after the cutoffs changed"):
        proof()


def ragged() -> pl.DataFrame:
    """What files are like: other ends and lengths, gaps, a row twice, nothing but zeros, and an infinite value."""
    whole = series().with_columns(pl.col("ds").cast(pl.Datetime("us")), pl.col("y").cast(pl.Float64))
    sine, line, noise = (whole.filter(pl.col("unique_id") == name) for name in ("sine", "line", "noise"))
    as_other = [
        sine.head(50).with_columns(unique_id=pl.lit("ended")),
        line.tail(8).with_columns(unique_id=pl.lit("young")),  # it takes part in the last cutoff alone
        noise.tail(40).with_columns(unique_id=pl.lit("zeros"), y=0.0),
        noise.with_columns(unique_id=pl.lit("wrong"), y=pl.lit(float("inf"))),
        noise.with_columns(unique_id=pl.lit("holes"), y=pl.when(pl.int_range(pl.len()) % 7 > 0).then("y")),
    ]
    return pl.concat([sine, line.filter(pl.int_range(pl.len()) % 11 != 3), noise, noise.head(1), *as_other])


def test_it_holds_for_ragged_series(
    proof: Callable[[], Proof], files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ragged().write_parquet(files[1])
    made = proof()
    assert made.leaks == ()
    assert {f.stage for f in made.findings if f.control and f.cutoff == 0} >= {"control: new series in the test"}


def as_command(files: tuple[Path, Path]) -> list[str]:
    start, sales = files
    data = ["--model", str(start), "--target.path", str(sales), "--target.freq", "MS", "--window.horizon", "4"]
    few = ["--finetune.steps", "2", "--finetune.batch_size", "8", "--finetune.strategies", '["full"]']
    return ["prove", *data, *few, "--backtest.cutoffs", "2", "--backtest.baselines", '["SeasonalNaive"]']


@pytest.mark.usefixtures("prefect_server")
def test_the_command_prints_the_table_and_ends_with_0(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "proof.json"
    assert run([*as_command(files), "--summary", str(summary)]) == 0
    shown = capsys.readouterr().out
    assert "no stage read anything past a cutoff" in shown
    assert "forecasts of SeasonalNaive" in shown
    found = Proof.model_validate_json(summary.read_text())
    logged = MlflowClient(found.run.uri).get_run(found.run.run_id)
    assert logged.data.metrics["leakage/differences"] == 0
    assert logged.data.tags["carryover.leak"] == "none"


@pytest.mark.usefixtures("prefect_server")
def test_a_leak_ends_the_command_with_76_and_the_run_reads_failed(
    files: tuple[Path, Path],
    data_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    a_baseline_fitted_past_its_cutoff(monkeypatch)
    assert run(as_command(files)) == 76
    told = capsys.readouterr()
    assert "DIFFERENT" in told.out
    assert told.err.strip().splitlines()[-1].startswith("carryover: leak: everything after test cutoff 1 was changed")
    client = MlflowClient(f"sqlite:///{data_folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("sales proof")
    (made,) = client.search_runs([experiment.experiment_id], "tags.`carryover.kind` = 'proof' and status = 'FAILED'")
    assert made.data.tags["carryover.leak"] == "forecasts of SeasonalNaive"
