"""Every known cause of a refusal has its own words, remedy and exit code, within seconds and without a secret."""

import os
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from stub_server import Answer, error, healthy, stub_server

from flows import cli
from rnn_model.errors import CarryoverError, ServiceError
from tasks.archive import fetch_folder
from tasks.config import PROJECT, TrackingConfig
from tasks.connection import connected
from tasks.handles import Run
from tasks.reasons import is_away, reason
from tasks.tracking import fetch_model, tracked

PAGE = "<!DOCTYPE html><html><body>Sign in, canary</body></html>"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One attempt of two seconds at each call."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")


@pytest.fixture
def parent(client: MlflowClient, store: TrackingConfig, tmp_path: Path) -> Run:
    """A run in an experiment of its own."""
    experiment = client.create_experiment(tmp_path.name)
    run = client.create_run(experiment)
    return Run(uri=str(store.uri), experiment_id=experiment, run_id=run.info.run_id, name="night")


def refusal(uri: str, monkeypatch: pytest.MonkeyPatch) -> CarryoverError:
    """What is said when this store is to be reached; it may hold credentials."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    begun = time.monotonic()
    with pytest.raises(CarryoverError) as raised, connected(TrackingConfig()):
        pass
    assert time.monotonic() - begun < 15
    assert "\n" not in str(raised.value)
    assert "canary" not in str(raised.value)
    assert uri.rpartition("@")[2].split("?")[0] in str(raised.value)
    return raised.value


def told(raised: CarryoverError, code: int, *words: str) -> None:
    assert raised.exit_code == code, str(raised)
    for word in words:
        assert word in str(raised)


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ((401, "You are not authenticated"), 77, ("(401)", "MLFLOW_TRACKING_USERNAME")),
        (error(401, "UNAUTHENTICATED", "canary"), 77, ("(401)", "MLFLOW_TRACKING_PASSWORD")),
        ((403, "Permission denied"), 77, ("(403)", "ask its keeper")),
        (error(403, "PERMISSION_DENIED", "canary"), 77, ("(403)", "another user")),
        ((403, "Invalid Host header - possible DNS rebinding attack detected"), 77, ("--allowed-hosts",)),
        ((404, "<html>Not Found</html>"), 69, ("not as MLflow does (404)", "correct the address")),
        ((200, PAGE), 69, ("no answer of MLflow", "correct the address")),
        ((200, '{"experiments": [{"experiment_id"'), 69, ("no answer of MLflow",)),
        ((429, "slow down"), 69, ("(429)", "try again later")),
        ((500, "<html>canary</html>"), 69, ("failed (500)", "see its log")),
        ((503, "starting"), 69, ("failed (503)",)),
        (error(400, "BAD_REQUEST", "(sqlite3.OperationalError) database or disk is full [SQL: canary]"), 73, ("free",)),
        (None, 69, ("does not answer in time",)),
    ],
)
def test_what_a_server_answers_is_told_by_its_cause(
    monkeypatch: pytest.MonkeyPatch, answer: Answer | None, code: int, words: tuple[str, ...]
) -> None:
    with stub_server(healthy(answer)) as uri:
        told(refusal(uri.replace("//", "//me:canary@"), monkeypatch), code, *words)


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ((404, PAGE), 69, ("not as MLflow does (404)",)),
        ((401, ""), 77, ("(401)",)),
        ((502, PAGE), 69, ("failed (502)",)),
        (None, 69, ("does not answer in time",)),
    ],
)
def test_so_is_what_it_says_of_its_health(
    monkeypatch: pytest.MonkeyPatch, answer: Answer | None, code: int, words: tuple[str, ...]
) -> None:
    with stub_server(lambda *_: answer) as uri:
        told(refusal(uri, monkeypatch), code, *words)


def test_nothing_listens_the_name_leads_nowhere_and_it_speaks_no_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    told(refusal(f"http://me:canary@127.0.0.1:{port}", monkeypatch), 69, "nothing listens there", "start it")
    told(refusal("http://no-such-host.invalid:5000", monkeypatch), 69, "whose name leads nowhere")
    with stub_server(healthy((200, "{}"))) as uri:
        told(refusal(uri.replace("http://", "https://"), monkeypatch), 69, "speaks no TLS; write http://")


@pytest.mark.parametrize("uri", ["ftp://host/store", "wrong://host", "file:///tmp/no-such-folder-of-runs"])
def test_an_address_of_no_store_is_a_wrong_request(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    told(refusal(uri, monkeypatch), 2, "is no address of a store", "sqlite:///PATH")


def test_a_store_that_another_process_writes_to_is_busy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tasks.schema.READ_SECONDS", 0.2)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with connected(TrackingConfig(uri=uri)):
        pass
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        told(refusal(uri, monkeypatch), 75, "locked by another process", "wait")


def test_a_damaged_store_is_told_from_one_that_is_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    uri = f"sqlite:///{database}"
    with connected(TrackingConfig(uri=uri)):
        pass
    whole = database.read_bytes()
    database.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))
    told(refusal(uri, monkeypatch), 76, "damaged", "put a backup in its place")
    database.write_bytes(b"no database" * 1000)
    told(refusal(uri, monkeypatch), 76, "no SQLite database")


@pytest.mark.parametrize(
    ("name", "code"),
    [("database or disk is full", 73), ("attempt to write a readonly database", 77), ("disk I/O error", 73)],
)
def test_what_sqlite_says_in_mid_run_is_told_by_its_cause(name: str, code: int) -> None:
    try:
        try:
            raise sqlite3.OperationalError(name)
        except sqlite3.OperationalError as inner:
            raise MlflowException(f"(sqlite3.OperationalError) {name} [SQL: INSERT canary]") from inner
    except MlflowException as raised:
        told(found := reason(raised, "sqlite:////data/mlflow.db"), code, "sqlite:////data/mlflow.db")
    assert "canary" not in str(found)
    assert "SQL:" not in str(found)


def test_a_small_disk_is_told_as_a_disk_without_room(tmp_path: Path) -> None:
    """A limit on the size of a file stands for it; SQLite reports a full disk the same way."""
    script = (
        "import resource, signal, sys\n"
        "from tasks.config import TrackingConfig\nfrom tasks.connection import connected\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "from rnn_model.errors import CarryoverError\n"
        "try:\n    connected(TrackingConfig(uri=sys.argv[1])).__enter__()\n"
        "except CarryoverError as error:\n    print(error); sys.exit(error.exit_code)\n"
    )
    command = [sys.executable, "-c", script, f"sqlite:///{tmp_path / 'mlflow.db'}"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 73, done.stdout + done.stderr[-2000:]
    assert len(done.stdout.splitlines()) == 1
    assert "SQL" not in done.stdout.replace("sqlite", "").replace("SQLite", "")
    assert not list(tmp_path.glob("*.db")) + list(tmp_path.glob(".*"))


@pytest.mark.usefixtures("prefect_server")
def test_a_deleted_experiment_is_named_with_what_restores_it(store: TrackingConfig) -> None:
    client = MlflowClient(store.uri)
    number = client.create_experiment("thrown away")
    client.delete_experiment(number)
    with pytest.raises(CarryoverError) as raised, tracked(store, "thrown away", "night", {}):
        pass
    told(raised.value, 2, "'thrown away' was deleted", f"mlflow experiments restore --experiment-id {number}")


def test_a_connection_error_of_the_client_library_is_told_as_one() -> None:
    raised = requests.ConnectionError("[Errno 111] Connection refused")
    told(reason(raised, "http://127.0.0.1:9"), 69, "nothing listens there")


def test_what_may_pass_is_told_from_a_request_that_is_wrong() -> None:
    assert is_away(MlflowException("API request to http://h failed with exception Connection refused"))
    assert is_away(requests.Timeout("read timed out"))
    assert not is_away(MlflowException.invalid_parameter_value("param a was 1, is 2"))
    assert not is_away(MlflowException.invalid_parameter_value("The run 0 must be in the 'active' state."))


def test_a_server_that_goes_away_while_files_are_fetched_is_no_damage(
    parent: Run, store: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise requests.ConnectionError("HTTPConnectionPool: [Errno 111] Connection refused")

    monkeypatch.setattr("mlflow.artifacts.download_artifacts", away)
    with pytest.raises(ServiceError, match="nothing listens there"):
        fetch_folder(parent.run_id, "backtest", store)
    with pytest.raises(ServiceError, match="nothing listens there"):
        fetch_model(parent.run_id, store)


def test_a_lost_connection_is_no_place_to_write(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(*_: object) -> None:
        raise requests.ConnectionError("[Errno 111] Connection refused")

    monkeypatch.setattr(cli, "execute", away)
    assert cli.run(["run"]) == 69
    assert "does not answer, nothing listens there" in capsys.readouterr().err
