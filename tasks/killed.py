"""Flow runs that a kill left open in Prefect: each says whose it is, and the next flow closes those without process."""

import os
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
from prefect import Flow, State, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from prefect.settings import get_current_settings
from prefect.states import Crashed

from tasks.processes import is_gone

HOST, PID, STARTED, BEATS = "carryover.host", "carryover.pid", "carryover.started", "carryover.heartbeat_seconds"
OPEN = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
NEWEST = 200  # open runs, and open tasks of each, that one start looks at: what the server gives at once
SILENCE = timedelta(hours=6)  # without a heartbeat, of a run on another host: a laptop may sleep for a while
HEARTBEAT = "prefect.flow-run.heartbeat"


def take_over(flow: "Flow[..., Any]", flow_run: FlowRun, state: "State[Any]") -> None:
    """A hook for a flow that starts to run: its run says which process it is of, and what others left is closed."""
    del flow, state  # Prefect passes them by position
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(flow_run.id, origin())
        if flow_run.parent_task_run_id is None:
            close_killed(client)


def origin() -> dict[str, Any]:
    """Labels that say which process a flow run is of, and how often it tells that it lives (0: never)."""
    process = psutil.Process()
    beats = get_current_settings().flows.heartbeat_frequency or 0
    return {HOST: socket.gethostname(), PID: process.pid, STARTED: process.create_time(), BEATS: beats}


def close_killed(client: SyncPrefectClient) -> list[FlowRun]:
    """Flow runs of ours that nothing works at become Crashed, with their tasks. Returns them.

    Of this machine: runs whose process is gone. Of others: runs that have sent no heartbeat for six hours.
    """
    open_runs = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=OPEN)))
    found = client.read_flow_runs(flow_run_filter=open_runs, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=NEWEST)
    closed = []
    for run in found:
        if reason := _why_dead(client, run):
            _close(client, run, reason)
            closed.append(run)
    return closed


def _why_dead(client: SyncPrefectClient, run: FlowRun) -> str:
    """What shows that nothing works at a run any more; empty: nothing does, or it is none of ours."""
    host, pid, since = (run.labels.get(name) for name in (HOST, PID, STARTED))
    if not isinstance(host, str) or not isinstance(pid, int) or not isinstance(since, int | float):
        return ""
    if host != socket.gethostname():
        return f"no sign of life from {host} for hours" if _is_silent(client, run) else ""
    gone = abs(since - psutil.Process().create_time()) > 1 if pid == os.getpid() else is_gone(pid, since)
    return f"its process {pid} on {host} was killed; run the same command again" if gone else ""


def _is_silent(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Whether a run that sends heartbeats has sent none for long."""
    start, silent_since = run.start_time, datetime.now(UTC) - SILENCE
    if not run.labels.get(BEATS) or start is None or start > silent_since:
        return False
    beats = EventFilter(
        occurred=EventOccurredFilter(since=silent_since),
        event=EventNameFilter(name=[HEARTBEAT]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
    )
    return not client.read_events(filter=beats, limit=1).events


def _close(client: SyncPrefectClient, run: FlowRun, reason: str) -> None:
    state: State[Any] = Crashed(message=f"Closed by the next start: {reason}")
    tasks = client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])),
        task_run_filter=TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=OPEN))),
        limit=NEWEST,
    )
    for task in tasks:
        client.set_task_run_state(task.id, state, force=True)
    client.set_flow_run_state(run.id, state, force=True)
