"""A sweep: units side by side in processes of their own, on threads and on a local Dask cluster of two workers."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import ValidationError
from tiny_pipeline import series

from flows.cli import run
from flows.options import gather_grid
from flows.runners import task_runner
from flows.sweep import sweep
from rnn_model.errors import ConfigError
from tasks.config import BacktestConfig, FinetuneConfig, RunnerConfig, WindowConfig
from tasks.series_config import TargetConfig
from tasks.sweep import Sweep

TINY: dict[str, Any] = {
    "window": WindowConfig(horizon=4),
    "finetune": FinetuneConfig(strategies=("zero-shot",)),
    "backtest": BacktestConfig(cutoffs=1, baselines=("SeasonalNaive",)),
}


@pytest.fixture(scope="module")
def files(home: Path) -> list[str]:
    """Two targets, and the name of one that is not there."""
    paths = [home / "one.parquet", home / "two.parquet", home / "gone.parquet"]
    for path in paths[:2]:
        series().write_parquet(path)
    return [str(path) for path in paths]


@pytest.fixture(scope="module")
def threaded(home: Path, files: list[str]) -> Sweep:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CARRYOVER_HOME", str(home / "data"))
        grid = {"target.path": [files[0], files[2]], "seed": [0]}
        return sweep(grid, target=TargetConfig(freq="MS"), runner=RunnerConfig(workers=2), **TINY)


@pytest.mark.usefixtures("one_home")
def test_a_unit_that_fails_stops_no_other(threaded: Sweep, files: list[str]) -> None:
    one, gone = threaded.units
    assert (one.unit, one.code, one.chosen) == (f"target.path={files[0]} seed=0", 0, "zero-shot")
    assert (gone.code, gone.run) == (65, None)
    assert "gone.parquet: no such file" in gone.error
    assert threaded.exit_code == 65
    assert all(unit.log.is_file() for unit in threaded.units)


def test_a_unit_is_a_run_in_the_shared_store_under_the_sweeps_own_server(threaded: Sweep, one_home: Path) -> None:
    from prefect.client.orchestration import get_client

    found = MlflowClient(f"sqlite:///{one_home / 'mlflow.db'}").get_run(str(threaded.units[0].run))
    assert found.info.status == "FINISHED"
    with get_client(sync_client=True) as client:  # of this process's server, which the unit's process was told of
        flow_run = client.read_flow_run(found.data.tags["prefect.flow_run_id"])  # type: ignore[arg-type]
    assert flow_run.state_name == "Completed"


@pytest.mark.timeout(900)  # workers and units each import everything; a busy machine needs minutes
def test_a_dask_cluster_of_two_workers_does_the_same_and_finds_what_is_finished(
    threaded: Sweep, files: list[str], one_home: Path
) -> None:
    runner = RunnerConfig(kind="dask", workers=2)
    done = sweep({"target.path": files[:2]}, target=TargetConfig(freq="MS"), runner=runner, **TINY)
    assert [unit.code for unit in done.units] == [0, 0]
    assert [unit.repeated for unit in done.units] == [True, False]
    assert done.units[0].run == threaded.units[0].run
    assert {unit.chosen for unit in done.units} == {"zero-shot"}


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"window.horizn": [3]}, "window.horizn"),
        ({"sed": [3]}, "sed"),
        ({"target.freq": ["MS", "fortnight"]}, "freq 'fortnight' is not known"),
    ],
)
def test_a_wrong_option_is_refused_before_any_unit_starts(
    grid: dict[str, Any], words: str, prefect_server: None, data_folder: Path
) -> None:
    with pytest.raises(ValidationError, match=words):
        sweep(grid)
    assert not (data_folder / "sweeps").exists()


def test_grid_options_are_gathered() -> None:
    line = ["--seed", "1", "--grid.target.path", '["a", "b"]', "--grid.window.horizon=[3]", "--force"]
    *rest, name, gathered = gather_grid(line)
    assert (rest, name) == (["--seed", "1", "--force"], "--grid")
    assert json.loads(gathered) == {"target.path": ["a", "b"], "window.horizon": [3]}
    with pytest.raises(ConfigError, match=r"--grid\.seed '0,1' is no list in JSON"):
        gather_grid(["--grid.seed", "0,1"])


def test_a_grid_of_a_file_and_of_options_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from flows.cli import command_class, parse
    from flows.commands import COMMANDS

    (tmp_path / "c.yaml").write_text("grid: {window.horizon: [3, 4], seed: [0]}\nseed: 2\n")
    file = tmp_path / "c.yaml"
    options = gather_grid(["--config", str(file), "--grid.seed", "[5]"])
    command = parse(command_class("sweep", COMMANDS["sweep"], file), "sweep", options)
    assert command.grid == {"window.horizon": [3, 4], "seed": [5]}  # type: ignore[attr-defined]
    assert run(["sweep"]) == 2
    assert "grid: Field required" in capsys.readouterr().err


def test_one_line_chooses_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(task_runner(RunnerConfig()), ThreadPoolTaskRunner)
    assert type(task_runner(RunnerConfig(kind="dask"))).__name__ == "DaskTaskRunner"
    monkeypatch.setitem(sys.modules, "prefect_ray", None)
    with pytest.raises(ConfigError, match=r"needs prefect_ray, .* pip install 'carryover\[ray\]'"):
        task_runner(RunnerConfig(kind="ray"))
    with pytest.raises(ValidationError, match="set kind to dask or ray"):
        RunnerConfig(address="tcp://127.0.0.1:8786")
