"""What killed processes left open in MLflow: runs that read RUNNING, logged models that read PENDING."""

import os
import socket

from mlflow.entities import Run as StoredRun
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from tasks.processes import is_gone

NEWEST = 100  # models of an experiment that are looked at: one that was left open is among them at the next start


def origin() -> dict[str, str]:
    """Tags that say which process a run is of."""
    return {"carryover.host": socket.gethostname(), "carryover.pid": str(os.getpid())}


def close_abandoned(client: MlflowClient, experiment_id: str) -> int:
    """Runs of this machine whose process is gone become KILLED, and models that such a run was logging FAILED.

    Returns how many of both there were.
    """
    closed = 0
    query = f"attributes.status = 'RUNNING' and tags.`carryover.host` = '{socket.gethostname()}'"
    for run in client.search_runs([experiment_id], query):
        if _is_gone(run):
            client.set_terminated(run.info.run_id, "KILLED")
            closed += 1
    for model in client.search_logged_models([experiment_id], max_results=NEWEST):  # it cannot search by their status
        if str(model.status) == "PENDING" and _is_left(client, model.source_run_id):
            client.finalize_logged_model(model.model_id, "FAILED")
            closed += 1
    return closed


def _is_left(client: MlflowClient, run_id: str | None) -> bool:
    """Whether the process of a run is gone; only this machine's own are known."""
    try:
        run = client.get_run(run_id) if run_id else None
    except MlflowException:  # deleted for good meanwhile
        return False
    return run is not None and run.data.tags.get("carryover.host") == socket.gethostname() and _is_gone(run)


def _is_gone(run: StoredRun) -> bool:
    """Whether a run's process is no more."""
    return is_gone(int(run.data.tags.get("carryover.pid", os.getpid())), run.info.start_time / 1000)
