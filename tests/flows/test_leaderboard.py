"""The whole chain on two tiny data sets, side by side."""

import json
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from tiny_pipeline import BASELINES, CANDIDATES, FINETUNE, HORIZON, series

from flows.leaderboard import leaderboard
from tasks.config import BacktestConfig
from tasks.handles import Outcome


@pytest.mark.usefixtures("one_home")
def test_every_model_stands_on_every_set(outcome: Outcome, tmp_path: Path) -> None:
    index = {name: {"freq": "MS", "season": 12, "horizon": HORIZON} for name in ("one", "two")}
    (tmp_path / "datasets.json").write_text(json.dumps(index))
    series().write_parquet(tmp_path / "one.parquet")
    series(shift_after=30).write_parquet(tmp_path / "two.parquet")
    start = next(c.model.folder for c in outcome.selection.contenders if c.model.strategy == "zero-shot").parent
    pretrained = next(path for path in start.glob("pretrain-*") if not path.suffix)
    board = leaderboard(
        folder=tmp_path,
        model=str(pretrained),
        finetune=FINETUNE,
        backtest=BacktestConfig(cutoffs=1),
    )
    assert set(board.scores) == set(board.sets) == {"one", "two"}
    for name, rows in board.scores.items():
        assert set(rows) == CANDIDATES | BASELINES | {"chosen"}
        table = board.sets[name].evaluation.table
        assert rows["chosen"]["MASE"] == table[board.sets[name].selection.chosen]["MASE"]
    assert set(board.overall) == CANDIDATES | BASELINES | {"chosen"}
    metrics = MlflowClient(board.run.uri).get_run(board.run.run_id).data.metrics
    assert metrics["zero-shot/MASE"] == pytest.approx(board.overall["zero-shot"]["MASE"])
    assert metrics["SeasonalNaive/WQL"] == pytest.approx(1)
