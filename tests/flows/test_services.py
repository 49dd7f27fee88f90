"""Which servers are started, and that none is left behind; nothing real is started here."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from flows import services as module
from flows.services import Ports, services
from rnn_model.errors import ServiceError
from tasks.servers import Server, end, launch, record

SLEEP = (sys.executable, "-c", "import time; time.sleep(300)")
OWN = "postgresql://carryover:canary@127.0.0.1:6001/carryover"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, data_folder: Path) -> list[Ports]:
    """What would be started, one entry for each start; the data folder has had a PostgreSQL on port 6001."""
    asked: list[Ports] = []
    monkeypatch.setattr(module, "_start", lambda known, db, wanted: asked.append(wanted))
    monkeypatch.setattr(module, "_tell", lambda *_: None)
    monkeypatch.delenv("CARRYOVER_DATABASE", raising=False)
    (data_folder / "services").mkdir(parents=True, exist_ok=True)
    (data_folder / "services" / "database.url").write_text(OWN)
    return asked


@pytest.fixture
def pages() -> Iterator[list[Server]]:
    """Prefect and MLflow, as far as a process is asked for."""
    store = {"Prefect": "", "MLflow": "postgresql://127.0.0.1:6001/mlflow"}
    running = [launch(name, SLEEP, {}, {"store": where}) for name, where in store.items()]
    yield running
    for server in running:
        end(server)


def ports(wanted: Ports) -> dict[str, int]:
    return {name: port for name, (port, _) in wanted.items()}


def test_a_shell_that_has_the_address_of_the_own_server_starts_it_again(
    started: list[Ports], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARRYOVER_DATABASE", OWN)
    services()
    assert ports(started[0]) == {"PostgreSQL": 6001, "Prefect": 4200, "MLflow": 5000}


def test_beside_a_declared_server_no_own_one_is_started(started: list[Ports], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRYOVER_DATABASE", OWN.replace("6001", "5432"))
    services()
    assert ports(started[0]) == {"Prefect": 4200, "MLflow": 5000}


def test_a_dead_postgresql_is_started_again_where_the_others_know_it(
    started: list[Ports], pages: list[Server], capsys: pytest.CaptureFixture[str]
) -> None:
    dead = pages[0].model_copy(update={"name": "PostgreSQL", "started": 0.0, "url": "postgresql://127.0.0.1:6001"})
    record([dead, *pages])
    services("postgres")
    assert ports(started[0])["PostgreSQL"] == 6001
    assert "run already" not in capsys.readouterr().out


def test_a_migration_that_fails_waits_for_the_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: dict[str, subprocess.Popen[bytes]] = {}

    def run(name: str, *_: object) -> "subprocess.Popen[bytes]":
        words = "raise SystemExit(3)" if name == "MLflow" else "import time; time.sleep(0.5)"
        begun[name] = subprocess.Popen([sys.executable, "-c", words], stderr=subprocess.DEVNULL)
        return begun[name]

    monkeypatch.setattr(module, "run_once", run)
    monkeypatch.setattr(module, "locked", lambda *_: nullcontext())
    with pytest.raises(ServiceError, match="database of MLflow failed \\(code 3\\)"):
        module._migrate(make_url(OWN), lambda _: None)
    assert begun["Prefect"].returncode == 0
