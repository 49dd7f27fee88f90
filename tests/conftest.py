"""What every test shares: a data folder of its own, and one embedded Prefect server for those that run flows."""

import os
import sys

for name, value in {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "ERROR",
}.items():
    os.environ.setdefault(name, value)
os.environ.pop("MLFLOW_TRACKING_URI", None)
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a core for each of the workers

from collections.abc import Iterator
from pathlib import Path

import pytest

IMPORT_PATH = list(sys.path)  # before any model brought its own code along


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything a test writes goes to its own temporary folder."""
    folder = tmp_path / "data"
    monkeypatch.setenv("CARRYOVER_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def same_surroundings() -> Iterator[None]:
    """What a loaded model and MLflow leave in a process is found by no later test, and by no process that one starts:
    code on the import path, a store as the declared one."""
    declared = os.environ.get("MLFLOW_TRACKING_URI")
    sys.path[:] = IMPORT_PATH  # a fixture of the session may have loaded a model
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.environ |= {"MLFLOW_TRACKING_URI": declared} if declared is not None else {}


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """One embedded server for the whole session."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        prefect_test_harness(server_startup_timeout=180),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny matrices are faster, and sums always in one order, on one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
