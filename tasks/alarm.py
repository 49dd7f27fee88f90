"""An alarm told to Prefect, once: the event on which an automation may start the nightly run."""

import time
from collections.abc import Mapping
from typing import Literal
from uuid import NAMESPACE_URL, uuid5

from mlflow.tracking import MlflowClient

from rnn_model.artefact import held
from rnn_model.errors import ServiceError
from tasks.config import home
from tasks.handles import Run
from tasks.tracking import set_tags

EVENT = "carryover.accuracy.dropped"
RESOURCE = "carryover.target."  # and the target's name
TAG = "carryover.alarm"  # of the MLflow run that told Prefect
SECONDS = 60.0  # the server writes events in bundles, every few seconds

Told = Literal["now", "before", "no server"]


def tell(name: str, alarm: str, payload: Mapping[str, object], run: Run) -> Told:
    """Send the event of an alarm, unless an earlier run of the experiment did, and mark `run` when the server has it.

    `alarm` names it for good: target, version, weights and time. The event's id follows from it, so that one sent
    again after a crash in between is the same event. Without a server there is nobody to tell. Raises ServiceError
    for an event that did not arrive; BusyError (75) while another process is telling.
    """
    from prefect import get_client
    from prefect.events import emit_event
    from prefect.events.filters import EventFilter, EventIDFilter
    from prefect.settings import PREFECT_API_URL

    with held(home() / "monitor" / name):
        if announced(run, alarm):
            return "before"
        if not PREFECT_API_URL.value():
            return "no server"
        number = uuid5(NAMESPACE_URL, f"{EVENT} {alarm}")
        resource = {"prefect.resource.id": f"{RESOURCE}{name}", "prefect.resource.name": name}
        emit_event(EVENT, resource, payload=dict(payload), id=number)
        wanted = EventFilter(id=EventIDFilter(id=[number]))
        deadline = time.monotonic() + SECONDS
        with get_client(sync_client=True) as client:
            while not client.read_events(wanted, limit=1).events:
                if time.monotonic() > deadline:
                    raise ServiceError(f"event {EVENT} of {alarm} did not reach Prefect in {SECONDS:g} s; run it again")
                time.sleep(0.5)
        set_tags(run, {TAG: alarm})
        return "now"


def announced(run: Run, alarm: str) -> bool:
    """Whether an earlier run of the experiment carries the alarm's tag: it is told of once."""
    query = f"tags.`{TAG}` = '{alarm}'"
    return bool(MlflowClient().search_runs([run.experiment_id], query, max_results=1))
