"""`carryover sync`: what the spool keeps, given to the stores that are back; twice the same changes nothing."""

import requests
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from pydantic import Field

from rnn_model.config import Section
from rnn_model.errors import BusyError, CarryoverError
from tasks.config import TrackingConfig
from tasks.connection import connected, masked, tracking_uri
from tasks.delivery import send_kept
from tasks.reaping import close_abandoned
from tasks.reasons import reason
from tasks.spool import Header, headers, is_kept, waiting


class Sent(Section):
    """What became of one run's calls."""

    run_id: str
    name: str
    uri: str
    sent: int
    left: int
    sent_as: str = Field("", description="run that was made in its place, as the store had lost it")
    error: str = Field("", description="why some are left")
    code: int = 0

    @property
    def line(self) -> str:
        """As it is printed."""
        anew = f"; the store had lost it, it is run {self.sent_as} now" if self.sent_as else ""
        left = f", {self.left} left: {self.error}" if self.left else ""
        return f"{self.name} (run {self.run_id}, {self.uri}): {self.sent} calls sent{left}{anew}"


class Synced(Section):
    """What was sent, and what is left."""

    runs: tuple[Sent, ...]
    closed: int = Field(0, description="runs that read RUNNING, and whose process is gone")

    @property
    def exit_code(self) -> int:
        """0: nothing is left; else that of the first cause."""
        return next((run.code for run in self.runs if run.left), 0)


def send_all(tracking: TrackingConfig) -> Synced:
    """Send what waits, store by store; then close what killed commands left open there. One run's fault stops no other.

    Raises IntegrityError for a damaged spool.
    """
    found, runs, closed = headers(), list[Sent](), 0
    for uri in sorted({header.uri for header in found}):
        own = masked(tracking_uri(tracking)) == uri  # then it may have credentials
        kept = [header for header in found if header.uri == uri]
        try:
            with connected(tracking if own else TrackingConfig(uri=uri)) as client:
                runs += [_send(client, header) for header in kept]
                closed += _close(client)
        except CarryoverError as error:
            runs += [_told(header, error) for header in kept if header.run_id not in {run.run_id for run in runs}]
    return Synced(runs=tuple(runs), closed=closed)


def told(result: Synced) -> str:
    """What is printed: a line for each run."""
    lines = [run.line for run in result.runs] or ["nothing waits: MLflow has all that was logged"]
    if result.closed:
        lines.append(f"{result.closed} runs of commands that were killed are closed")
    return "\n".join(lines)


def _send(client: MlflowClient, header: Header) -> Sent:
    before = len(waiting(header.run_id))
    try:
        if header.is_running:
            raise BusyError("its command still runs, and sends them itself")
        header = send_kept(client, header)
    except (MlflowException, requests.RequestException) as error:
        return _told(header, reason(error, header.uri, "to take what waits"), before)
    except CarryoverError as error:
        return _told(header, error, before)
    return Sent(**_about(header), sent=before, left=0, sent_as=header.sent_as)


def _told(header: Header, error: CarryoverError, before: int | None = None) -> Sent:
    left = len(waiting(header.run_id)) if is_kept(header.run_id) else 0
    sent = 0 if before is None else before - left
    return Sent(**_about(header), sent=sent, left=left, error=str(error), code=error.exit_code)


def _about(header: Header) -> dict[str, str]:
    return {"run_id": header.run_id, "name": header.name, "uri": header.uri}


def _close(client: MlflowClient) -> int:
    """How many runs were closed. Raises ServiceError, or what else the store has against it."""
    try:
        return sum(close_abandoned(client, each.experiment_id) for each in client.search_experiments())
    except MlflowException as error:
        raise reason(error, masked(client.tracking_uri), "to close killed runs") from None
