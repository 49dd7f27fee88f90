"""A model that was registered through a server, after the server has gone."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from batch_maker import card
from mlflow.tracking import MlflowClient

from rnn_model.checkpoint import save_model, weights_digest
from rnn_model.errors import IntegrityError, ServiceError
from rnn_model.network import build_network
from tasks.config import TrackingConfig
from tasks.forecast import pin
from tasks.server_files import DESTINATION, kept_in
from tasks.servers import Server, folder, record

Logged = Callable[[Path], str]


@pytest.fixture
def logged(client: MlflowClient, tmp_path: Path) -> Logged:
    """A registered model whose files lie in a server's folder, and which the store knows by the server's address."""

    def call(root: Path) -> str:
        experiment = client.create_experiment(tmp_path.name, artifact_location=f"mlflow-artifacts:/{tmp_path.name}")
        about = client.create_logged_model(experiment, source_run_id=client.create_run(experiment).info.run_id)
        place = root / tmp_path.name / "models" / about.model_id / "artifacts" / "artifacts" / "model"
        own = card(tuned_for=3)
        network = build_network(own.model, own.horizon, seed=1)
        save_model(network, own, place)
        client.finalize_logged_model(about.model_id, "READY")
        client.create_registered_model(tmp_path.name)
        tags = {"carryover.weights": weights_digest(network)}
        client.create_model_version(tmp_path.name, about.model_uri, model_id=about.model_id, tags=tags)
        return f"models:/{tmp_path.name}/1"

    return call


def server(store: TrackingConfig, root: Path) -> Server:
    """One that was started here and has ended."""
    command = (sys.executable, "-m", "mlflow", "server", DESTINATION, str(root))
    return Server(name="MLflow", pid=1, started=0.0, command=command, url="http://127.0.0.1:5000", store=str(store.uri))


def test_files_beside_the_store_are_read_there(store: TrackingConfig, logged: Logged) -> None:
    root = Path(str(store.uri).removeprefix("sqlite:///")).parent / "mlartifacts"
    try:
        pinned = pin(logged(root), "sales", store)
    finally:
        shutil.rmtree(root)
    assert (pinned.version, pinned.horizon) == (1, 3)
    assert pinned.folder.is_relative_to(root)  # where they lie, not a copy


def test_files_where_a_server_of_this_folder_kept_them_are_read_there(
    store: TrackingConfig, logged: Logged, tmp_path: Path
) -> None:
    record([server(store, tmp_path / "elsewhere")])
    try:
        assert pin(logged(tmp_path / "elsewhere"), "sales", store).horizon == 3
    finally:
        (folder() / "servers.json").unlink()


def test_a_file_that_is_gone_from_there_is_an_integrity_fault(
    store: TrackingConfig, logged: Logged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARRYOVER_ARTIFACTS", str(tmp_path / "elsewhere"))
    address = logged(tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "elsewhere" / tmp_path.name / "models")
    with pytest.raises(IntegrityError, match="gone from the store"):
        pin(address, "sales", store)


def test_files_of_another_machine_name_the_server_that_is_needed(
    store: TrackingConfig, logged: Logged, tmp_path: Path
) -> None:
    address = logged(tmp_path / "not looked for")
    with pytest.raises(ServiceError, match=r"kept by an MLflow server and not by this machine; start that") as it:
        pin(address, "sales", store)
    assert it.value.exit_code == 69
    record([server(store, tmp_path / "nothing here")])
    try:
        with pytest.raises(ServiceError, match=r"set MLFLOW_TRACKING_URI to http://127\.0\.0\.1:5000"):
            pin(address, "sales", store)
    finally:
        (folder() / "servers.json").unlink()


def test_a_server_of_another_name_is_named_without_its_password() -> None:
    with pytest.raises(ServiceError, match=r"kept by an MLflow server, http://mlflow\.lan:5000, ") as raised:
        kept_in("mlflow-artifacts://me:secret@mlflow.lan:5000/1/models", "sqlite:////tmp/nobody/mlflow.db")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("path", ["1/../../etc", "1/%2e%2e/%2e%2e/etc", "..", "1/models/..%2f..%2f.."])
def test_an_address_that_leads_out_of_the_folder_is_refused(path: str) -> None:
    with pytest.raises(IntegrityError, match="leads out of a server's folder"):
        kept_in(f"mlflow-artifacts:/{path}", "sqlite:////tmp/nobody/mlflow.db")
