"""Flow runs without a process are closed in Prefect by the next flow; those of living processes are left alone."""

import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psutil
import pytest
from prefect import get_client, task
from prefect.client.schemas.objects import StateType
from prefect.states import Running

from flows.definition import flow
from tasks import killed
from tasks.killed import HOST, PID, STARTED, close_killed, origin
from tasks.processes import is_gone

pytestmark = pytest.mark.usefixtures("prefect_server")
SLEEP = [sys.executable, "-c", "import time; time.sleep(300)"]


@task
def step() -> None:
    """Nothing."""


@flow(name="bystander")
def bystander() -> int:
    """Nothing."""
    return 1


@pytest.fixture
def dead() -> int:
    """The number of a process that was killed."""
    process = subprocess.Popen(SLEEP)
    process.kill()
    process.wait()
    return process.pid


def left_open(labels: dict[str, Any]) -> UUID:
    """A run that reads RUNNING, with a task that does."""
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(bystander, state=Running())
        client.create_task_run(step, run.id, dynamic_key="0", state=Running())
        client.update_flow_run_labels(run.id, labels)
        return run.id


def states(run: UUID) -> set[StateType | None]:
    with get_client(sync_client=True) as client:
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

        mine = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))
        return {client.read_flow_run(run).state_type, *(each.state_type for each in mine)}


def test_the_next_flow_closes_the_run_of_a_killed_process_and_its_tasks(dead: int) -> None:
    run = left_open(origin() | {PID: dead})
    assert bystander() == 1
    assert states(run) == {StateType.CRASHED}
    with get_client(sync_client=True) as client:
        message = client.read_flow_run(run).state.message  # type: ignore[union-attr]
    assert f"its process {dead} on {socket.gethostname()} was killed; run the same command again" in str(message)


def test_a_process_that_was_killed_but_not_waited_for_is_gone() -> None:
    process = subprocess.Popen(SLEEP)
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert is_gone(process.pid, time.time())
    process.wait()


def test_runs_that_are_alive_or_not_ours_are_left_alone() -> None:
    living = subprocess.Popen(SLEEP)
    try:
        started = psutil.Process(living.pid).create_time()
        others: list[dict[str, Any]] = [
            origin(),
            origin() | {PID: living.pid, STARTED: started},
            origin() | {HOST: "another", PID: 1},
            {},
            {HOST: 7, PID: "1", STARTED: None},
        ]
        runs = [left_open({k: v for k, v in labels.items() if v is not None}) for labels in others]
        bystander()
        assert [states(run) for run in runs] == [{StateType.RUNNING}] * len(runs)
    finally:
        living.kill()
        living.wait()


def test_a_number_that_was_given_again_does_not_keep_a_run_open() -> None:
    """Also to this very process, as in a container that was started again."""
    living = subprocess.Popen(SLEEP)
    try:
        long_ago = time.time() - 86_400
        runs = [left_open(origin() | {PID: pid, STARTED: long_ago}) for pid in (living.pid, os.getpid())]
        bystander()
        assert [states(run) for run in runs] == [{StateType.CRASHED}] * 2
    finally:
        living.kill()
        living.wait()


@pytest.mark.parametrize(("beats", "silent"), [(180, True), (0, False)])
def test_a_silent_run_of_another_host_is_closed_where_it_would_have_said_something(
    beats: int, silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = left_open(origin() | {HOST: "elsewhere", killed.BEATS: beats})
    monkeypatch.setattr(killed, "SILENCE", timedelta(0))
    with get_client(sync_client=True) as client:
        closed = {each.id for each in close_killed(client)}
    assert (run in closed) is silent
    assert states(run) == {StateType.CRASHED if silent else StateType.RUNNING}


def test_a_heartbeat_keeps_a_run_of_another_host_open() -> None:
    from prefect.events import emit_event
    from prefect.events.worker import EventsWorker

    run = left_open(origin() | {HOST: "elsewhere", killed.BEATS: 180})
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(run)
        early = found.model_copy(update={"start_time": datetime.now(UTC) - timedelta(days=1)})
        assert killed._is_silent(client, early)
        emit_event(killed.HEARTBEAT, resource={"prefect.resource.id": f"prefect.flow-run.{run}"})
        EventsWorker.instance().wait_until_empty()
        until = time.monotonic() + 60
        while killed._is_silent(client, early) and time.monotonic() < until:
            time.sleep(0.2)
        assert not killed._is_silent(client, early)
