"""Folders out of a store that is elsewhere: one copy, and nothing beside it."""

import tempfile
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from rnn_model.artefact import publish
from tasks import download
from tasks.archive import fetch_folder
from tasks.config import TrackingConfig, home


def test_a_fetched_folder_has_one_copy_by_content_and_leaves_nothing_else(
    store: TrackingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = publish(tmp_path / "made", lambda staging: (staging / "scores.txt").write_text("1") and None)
    client = MlflowClient(store.uri)
    run_id = client.create_run(client.create_experiment(tmp_path.name, str(tmp_path / "artifacts"))).info.run_id
    client.log_artifacts(run_id, str(made), "backtest")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(download, "is_here", lambda _: False)
    first, second = (fetch_folder(run_id, "backtest", store) for _ in range(2))
    assert first == second
    assert first.parent == home() / "backtests"
    assert (first / "scores.txt").read_text() == "1"
    assert not list((tmp_path / "temporary").iterdir())
