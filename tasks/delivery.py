"""What a run logs reaches MLflow once and in order: at once, later in the same command, or by `carryover sync`.

What can wait (parameters, metrics, tags, inputs, files, how a run ended) is kept in the spool while the store is away.
What a run cannot go on without (a new run, a logged model) waits for a server that is being restarted, then stops.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import requests
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rnn_model.artefact import held
from rnn_model.errors import BusyError, CarryoverError, ServiceError
from tasks import spool
from tasks.connection import RETURN_SECONDS, await_server, ping
from tasks.handles import Run
from tasks.reasons import is_absent, is_away, reason
from tasks.spool import Entry, Header

PROBE_SECONDS = 5.0  # between two looks whether a store that was away is back
SETTLE_SECONDS = 20.0  # that a run which has finished waits for a store that is away
POLL_SECONDS = 1.0
PARAMS, METRICS = 100, 1000  # in one call, as MLflow's server allows
PARENT, RESTORES = "mlflow.parentRunId", "carryover.restores"  # tags
FAILURES = (MlflowException, requests.RequestException)

T = TypeVar("T")


@dataclass
class State:
    """A run that this process logs."""

    header: Header
    history: list[Entry] = field(default_factory=list)  # all that it was given but files
    ended: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)


_states: dict[str, State] = {}  # by run id: what is logged from any thread of this process goes by here
_away: dict[str, float] = {}  # by store: until when it is not asked again
_given_up: set[str] = set()  # stores that were waited for in vain


def opened(header: Header) -> None:
    """A run was made in the store."""
    _states[header.run_id] = State(header)


def state_of(run: Run) -> State:
    """The state of a run, made where the run was opened elsewhere."""
    if run.run_id not in _states:
        known = {"run_id": run.run_id, "uri": run.uri, "experiment_id": run.experiment_id, "name": run.name}
        _states[run.run_id] = State(Header.model_validate(known | spool.own_process()))
    return _states[run.run_id]


def deliver(run: Run, entry: Entry, files: Path | None = None) -> None:
    """Give a call to the store, after those that wait; keep it in the spool while the store is away.

    `files`: a folder whose tree is logged. Raises MlflowException for a call that is wrong in itself, WriteError where
    it can neither be sent nor kept.
    """
    state = state_of(run)
    with state.lock:
        try:
            if spool.is_kept(run.run_id) and not _caught_up(state):
                spool.keep(state.header, entry, files, state.history)
            else:
                _send_or_keep(state, entry, files)
        finally:
            if entry.kind != "files":
                state.history.append(entry)
            state.ended = entry.kind == "end"


def insist(uri: str, call: Callable[[], T], doing: str) -> T:
    """What a call gives that cannot wait; repeated for RETURN_SECONDS while its server is away.

    Raises ServiceError (69) after that, or what else the store has against it.
    """
    deadline = time.monotonic() + (0.0 if uri in _given_up else RETURN_SECONDS)
    while True:
        try:
            made = call()
        except FAILURES as error:
            known = reason(error, uri, doing)
            passes = isinstance(known, ServiceError | BusyError) and is_away(error) and not is_absent(error)
            if not passes or time.monotonic() > deadline:
                _give_up(uri, passes)
                raise known from error
            _wait(uri, deadline)
        else:
            _away.pop(uri, None)
            _given_up.discard(uri)
            return made


def send(client: MlflowClient, run_id: str, entry: Entry, files: Path | None = None) -> None:
    """One call. The same call again changes nothing: a point has its own time, a file its own name."""
    content = entry.content
    if entry.kind == "params":
        params = [Param(key, text) for key, text in content.items()]
        for start in range(0, len(params), PARAMS):
            client.log_batch(run_id, params=params[start : start + PARAMS])
    elif entry.kind == "metrics":
        points = [Metric(*point) for point in content["points"]]
        for start in range(0, len(points), METRICS):
            client.log_batch(run_id, metrics=points[start : start + METRICS])
    elif entry.kind == "tags":
        client.log_batch(run_id, tags=[RunTag(key, text) for key, text in content.items()])
    elif entry.kind == "input":
        context = InputTag("mlflow.data.context", content["context"])
        client.log_inputs(run_id, [DatasetInput(Dataset(**content["dataset"]), [context])])
    elif entry.kind == "files":
        assert files is not None
        client.log_artifacts(run_id, str(files), content.get("path"))
    else:
        client.set_terminated(run_id, content["status"], end_time=content["time"])


def send_kept(client: MlflowClient, header: Header) -> Header:
    """All that waits of a run, in order; each call leaves the spool when the store has it.

    A run that the store has lost, as it was put back to an older state, is made anew from what is known of it. Raises
    BusyError where another process sends it, and what MLflow raises.
    """
    with held(spool.place(header.run_id)):
        for number, entry, files in spool.waiting(header.run_id):
            whole = None if files is None else spool.checked_files(files)
            try:
                send(client, header.target, entry, whole)
            except MlflowException as error:
                if not is_absent(error) or header.sent_as:
                    raise
                header = _made_anew(client, header)
                send(client, header.target, entry, whole)
            spool.drop(header.run_id, number)
        spool.close(header.run_id)
    return header


def settle(uri: str, seconds: float) -> None:
    """Send what waits of this process's runs, if the store is back within `seconds`; what is sent is forgotten here."""
    waits = [state for state in _states.values() if state.header.uri == uri and spool.is_kept(state.header.run_id)]
    if waits and uri not in _given_up and _is_back(uri, seconds):
        for state in waits:
            _away.pop(uri, None)
            if not _caught_up(state):
                break
    for run_id in [run_id for run_id, state in _states.items() if state.ended and not spool.is_kept(run_id)]:
        del _states[run_id]


