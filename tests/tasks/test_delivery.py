"""A store that goes away loses nothing: what can wait is kept and sent once, in order; what cannot, stops in time."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import matplotlib.pyplot as plt
import mlflow
import pytest
from door import Door, server_behind
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from stub_server import Answer, error, healthy, stub_server

from flows import cli
from rnn_model.errors import IntegrityError, ServiceError
from tasks import delivery, spool, tracking
from tasks.config import TrackingConfig
from tasks.connection import SETTINGS, connected
from tasks.delivery import deliver, kept_words
from tasks.handles import Run
from tasks.spool import Entry
from tasks.sync import send_all
from tasks.tracking import child, log_figure, log_folder, log_metrics, log_params, log_text, preface, set_tags, tracked


@pytest.fixture(scope="module")
def server(store: TrackingConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """One real server for all tests here."""
    with server_behind(tmp_path_factory.mktemp("server"), Path(str(store.uri).removeprefix("sqlite:///"))) as door:
        yield door


@pytest.fixture
def door(server: Door) -> Iterator[Door]:
    """Its door, open before and after each test."""
    yield server
    server.shut()
    server.open()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Attempts, pauses and waits that fit a test; what a former one knew is forgotten."""
    short = {"MAX_RETRIES": "1", "BACKOFF_FACTOR": "0", "TIMEOUT": "2"}
    for name, value in (SETTINGS | {f"MLFLOW_HTTP_REQUEST_{name}": value for name, value in short.items()}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(delivery, "RETURN_SECONDS", 3.0)
    monkeypatch.setattr(tracking, "SETTLE_SECONDS", 1.0)
    monkeypatch.setattr(delivery, "PROBE_SECONDS", 0.2)
    yield
    for known in (delivery._states, delivery._away, delivery._given_up):
        known.clear()


@pytest.fixture
def config(door: Door) -> TrackingConfig:
    return TrackingConfig(uri=door.uri)


def history(client: MlflowClient, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run_id, key)]


def test_a_server_that_comes_back_in_mid_run_has_every_point_once_and_in_order(
    door: Door, config: TrackingConfig
) -> None:
    with tracked(config, "back", "night", {"seed": 1}) as run:
        log_metrics(run, {"loss": 0.5}, 0)
        door.shut()
        for step in range(1, 6):
            log_metrics(run, {"loss": 0.5 - step / 16}, step)
        log_text(run, "words", "note.md")
        assert spool.is_kept(run.run_id)
        door.open()
        time.sleep(0.3)
        log_metrics(run, {"loss": 0.125}, 6)
        assert not spool.is_kept(run.run_id)
        log_metrics(run, {"loss": 0.0625}, 7)
    client = MlflowClient(door.uri)
    values = [0.5, *(0.5 - step / 16 for step in range(1, 6)), 0.125, 0.0625]
    assert history(client, run.run_id, "loss") == list(enumerate(values))
    assert client.get_run(run.run_id).info.status == "FINISHED"
    assert {file.path for file in client.list_artifacts(run.run_id)} == {"note.md", "config.json"}
    assert kept_words() == ""


@pytest.mark.slow
def test_a_server_that_stays_away_leaves_everything_to_sync_and_the_run_ends_in_time(
    door: Door, config: TrackingConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], data_folder: Path
) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "table.csv").write_text("a,b\n1,2\n")
    begun = time.monotonic()
    with tracked(config, "away", "night", {"seed": 1}) as run:
        set_tags(run, {"mlflow.note.content": "second"})
        door.shut()
        log_params(run, {"late": {"horizon": 8}})
        log_metrics(run, {"loss": 0.25, "bad": float("nan")}, 3)
        preface(run, "first")
        log_figure(run, plt.figure(), "loss.png")
        log_folder(run, tmp_path / "made", "tables")
    assert time.monotonic() - begun < 30
    words = kept_words()
    assert words.startswith(f"MLflow at {door.uri} was away: 7 calls of 1 runs are kept in {data_folder / 'spool'}")
    assert words.endswith("carryover sync sends them")
    assert stat.S_IMODE((data_folder / "spool").stat().st_mode) == 0o700

    assert cli.run(["sync", "--tracking.uri", door.uri]) == 69
    assert f"(run {run.run_id}, {door.uri}): 0 calls sent, 7 left: " in capsys.readouterr().out
    door.open()
    assert cli.run(["sync", "--tracking.uri", door.uri]) == 0
    assert f"(run {run.run_id}, {door.uri}): 7 calls sent\n" in capsys.readouterr().out
    assert cli.run(["sync", "--tracking.uri", door.uri]) == 0
    assert capsys.readouterr().out == "nothing waits: MLflow has all that was logged\n"
    client = MlflowClient(door.uri)
    stored = client.get_run(run.run_id)
    assert (stored.info.status, stored.data.params["late.horizon"]) == ("FINISHED", "8")
    assert stored.data.tags["mlflow.note.content"] == "first\n\nsecond"
    assert history(client, run.run_id, "loss") == [(3, 0.25)]
    assert {file.path for file in client.list_artifacts(run.run_id)} == {"config.json", "figures", "tables"}
    assert [file.path for file in client.list_artifacts(run.run_id, "tables")] == ["tables/table.csv"]
    assert not (data_folder / "spool").exists()


