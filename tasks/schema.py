"""The tables of MLflow's SQLite store: made whole or not at all, and looked at before MLflow changes them in place.

MLflow makes its tables by some seventy migrations, seconds of work that a kill can interrupt, and SQLite keeps each
step: what is left can neither be used nor migrated further. So the tables are made in a file beside, which then takes
its name.
"""

import fcntl
import logging
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import quote

from alembic.script import ScriptDirectory
from mlflow.store.db import utils
from mlflow.version import VERSION
from sqlalchemy import create_engine
from sqlalchemy.engine import URL

from rnn_model.errors import BusyError, ServiceError
from rnn_model.private import open_private

PREFIX = "sqlite:///"
WAIT_SECONDS = 300.0  # another process makes the tables: 5 s on a free machine
READ_SECONDS = 20.0  # a writer keeps the file locked for at most that long, as MLflow itself allows
SIDECARS = ("-journal", "-wal", "-shm")  # of SQLite: those of a former file would be played into the new one
OWN_ROWS = {"alembic_version", "workspaces"}  # tables that MLflow fills by itself


def database_of(uri: str) -> Path | None:
    """The file of a SQLite store; None for any other store."""
    name = uri.removeprefix(PREFIX).partition("?")[0]
    return Path(name) if uri.startswith(PREFIX) and name not in ("", ":memory:") else None


@contextmanager
def migration_lock(uri: str) -> Iterator[None]:
    """Two first starts on one SQLite file would race in its migrations and can break it: one at a time.

    Raises BusyError (75) where another process holds it for minutes.
    """
    database = database_of(uri)
    if database is None:
        yield
        return
    lock, deadline = database.with_suffix(".lock"), time.monotonic() + WAIT_SECONDS
    with os.fdopen(open_private(lock, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "a") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BusyError(
                        f"{database}: another process has been making its tables for {WAIT_SECONDS:.0f} s; end it "
                        f"(`fuser {lock}` names it), then run this again"
                    ) from None
                time.sleep(0.05)
        yield


def make_ready(uri: str, upgrades: bool = False) -> None:
    """See that a SQLite store has the tables that this MLflow expects; made where there are none, or where a kill left
    half of them and nothing else. The caller holds the lock. `upgrades`: it goes on to bring an older one up to date.

    Raises ServiceError for a store of an older or newer MLflow, sqlite3.Error for a file that cannot be read.
    """
    database = database_of(uri)
    if database is None:
        return
    _sweep(database)
    revision = ""
    if database.exists() and database.stat().st_size:
        revision, filled = _look(database)
        if revision == utils._get_latest_schema_revision():
            return
        if filled and upgrades and is_known(revision):
            return
        if filled or (revision and not is_known(revision)):
            raise outdated(uri, revision)
        logging.getLogger("carryover").warning("%s: a kill left it half made; made anew, it held no run", database)
    _make(database)


def is_known(revision: str) -> bool:
    """Whether this MLflow has a migration of that number."""
    return revision in _revisions()


def outdated(where: str, revision: str) -> ServiceError:
    """A store whose tables are not those of this MLflow: what to do depends on which is the older one."""
    if revision and not is_known(revision):
        return ServiceError(
            f"MLflow's store {where} was made by a newer MLflow (schema {revision}) than the one here, {VERSION}; "
            "install that one, or name another store with --tracking.uri"
        )
    return ServiceError(
        f"MLflow's store {where} was made by an older MLflow (schema {revision or 'before 1.0'}); copy it, then bring "
        f"it up to date with `mlflow db upgrade {where}`"
    )


@cache
def _revisions() -> frozenset[str]:
    scripts = ScriptDirectory.from_config(utils._get_alembic_config(""))
    return frozenset(script.revision for script in scripts.walk_revisions())


def _look(database: Path) -> tuple[str, bool]:
    """The schema's revision, empty where there is none yet; and whether anything is stored."""
    address = f"file:{quote(str(database.absolute()))}?mode=rw"
    with closing(sqlite3.connect(address, uri=True, timeout=READ_SECONDS)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        versions = (
            connection.execute("SELECT version_num FROM alembic_version").fetchall()
            if ("alembic_version" in tables)
            else []
        )
        return (versions[0][0] if versions else ""), any(_has_rows(connection, name) for name in tables)


def _has_rows(connection: sqlite3.Connection, table: str) -> bool:
    """Whether a table holds what MLflow did not put there by itself: its experiment 0 stands in every store."""
    if table in OWN_ROWS or table.startswith("sqlite_"):
        return False
    own = " WHERE experiment_id <> 0" if table == "experiments" else ""
    return connection.execute(f'SELECT 1 FROM "{table}"{own} LIMIT 1').fetchone() is not None


def _make(database: Path) -> None:
    """All tables in a file beside, which is then renamed: a kill leaves the old file, or none."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    staging = database.with_name(f".{database.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    engine = create_engine(URL.create("sqlite", database=str(staging)))
    try:
        utils._initialize_tables(engine)
        engine.dispose()
        with staging.open("rb") as handle:
            os.fsync(handle.fileno())
        for ending in SIDECARS:
            database.with_name(database.name + ending).unlink(missing_ok=True)
        staging.replace(database)
    finally:
        engine.dispose()
        for ending in ("", *SIDECARS):
            staging.with_name(staging.name + ending).unlink(missing_ok=True)


def _sweep(database: Path) -> None:
    """Remove what killed processes left beside; the caller holds the lock, so nobody is making any."""
    for left in database.parent.glob(f".{database.name}.*.part*"):
        left.unlink(missing_ok=True)
