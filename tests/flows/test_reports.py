"""What a run leaves for a person to read: one page on disk and in MLflow, and words on the run's own page."""

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from flows.show import show_outcome
from tasks.handles import Outcome
from tasks.report import PAGE, report_path
from tasks.series_config import TargetConfig

pytestmark = pytest.mark.usefixtures("one_home")


def test_the_page_in_mlflow_is_the_one_on_disk(outcome: Outcome) -> None:
    client = MlflowClient(outcome.run.uri)
    assert PAGE in {file.path for file in client.list_artifacts(outcome.run.run_id)}
    stored = mlflow.artifacts.load_text(f"{client.get_run(outcome.run.run_id).info.artifact_uri}/{PAGE}")
    assert stored == report_path(outcome.run).read_text()


def test_the_page_names_every_model_and_the_fingerprints(outcome: Outcome) -> None:
    assert outcome.evaluation is not None
    text = report_path(outcome.run).read_text()
    for words in (*outcome.evaluation.table, outcome.data, outcome.evaluation.fingerprint, outcome.model.weights):
        assert words in text


def test_the_runs_description_begins_with_the_decision_and_leads_to_the_page(outcome: Outcome) -> None:
    assert outcome.selection is not None
    note = MlflowClient(outcome.run.uri).get_run(outcome.run.run_id).data.tags["mlflow.note.content"]
    assert outcome.decision is not None
    chosen = f"Chosen on the validation windows: {outcome.selection.reason}"
    assert note.startswith(f"**The gate:** {outcome.decision.sentence}\n\n{chosen}")
    assert f"runs/{outcome.run.run_id}/artifacts/{PAGE})" in note
    assert "| model | MASE |" in note


def test_a_command_ends_with_the_place_of_the_page(outcome: Outcome, capsys: pytest.CaptureFixture[str]) -> None:
    show_outcome(outcome, TargetConfig().resolved(), None)
    assert f"Read the report:    {report_path(outcome.run)}\n" in capsys.readouterr().out
