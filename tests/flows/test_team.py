"""Team mode on a real PostgreSQL: two servers, the whole chain by environment variables alone, a race of machines."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
from postgres_cluster import find_binaries, free_port

from flows.services import down, services
from rnn_model.errors import ServiceError, UnsafeError
from tasks.config import PROJECT
from tasks.servers import recorded
from tasks.team import add_line, locked

pytestmark = pytest.mark.timeout(600)  # three servers start and migrate their databases
ROUNDS = 3
QUIET = {"PREFECT_LOGGING_LEVEL": "ERROR", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Team:
    """The servers' data folder, and the variables that lead to them."""

    home: Path
    variables: dict[str, str]

    @property
    def address(self) -> str:
        return self.variables["CARRYOVER_DATABASE"]

    def rows(self, database: str, query: str) -> list[tuple[Any, ...]]:
        """Asked of PostgreSQL itself."""
        address = self.address.rpartition("/")[0] + f"/{database}"
        with closing(psycopg2.connect(address)) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def program(self, path: str, home: Path, *arguments: str) -> Any:
        """What a program of the tests prints, whose data folder is `home`."""
        own = {"CARRYOVER_HOME": str(home), "PREFECT_HOME": str(home / "prefect"), "TMPDIR": str(home)}
        (home / "prefect").mkdir(parents=True)
        folders = os.pathsep.join(str(PROJECT / each) for each in (".", "tests/flows", "tests/tasks"))
        done = subprocess.run(
            [sys.executable, str(PROJECT / "tests" / path), *arguments],
            cwd=PROJECT,
            env=os.environ | QUIET | self.variables | own | {"PYTHONPATH": folders},
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    """The servers, started as a person does, in a folder that PostgreSQL's own user may enter."""
    find_binaries()
    home = Path(tempfile.mkdtemp(prefix="carryover-team-"))
    home.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CARRYOVER_HOME", str(home))
        patch.setenv("PREFECT_HOME", str(home / "prefect"))
        patch.delenv("PREFECT_API_URL", raising=False)
        (home / "prefect").mkdir()
        try:
            ports = free_port(), free_port(), free_port()
            services("postgres", *ports)
            urls = {"PREFECT_API_URL": f"http://127.0.0.1:{ports[0]}/api"}
            urls |= {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{ports[1]}"}
            urls |= {"CARRYOVER_DATABASE": (home / "services" / "database.url").read_text()}
            yield Team(home, urls)
        finally:
            patch.setenv("CARRYOVER_HOME", str(home))
            down()
            shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def member(team: Team, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a member's run found, on a machine that shares no folder with the servers."""
    home = tmp_path_factory.mktemp("member") / "data"
    found: dict[str, Any] = team.program("flows/team_run.py", home)
    return found | {"home": home}


def test_a_run_that_knows_variables_alone_is_finished_in_both_databases(team: Team, member: dict[str, Any]) -> None:
    assert team.rows("mlflow", f"SELECT status FROM runs WHERE run_uuid = '{member['run']}'") == [("FINISHED",)]
    assert team.rows("prefect", "SELECT state_type FROM flow_run") == [("COMPLETED",)]


def test_its_model_is_registered_and_champion_in_the_teams_database(team: Team, member: dict[str, Any]) -> None:
    assert member["moved"] == "moved"  # it never was champion
    query = "SELECT name, alias, version FROM registered_model_aliases"
    assert team.rows("mlflow", query) == [("target", "champion", 1)]


def test_the_ledger_of_a_team_is_in_its_database_and_on_no_machine(team: Team, member: dict[str, Any]) -> None:
    lines = [json.loads(line) for (line,) in team.rows("carryover", "SELECT line FROM carryover_ledger ORDER BY seq")]
    assert [(line["seq"], line["kind"], line["version"]) for line in lines] == [(1, "rollback", 1), (2, "done", 1)]
    assert member["ledgers"] == []


def test_a_fetched_model_has_one_copy_by_content_and_leaves_nothing_else(member: dict[str, Any]) -> None:
    first, second = member["folders"]
    assert first == second
    assert Path(first).parent == member["home"] / "models"
    assert not [path for path in member["home"].iterdir() if path.name.startswith(("carryover-", "tmp"))]


def test_two_machines_race_without_a_lost_update(team: Team, tmp_path: Path) -> None:
    """They share the store and the database, and no lock file."""
    raced = team.program("tasks/promotion_race.py", tmp_path / "race", str(tmp_path / "race"), str(ROUNDS), "apart")
    assert raced["exit codes"] == [0, 0]
    assert raced["wrong champions"] == 0
    assert raced["linear"]
    assert raced["told"]["promoted"] == raced["moves"]
    assert not list((tmp_path / "race").rglob("*.ledger.jsonl"))


def test_a_lock_that_was_lost_is_noticed(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRYOVER_DATABASE", team.address)
    holder = f"application_name LIKE 'carryover process {os.getpid()} %'"
    with pytest.raises(ServiceError) as raised, locked("lost", time.monotonic() + 5) as check:  # noqa: PT012
        check()
        team.rows("carryover", f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {holder}")
        with locked("lost", time.monotonic() + 5):  # another one has it at once
            check()
    assert raised.value.exit_code == 69


def test_a_user_that_the_database_refuses_is_told_what_it_needs(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(psycopg2.connect(team.address)) as own, own.cursor() as cursor:
        cursor.execute("CREATE ROLE reader LOGIN PASSWORD 'reader'")
        own.commit()
    place = team.address.partition("@")[2]
    for user in ("reader:wrong", "reader:reader"):
        monkeypatch.setenv("CARRYOVER_DATABASE", f"postgresql://{user}@{place}")
        with pytest.raises(UnsafeError, match="connect and either create tables or select and insert in") as raised:
            add_line("store/sales", 1, "{}")
        assert raised.value.exit_code == 77
    assert "reader" not in str(raised.value)


def test_the_password_stands_in_no_log_and_no_command(team: Team, member: dict[str, Any]) -> None:
    password = team.address.partition("@")[0].rpartition(":")[2]
    logs = [*team.home.rglob("*.log"), *member["home"].rglob("*.log")]
    assert logs
    assert not [path for path in logs if password in path.read_text(errors="replace")]
    assert not [process for process in psutil.process_iter() if password in " ".join(command(process))]


def command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def test_a_second_start_finds_the_servers_running(
    team: Team, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CARRYOVER_HOME", str(team.home))
    before = recorded()
    services("postgres")
    assert recorded() == before
    assert capsys.readouterr().out.startswith("the servers run already")
