"""The probe of a SQLite file: whole, empty, cut, half migrated, older, newer; and never changed."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tasks import local_store
from tasks.finding import DAMAGED, SETTING, Finding
from tasks.local_store import MLFLOW, PREFECT, Kind, chain, check_store, revisions

SCRIPTS = [
    'revision = "a1"\ndown_revision = None\n',
    "revision: str = 'b2'\ndown_revision: str | None = 'a1'\n",
    'revision = "c3"\ndown_revision = ("b2", "a1")\n',
]


@pytest.fixture(autouse=True)
def _schemas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_store, "revisions", lambda _: chain(SCRIPTS))


def made(path: Path, *statements: str, version: str | None = "c3") -> Path:
    with closing(sqlite3.connect(path)) as store:
        store.execute("CREATE TABLE runs (run_uuid TEXT)")
        if version is not None:
            store.execute("CREATE TABLE alembic_version (version_num TEXT)")
            store.execute(f"INSERT INTO alembic_version VALUES ('{version}')")
        for statement in statements:
            store.execute(statement)
        store.commit()
    return path


def found(path: Path, kind: Kind = MLFLOW) -> Finding:
    before = path.read_bytes() if path.exists() else None
    finding = check_store(path, kind)
    assert (path.read_bytes() if path.exists() else None) == before
    assert [other for other in path.parent.iterdir() if other != path] == []
    return finding


RUN = "INSERT INTO runs VALUES ('1')"
HALF = "CREATE TABLE _alembic_tmp_runs (run_uuid TEXT)"


def test_a_whole_file_of_the_newest_schema_is_as_it_should_be(tmp_path: Path) -> None:
    assert found(tmp_path / "none.db").state == "ok"
    path = made(tmp_path / "mlflow.db", RUN)
    assert found(path).found == f"{path} is whole, schema c3"


@pytest.mark.parametrize(
    ("statements", "version", "state", "words"),
    [
        ((), "b2", "warning", "no run is in it"),
        ((RUN,), "b2", "wrong", "has schema b2, mlflow here expects c3"),
        ((RUN,), "f9", "wrong", "does not know: a newer one made it"),
        ((HALF,), "b2", "warning", "half migrated: a first start was cut off; no run"),
        ((RUN, HALF), "b2", "wrong", "half migrated: a first start was cut off, and it holds runs"),
        ((), None, "warning", "half migrated"),
        (("DELETE FROM alembic_version",), "c3", "warning", "half migrated"),
    ],
)
def test_another_schema_and_a_half_migration_are_told_apart(
    tmp_path: Path, statements: tuple[str, ...], version: str | None, state: str, words: str
) -> None:
    finding = found(made(tmp_path / "mlflow.db", *statements, version=version))
    assert finding.state == state
    assert words in finding.found


def test_an_older_schema_with_runs_is_mended_by_a_command_that_is_named(tmp_path: Path) -> None:
    path = made(tmp_path / "mlflow.db", RUN, version="b2")
    assert found(path).code == SETTING
    assert found(path).remedy == f"copy it, then mlflow db upgrade sqlite:///{path}"
    own = found(path, PREFECT)
    assert (own.state, own.found) == ("ok", f"{path} is whole, schema b2, which the next start migrates")


def test_a_damaged_file_is_wrong(tmp_path: Path) -> None:
    path = made(tmp_path / "mlflow.db", RUN, *(f"CREATE TABLE t{n} (x TEXT)" for n in range(50)))
    content = bytearray(path.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    path.write_bytes(content)
    assert (found(path).state, found(path).code) == ("wrong", DAMAGED)


@pytest.mark.parametrize(("content", "state"), [(b"", "warning"), (b"version 1, not SQLite", "wrong")])
def test_an_empty_and_a_foreign_file_are_told(tmp_path: Path, content: bytes, state: str) -> None:
    (tmp_path / "mlflow.db").write_bytes(content)
    assert found(tmp_path / "mlflow.db").state == state


def test_a_check_that_takes_long_is_given_up_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path / "mlflow.db", RUN)
    monkeypatch.setattr(local_store, "CHECK_SECONDS", -1.0)
    monkeypatch.setattr(local_store, "INSTRUCTIONS", 1)
    assert "not looked at to its end" in found(path).found


@pytest.mark.parametrize("kind", [MLFLOW, PREFECT])
def test_the_installed_packages_have_one_newest_schema(monkeypatch: pytest.MonkeyPatch, kind: Kind) -> None:
    known, newest = revisions(kind)
    assert len(newest) == 1
    assert len(known) > 10
