"""prefect.yaml agrees with the code, and the embedded server can start at the pinned versions."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


def flow_of(deployment: dict[str, Any]) -> Any:
    path, _, name = deployment["entrypoint"].partition(":")
    return getattr(import_module(path.removesuffix(".py").replace("/", ".")), name)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["name"])
def test_deployment_parameters_fit_the_flows_signature(deployment: dict[str, Any]) -> None:
    flow = flow_of(deployment)
    assert set(deployment["parameters"]) <= set(flow.parameters.properties)
    flow.validate_parameters(deployment["parameters"])


def test_a_misspelt_deployment_parameter_would_be_refused() -> None:
    flow = flow_of(DEPLOYMENTS[0])
    with pytest.raises(Exception, match="horizn"):
        flow.validate_parameters({"window": {"horizn": 3}})


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["name"])
def test_deployment_schedules_are_valid_cron_with_a_time_zone(deployment: dict[str, Any]) -> None:
    from prefect.server.schemas.schedules import CronSchedule

    for schedule in deployment.get("schedules", []):
        CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])


def test_run_form_shows_the_sections_in_declared_order() -> None:
    flow = flow_of(next(d for d in DEPLOYMENTS if d["name"] == "nightly"))
    shown = sorted(flow.parameters.properties.items(), key=lambda item: item[1]["position"])
    order = [
        "source",
        "target",
        "window",
        "model",
        "pretrain",
        "finetune",
        "backtest",
        "gate",
        "tracking",
        "seed",
        "force",
    ]
    assert [name for name, _ in shown] == order


def test_every_field_of_the_run_form_is_described() -> None:
    flow = flow_of(next(d for d in DEPLOYMENTS if d["name"] == "nightly"))
    nameless = [
        f"{section}.{name}"
        for section, schema in flow.parameters.definitions.items()
        for name, field in schema.get("properties", {}).items()
        if not field.get("description")
    ]
    assert nameless == []
    assert all(p.get("description") for p in flow.parameters.properties.values())


def test_prefect_server_can_be_imported_with_the_pinned_versions() -> None:
    assert import_module("prefect.server.api.server").create_app


@pytest.fixture
def server(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A real Prefect server on a free port; yields the environment that reaches it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    environment = {**os.environ, **own, "PREFECT_LOGGING_TO_API_ENABLED": "false"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: answers(f"{own['PREFECT_API_URL']}/health"), 120)
        yield environment
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


def prefect(environment: dict[str, str], *arguments: str) -> None:
    command = [sys.executable, "-m", "prefect", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_deploying_gives_scheduled_runs_on_a_real_server(server: dict[str, str]) -> None:
    """SQLAlchemy 2.1 breaks Prefect's scheduler without an error: deploying works and schedules never fire."""
    prefect(server, "work-pool", "create", "local", "--type", "process", "--overwrite")
    prefect(server, "deploy", "--all", "--no-prompt")

    def scheduled() -> bool:
        url = f"{server['PREFECT_API_URL']}/flow_runs/filter"
        runs = requests.post(url, json={"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}, timeout=10).json()
        return any(run["auto_scheduled"] for run in runs)

    wait_until(scheduled, 60)
