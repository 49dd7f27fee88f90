"""What prefect.yaml deploys, on a real server with a real worker: schedules, overlap, a run on demand, the alarm."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from tiny_pipeline import BACKTEST, FINETUNE, MODEL, PRETRAIN, SOURCE, WINDOW, series

from tasks.alarm import EVENT

ROOT = Path(__file__).parents[2]


class Server:
    """A real Prefect server, and the environment that reaches it."""

    def __init__(self, url: str, environment: dict[str, str]) -> None:
        self.url, self.environment = url, environment

    def prefect(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command of Prefect's own, as a person types it in the project's folder."""
        command = [sys.executable, "-m", "prefect", *arguments]
        own = {"cwd": ROOT, "env": self.environment, "capture_output": True, "text": True, "timeout": 240}
        return subprocess.run(command, check=False, **own)  # type: ignore[call-overload, no-any-return]

    def does(self, *arguments: str) -> str:
        """The same, which has to go well."""
        done = self.prefect(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return str(done.stdout)

    def asked(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The server's answer to a call of its API."""
        answer = requests.post(f"{self.url}/{path}", json=body or {}, timeout=10)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def deployment(self, name: str) -> dict[str, Any]:
        """A deployment, by flow and name."""
        found: dict[str, Any] = requests.get(f"{self.url}/deployments/name/{name}", timeout=10).json()
        return found

    def runs(self, name: str) -> list[dict[str, Any]]:
        """The runs of a deployment."""
        body = {"flow_runs": {"deployment_id": {"any_": [self.deployment(name)["id"]]}}}
        found: list[dict[str, Any]] = self.asked("flow_runs/filter", body)
        return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on a free port, with everything deployed."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    own = {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_API_URL": url, "CARRYOVER_HOME": str(folder / "data")}
    environment = {**os.environ, **own, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: answers(f"{url}/health"), 120)
        made = Server(url, environment)
        made.does("work-pool", "create", "local", "--type", "process", "--overwrite")
        made.does("deploy", "--all", "--no-prompt")
        yield made
    finally:
        process.terminate()
        process.wait(30)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def wait_until(done: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"nothing happened within {seconds} s"
        time.sleep(0.5)


@pytest.mark.parametrize("name", ["pretrain/pretrain", "pipeline/nightly", "forecast/forecast", "monitor/monitor"])
def test_a_schedule_gives_runs(server: Server, name: str) -> None:
    """SQLAlchemy 2.1 breaks Prefect's scheduler without an error: deploying works and schedules never fire."""
    wait_until(lambda: any(run["auto_scheduled"] for run in server.runs(name)), 60)


def test_what_runs_on_demand_has_no_schedule(server: Server) -> None:
    assert server.deployment("pipeline/ad-hoc")["schedules"] == []


def test_a_wrong_cron_is_refused_with_what_is_wrong(server: Server) -> None:
    done = server.prefect("deployment", "schedule", "create", "pipeline/ad-hoc", "--cron", "0 25 * * *")
    assert done.returncode != 0
    assert "0 25 * * *" in done.stdout + done.stderr


def test_of_two_nights_at_once_the_second_is_cancelled_and_says_so(server: Server) -> None:
    nightly = server.deployment("pipeline/nightly")["id"]
    states = []
    for _ in range(2):
        run = server.asked(f"deployments/{nightly}/create_flow_run", {"state": {"type": "SCHEDULED"}})
        states.append(server.asked(f"flow_runs/{run['id']}/set_state", {"state": {"type": "PENDING"}})["state"])
    assert [state["type"] for state in states] == ["PENDING", "CANCELLED"]
    assert "concurrency limit" in states[1]["message"]


def test_a_worker_carries_a_run_on_demand_to_its_end(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "sales.parquet"
    series().write_parquet(path)
    sections = {"source": SOURCE, "window": WINDOW, "model": MODEL, "pretrain": PRETRAIN}
    sections |= {"finetune": FINETUNE, "backtest": BACKTEST}  # type: ignore[dict-item]
    given = {name: section.model_dump(mode="json", by_alias=True) for name, section in sections.items()}
    given["target"] = {"path": str(path), "freq": "MS"}
    server.does("deployment", "run", "pipeline/ad-hoc", "--params", json.dumps(given))
    server.does("worker", "start", "--pool", "local", "--type", "process", "--run-once")
    (run,) = server.runs("pipeline/ad-hoc")
    assert run["state"]["type"] == "COMPLETED", run["state"]["message"]
    report = list((Path(server.environment["CARRYOVER_HOME"]) / "reports").glob("*.html"))
    assert len(report) == 1


def test_the_monitors_event_starts_a_nightly_run(server: Server) -> None:
    def started() -> list[dict[str, Any]]:
        return [run for run in server.runs("pipeline/nightly") if (run["created_by"] or {}).get("type") == "AUTOMATION"]

    assert started() == []
    event = {"event": EVENT, "resource": {"prefect.resource.id": "carryover.target.sales"}, "payload": {}}
    event |= {"occurred": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "id": str(uuid4())}
    answer = requests.post(f"{server.url}/events", json=[event], timeout=10)
    assert answer.ok, answer.text
    wait_until(lambda: len(started()) == 1, 60)