def kept_words() -> str:
    """What waits of this process's runs, and what sends it; empty where nothing does."""
    waits = [state.header for state in _states.values() if spool.is_kept(state.header.run_id)]
    calls = sum(len(spool.waiting(header.run_id)) for header in waits)
    if not waits:
        return ""
    stores = ", ".join(sorted({header.uri for header in waits}))
    return (
        f"MLflow at {stores} was away: {calls} calls of {len(waits)} runs are kept in {spool.root()}; "
        "when it is back, carryover sync sends them"
    )


def _send_or_keep(state: State, entry: Entry, files: Path | None) -> None:
    try:
        send(MlflowClient(), state.header.target, entry, files)
    except FAILURES as error:
        if not is_away(error):
            raise
        _away[state.header.uri] = time.monotonic() + PROBE_SECONDS
        spool.keep(state.header, entry, files, state.history)


def _caught_up(state: State) -> bool:
    """Whether all that waited of a run is with the store now; a store that is away is asked now and then."""
    uri = state.header.uri
    if time.monotonic() < _away.get(uri, 0.0):
        return False
    try:
        if uri.startswith("http") and (refusal := ping(uri)) is not None:
            raise refusal
        state.header = send_kept(MlflowClient(), state.header)
    except (*FAILURES, CarryoverError):  # kept as it is; `carryover sync` tells why it is not taken
        _away[uri] = time.monotonic() + PROBE_SECONDS
        return False
    _away.pop(uri, None)
    _given_up.discard(uri)
    return True


def _is_back(uri: str, seconds: float) -> bool:
    if not uri.startswith("http"):
        return True
    try:
        await_server(uri, seconds)
    except CarryoverError:
        return False
    return True


def _wait(uri: str, deadline: float) -> None:
    """Until a server is well, or for a moment. Raises what it has against that."""
    time.sleep(POLL_SECONDS)
    if uri.startswith("http"):
        try:
            await_server(uri, max(0.0, deadline - time.monotonic()))
        except CarryoverError:
            _give_up(uri, True)
            raise


def _give_up(uri: str, passes: bool) -> None:
    """Nothing waits for this store any more, and nothing asks it again before the command has ended."""
    if passes:
        _given_up.add(uri)
        _away[uri] = time.monotonic() + RETURN_SECONDS


def _made_anew(client: MlflowClient, header: Header) -> Header:
    """A run in place of one that the store has lost, with all that it had been given but files; found again where an
    earlier attempt has made it."""
    experiment = _experiment(client, header)
    made = _in_place_of(client, experiment, header.run_id)
    if made is None:
        tags = header.tags | {RESTORES: header.run_id}
        if parent := _in_place_of(client, experiment, tags.get(PARENT, "")):
            tags[PARENT] = parent
        run = client.create_run(experiment, start_time=header.started or None, tags=tags, run_name=header.name)
        made = str(run.info.run_id)
    header = header.model_copy(update={"sent_as": made})
    for entry in spool.history(header.run_id):
        send(client, header.target, entry)
    spool.note(header)
    return header


def _in_place_of(client: MlflowClient, experiment: str, run_id: str) -> str | None:
    """The run that was made in place of one that was lost."""
    found = client.search_runs([experiment], f"tags.`{RESTORES}` = '{run_id}'", max_results=1) if run_id else ()
    return str(found[0].info.run_id) if found else None


def _experiment(client: MlflowClient, header: Header) -> str:
    name = header.experiment
    if not name:
        return str(client.get_experiment(header.experiment_id).experiment_id)
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found is not None else client.create_experiment(name))
