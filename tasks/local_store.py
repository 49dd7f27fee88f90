"""A SQLite file of MLflow or Prefect, looked at without a change: whole, half made, and of which schema."""

import os
import re
import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from importlib import util
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from tasks.finding import DAMAGED, DENIED, SETTING, Finding, ok, warning, wrong

HEADER = b"SQLite format 3\0"
CHECK_SECONDS = 4.0  # for looking at every page; a large file is not looked at to its end
INSTRUCTIONS = 10_000  # of SQLite between two looks at the clock
REVISION = re.compile(r"^(revision|down_revision)\b[^=\n]*=\s*(.+)$", re.MULTILINE)
BACKUP = "put a copy of it back (docs/team.md), or move it away: the next command makes a new one"


class Kind(NamedTuple):
    """Whose file it is."""

    part: str  # of the table
    package: str
    scripts: str  # folder of the package with the migrations
    runs: str  # table that holds a row for each run
    upgrade: str  # command that migrates an older file; empty: its server does so at its start


MLFLOW = Kind("MLflow store", "mlflow", "store/db_migrations/versions", "runs", "mlflow db upgrade sqlite:///{path}")
PREFECT = Kind("Prefect store", "prefect", "server/database/_migrations/versions/sqlite", "flow_run", "")


class Content(NamedTuple):
    """What a file holds."""

    tables: int
    version: str | None  # of its schema; None: it has none
    runs: bool  # whether any run is in it
    cut: bool  # whether a migration was cut off: a table that it copies is still there
    damage: str | None  # what the check of its pages says; None: it did not come to its end


def check_store(path: Path, kind: Kind) -> Finding:
    """The finding on a file. It is opened for reading only, and never migrated."""
    part = kind.part
    if not path.exists():
        return ok(part, f"{path} is not there yet; the first command makes it")
    if not os.access(path, os.R_OK | os.W_OK):
        return wrong(part, f"{path} cannot be read and written by user {os.geteuid()}", "give it to them", DENIED)
    with path.open("rb") as file:
        head = file.read(len(HEADER))
    if not head:
        return warning(part, f"{path} is empty: its start was cut off", "delete it; the next command makes a new one")
    if head != HEADER:
        return wrong(part, f"{path} is no SQLite file", BACKUP, DAMAGED)
    try:
        content = read(path, kind)
    except sqlite3.OperationalError as error:
        return warning(part, f"{path} could not be looked at: {error}", "try again when no command runs")
    except sqlite3.DatabaseError as error:
        return wrong(part, f"{path} is damaged: {error}", BACKUP, DAMAGED)
    return judge(path, kind, content, *revisions(kind))


def read(path: Path, kind: Kind) -> Content:
    """What stands in a file. Raises sqlite3.Error."""
    deadline = time.monotonic() + CHECK_SECONDS
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=1)) as store:
        tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        version = store.execute("SELECT version_num FROM alembic_version") if "alembic_version" in tables else None
        number = version.fetchone() if version else None
        runs = kind.runs in tables and store.execute(f"SELECT 1 FROM {kind.runs} LIMIT 1").fetchone() is not None
        store.set_progress_handler(lambda: time.monotonic() > deadline, INSTRUCTIONS)
        damage = None
        with suppress(sqlite3.OperationalError):  # interrupted
            damage = str(store.execute("PRAGMA quick_check(1)").fetchone()[0])
    cut = any(name.startswith("_alembic_tmp_") for name in tables)
    return Content(len(tables), number[0] if number else None, runs, cut, damage)


def judge(path: Path, kind: Kind, content: Content, known: set[str], newest: set[str]) -> Finding:
    """The finding on what a file holds. `known`: schemas that the installed package can have; `newest`: its own."""
    part, delete = kind.part, f"delete {path}; the next command makes a new one"
    if content.damage not in (None, "ok"):
        return wrong(part, f"{path} is damaged: {content.damage}", BACKUP, DAMAGED)
    if content.cut or (content.version is None and content.tables):
        found = f"{path} is half migrated: a first start was cut off"
        if content.runs:
            return wrong(part, f"{found}, and it holds runs", BACKUP, DAMAGED)
        return warning(part, f"{found}; no run is in it", delete)
    if content.version is None:
        return warning(part, f"{path} holds no table: its start was cut off", delete)
    if known and content.version not in known:
        found = f"{path} has schema {content.version}, which {kind.package} here does not know: a newer one made it"
        return wrong(part, found, f"pip install the {kind.package} that made it, or put a copy back", DAMAGED)
    if newest and content.version not in newest and kind.upgrade:
        found = f"{path} has schema {content.version}, {kind.package} here expects {', '.join(sorted(newest))}"
        if not content.runs:
            return warning(part, f"{found}; no run is in it", delete)
        return wrong(part, found, f"copy it, then {kind.upgrade.format(path=path)}", SETTING)
    whole = "whole" if content.damage else f"not looked at to its end in {CHECK_SECONDS:g} s"
    late = "" if content.version in newest or not newest else ", which the next start migrates"
    return ok(part, f"{path} is {whole}, schema {content.version}{late}")


def revisions(kind: Kind) -> tuple[set[str], set[str]]:
    """All schemas of the installed package, and the newest; read from its files, as importing it may fail."""
    try:
        package = util.find_spec(kind.package)
    except (ImportError, ValueError):
        return set(), set()
    places = list(package.submodule_search_locations or ()) if package else []
    scripts = [path for place in places for path in sorted((Path(place) / kind.scripts).glob("*.py"))]
    return chain(path.read_text(errors="replace") for path in scripts)


def chain(scripts: Iterable[str]) -> tuple[set[str], set[str]]:
    """Alembic's scripts -> all revisions, and those that no other one follows."""
    all_, followed = set[str](), set[str]()
    for script in scripts:
        for name, value in REVISION.findall(script):
            (all_ if name == "revision" else followed).update(re.findall(r"[\"']([0-9A-Za-z_]+)[\"']", value))
    return all_, all_ - followed