@pytest.mark.slow
def test_a_part_of_a_run_waits_for_a_server_that_is_being_restarted(door: Door, config: TrackingConfig) -> None:
    with tracked(config, "restart", "night", {}) as run:
        door.shut()
        threading.Timer(1.0, door.open).start()
        with child(run, "full", "candidate") as part:
            log_metrics(part, {"loss": 1.0})
    stored = MlflowClient(door.uri).get_run(part.run_id)
    assert (stored.info.status, stored.data.tags["mlflow.parentRunId"]) == ("FINISHED", run.run_id)


def test_a_part_that_cannot_be_opened_ends_the_run_truthfully_and_in_time(door: Door, config: TrackingConfig) -> None:
    begun = time.monotonic()
    with pytest.raises(ServiceError, match="nothing listens there"):
        lose_server(door, config)
    (run,) = spool.headers()
    assert time.monotonic() - begun < 3.0 + 30
    assert kept_words()
    door.open()
    assert send_all(config).exit_code == 0
    stored = MlflowClient(door.uri).get_run(run.run_id)
    assert stored.info.status == "FAILED"
    assert stored.data.tags["carryover.error"].startswith("ServiceError: MLflow at ")
    assert stored.data.metrics == {"loss": 1.0}


@pytest.mark.slow
def test_a_kill_between_the_sending_and_the_dropping_sends_again_what_changes_nothing(
    door: Door, config: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tracked(config, "killed sync", "night", {}) as run:
        door.shut()
        for step in range(3):
            log_metrics(run, {"loss": float(step)}, step)
    door.open()
    ended()
    with monkeypatch.context() as patch:
        patch.setattr(spool, "drop", lambda *_: os._exit(9))
        if not (pid := os.fork()):
            send_all(config)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    sent = send_all(config)
    assert [(line.sent, line.left) for line in sent.runs] == [(4, 0)]
    assert history(MlflowClient(door.uri), run.run_id, "loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]


@pytest.mark.slow
def test_two_that_sync_at_once_send_every_point_once(door: Door, config: TrackingConfig, data_folder: Path) -> None:
    with tracked(config, "twice", "night", {}) as run:
        door.shut()
        for step in range(8):
            log_metrics(run, {"loss": float(step)}, step)
    door.open()
    command = [sys.executable, "-m", "flows.cli", "sync", "--tracking.uri", door.uri]
    ended()
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    codes = sorted([process.wait(180) for process in both])
    assert codes in ([0, 0], [0, 75])
    assert history(MlflowClient(door.uri), run.run_id, "loss") == [(step, float(step)) for step in range(8)]
    assert not (data_folder / "spool").exists()


@pytest.mark.slow
def test_a_run_whose_command_still_runs_is_left_to_it(door: Door, config: TrackingConfig) -> None:
    with tracked(config, "alive", "night", {}) as run:
        door.shut()
        log_metrics(run, {"loss": 1.0})
    door.open()
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        born = spool.psutil.Process(other.pid).create_time()
        (header,) = spool.headers()
        spool.note(header.model_copy(update={"pid": other.pid, "born": born}))
        (left,) = send_all(config).runs
        assert (left.left, left.code) == (2, 75)
        assert "its command still runs" in left.line
    finally:
        other.kill()
        other.wait()
    assert send_all(config).exit_code == 0


def test_a_damaged_file_of_the_spool_is_told_and_stays(door: Door, config: TrackingConfig, tmp_path: Path) -> None:
    with tracked(config, "damaged", "night", {}) as run:
        door.shut()
        log_text(run, "words", "note.md")
    door.open()
    (kept,) = spool.place(run.run_id).glob("*.files")
    (kept / "content" / "note.md").write_text("other words")
    (left,) = send_all(config).runs
    assert (left.left, left.code) == (2, IntegrityError.exit_code)
    assert "note.md changed since it was written" in left.error


def test_the_spool_holds_no_secret(door: Door, monkeypatch: pytest.MonkeyPatch, data_folder: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", door.uri.replace("//", "//me:canary@"))
    with tracked(TrackingConfig(), "secret", "night", {}) as run:
        door.shut()
        log_metrics(run, {"loss": 1.0})
    files = [path for path in (data_folder / "spool").rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"canary" in path.read_bytes()]
    assert "canary" not in kept_words()
    door.open()
    assert send_all(TrackingConfig()).exit_code == 0


def test_a_run_that_the_store_has_lost_is_made_anew_with_all_that_is_known(
    tmp_path: Path, store: TrackingConfig
) -> None:
    """As after the store was put back to an older state: the run is gone from every table."""
    database = tmp_path / "mlflow.db"
    database.write_bytes(Path(str(store.uri).removeprefix("sqlite:///")).read_bytes())
    config = TrackingConfig(uri=f"sqlite:///{database}")
    with tracked(config, "lost", "night", {"seed": 7}) as run:
        with child(run, "full", "candidate") as part:
            log_metrics(part, {"loss": 2.0}, 1)
            lose(database, part.run_id, run.run_id)
            log_metrics(part, {"loss": 1.0}, 2)
        log_metrics(run, {"score": 3.0})
    assert kept_words() == ""
    with connected(config) as client:
        found = {each.info.run_name: each for each in client.search_runs([run.experiment_id])}
        assert set(found) == {"full", run.name}
        assert {each.info.status for each in found.values()} == {"FINISHED"}
        assert history(client, found["full"].info.run_id, "loss") == [(1, 2.0), (2, 1.0)]
        assert found[run.name].data.params == {"seed": "7"}
        assert found[run.name].data.tags["carryover.restores"] == run.run_id


def ended() -> None:
    """Let the command that kept something be over: no process has that number."""
    (header,) = spool.headers()
    spool.note(header.model_copy(update={"pid": 2**22 + 1}))


def lose_server(door: Door, config: TrackingConfig) -> None:
    with tracked(config, "gone", "night", {}) as run:
        door.shut()
        log_metrics(run, {"loss": 1.0})
        with child(run, "full", "candidate"):
            pass


def lose(database: Path, *run_ids: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        for run_id in run_ids:
            for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
                connection.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (run_id,))


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        (500, "<html>oops</html>"),
        (429, "slow down"),
        (200, "<!DOCTYPE html><html>sign in</html>"),
        (200, '{"run": {'),
        (401, "who?"),
        error(500, "INTERNAL_ERROR", "(sqlite3.OperationalError) database or disk is full"),
        None,
    ],
)
def test_a_point_that_a_server_does_not_take_is_kept_within_seconds(answer: Answer | None) -> None:
    with stub_server(healthy(answer)) as uri:
        mlflow.set_tracking_uri(uri)
        run = Run(uri=uri, experiment_id="1", run_id="a" * 32, name="night")
        begun = time.monotonic()
        for step in range(3):
            log_metrics(run, {"loss": 1.0}, step)
        assert time.monotonic() - begun < 30
    assert [entry.content["points"][0][3] for _, entry, _ in spool.waiting(run.run_id)] == [0, 1, 2]


def test_a_call_that_is_wrong_in_itself_is_not_kept(store: TrackingConfig) -> None:
    with tracked(store, "wrong", "night", {"seed": 1}) as run:
        with pytest.raises(MlflowException):
            deliver(run, Entry(kind="params", content={"seed": "2"}))
        assert not spool.is_kept(run.run_id)


def test_a_store_that_another_process_writes_to_keeps_nothing_from_running(
    store: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object, **__: object) -> None:
        raise MlflowException("(sqlite3.OperationalError) database is locked")

    with tracked(store, "locked", "night", {}) as run:
        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, "log_batch", locked)
            log_metrics(run, {"loss": 1.0}, 1)
        time.sleep(0.3)
        log_metrics(run, {"loss": 2.0}, 2)
        assert not spool.is_kept(run.run_id)
    with connected(store) as client:
        assert history(client, run.run_id, "loss") == [(1, 1.0), (2, 2.0)]


def test_the_last_line_of_a_command_names_what_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "run", lambda _: 0)
    spool.keep(
        delivery.state_of(Run(uri="http://h", experiment_id="1", run_id="b" * 32, name="n")).header,
        Entry(kind="metrics", content={"points": [("loss", 1.0, 1, 1)]}),
        None,
        [],
    )
    with pytest.raises(SystemExit):
        cli.main(["run"])
    assert capsys.readouterr().err.splitlines()[-1].endswith("carryover sync sends them")
