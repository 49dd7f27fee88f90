"""A store that a kill left half made is made anew, one that holds runs is not touched, and two first starts wait."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from mlflow.store.db import utils
from mlflow.store.tracking.dbmodels.initial_models import Base
from sqlalchemy import create_engine, text

from rnn_model.errors import CarryoverError, IntegrityError, ServiceError
from tasks.config import PROJECT, TrackingConfig
from tasks.connection import connected
from tasks.schema import migration_lock

CONNECT = """
import sys
from tasks.config import TrackingConfig
from tasks.connection import connected
print("imported", flush=True)
with connected(TrackingConfig(uri=sys.argv[1])) as client:
    client.create_experiment("mine")
"""
SERIES = [script.revision for script in ScriptDirectory.from_config(utils._get_alembic_config("")).walk_revisions()]
SERIES.reverse()


def uri_of(database: Path) -> str:
    return f"sqlite:///{database}"


def half_made(database: Path, revision: str, unstamped: bool = False) -> None:
    """The tables up to a migration; `unstamped`: killed between that one's tables and its note."""
    engine = create_engine(uri_of(database))
    Base.metadata.create_all(engine)
    if revision:
        config = utils._get_alembic_config(uri_of(database))
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            if unstamped:
                before = SERIES[SERIES.index(revision) - 1]
                connection.execute(text(f"UPDATE alembic_version SET version_num = '{before}'"))
    engine.dispose()


def works(database: Path) -> bool:
    """Whether a run can be made and found there."""
    with connected(TrackingConfig(uri=uri_of(database))) as client:
        run = client.create_run(client.create_experiment("works"))
        return client.get_run(run.info.run_id).info.run_id == run.info.run_id


@pytest.mark.parametrize(("at", "unstamped"), [(None, False), (1, True), (20, False), (45, True), (-1, True)])
def test_a_half_made_store_without_runs_is_made_anew(tmp_path: Path, at: int | None, unstamped: bool) -> None:
    database = tmp_path / "mlflow.db"
    half_made(database, "" if at is None else SERIES[at], unstamped)
    assert works(database)


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    assert works(tmp_path / "mlflow.db")


def test_what_a_killed_process_left_beside_does_no_harm_and_goes(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    half_made(database, SERIES[3])
    (tmp_path / ".mlflow.db.1.abcdef01.part").write_bytes(b"half")
    (tmp_path / "mlflow.db-wal").write_bytes(b"of a file that is no more")
    assert works(database)
    assert not list(tmp_path.glob(".*"))


def test_an_older_store_that_holds_runs_is_left_as_it_is_with_the_remedy(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    half_made(database, SERIES[-2])
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO experiments (experiment_id, name, lifecycle_stage) VALUES (1, 'e', 'active')")
        connection.execute("INSERT INTO runs (run_uuid, name, experiment_id) VALUES ('a', 'n', 1)")
    before = database.read_bytes()
    with pytest.raises(ServiceError, match=f"older MLflow.*`mlflow db upgrade {uri_of(database)}`"):
        works(database)
    assert database.read_bytes() == before


@pytest.mark.parametrize("filled", [True, False])
def test_a_store_of_a_newer_mlflow_is_left_as_it_is(tmp_path: Path, filled: bool) -> None:
    database = tmp_path / "mlflow.db"
    if filled:
        assert works(database)
    else:
        half_made(database, SERIES[0])
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    before = database.read_bytes()
    with pytest.raises(ServiceError, match="newer MLflow \\(schema ffffffffffff\\) than the one here"):
        works(database)
    assert database.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    database.write_text("a letter to a friend, longer than the head of a database is: " * 20)
    before = database.read_bytes()
    with pytest.raises(IntegrityError, match="no SQLite database; put a backup in its place"):
        works(database)
    assert database.read_bytes() == before


def test_a_first_start_waits_for_another_one(tmp_path: Path) -> None:
    uri = uri_of(tmp_path / "mlflow.db")
    with migration_lock(uri):
        process = start(uri)
        time.sleep(1.0)
        assert process.poll() is None
        assert not (tmp_path / "mlflow.db").exists()
    assert process.wait(120) == 0


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.1, 0.4, 0.9, 1.6, 2.5])
def test_a_kill_in_a_first_start_leaves_what_the_next_start_uses(tmp_path: Path, seconds: float) -> None:
    database = tmp_path / "mlflow.db"
    process = start(uri_of(database))
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    try:
        assert works(database)
    except CarryoverError as error:
        pytest.fail(str(error))
    assert not list(tmp_path.glob(".*"))


def start(uri: str) -> "subprocess.Popen[bytes]":
    """A process that has all its imports and begins to connect."""
    command = [sys.executable, "-c", CONNECT, uri]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"imported\n"
    return process
