"""Where MLflow is: addresses without their secrets, a server that has to answer, a store that has to exist."""

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

import mlflow
import requests
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rnn_model.errors import CarryoverError, ConfigError, ServiceError
from rnn_model.masking import mask
from tasks.config import TrackingConfig, home
from tasks.reasons import reason
from tasks.schema import make_ready, migration_lock

KIND = "custom_model_development"  # the UI opens such experiments on their training runs
BEGINNING = re.compile("[0-9a-f]{6,31}")  # of the id of a run
NAMED = 3  # runs named in a sentence, at most
CHECK_SECONDS = 5.0  # a server that does not answer by then is down
RETURN_SECONDS = 60.0  # how long a command in mid-run waits for a server that went away: that of a restart
POLL_SECONDS = 1.0
SETTINGS = {  # the client's own default blocks four minutes on each call while a server is away; these 10 s, 45 s if
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # it takes connections and stays silent
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",  # a server may ask for an hour
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # a server's client would print two lines for each run
}
QUIET = ("mlflow.store.db.utils", "mlflow.utils.rest_utils")  # what they log as errors holds SQL and whole answers
OWN = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


def tracking_uri(config: TrackingConfig) -> str:
    """The declared address, else $MLFLOW_TRACKING_URI, else a SQLite file in the data folder."""
    return config.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow.db'}"


def masked(uri: str) -> str:
    """An address without credentials and query: what may be shown and stored.

    An @ past the host may be the end of a password with a / in it: then nothing but the scheme is shown.
    """
    scheme, sign, rest = uri.partition("://")
    if not sign:  # a slash too few, or no address at all
        return mask(uri)
    if scheme.startswith("sqlite"):  # a file's name may hold an @
        return uri
    parts = urlsplit(uri)
    if "@" in rest.removeprefix(parts.netloc):
        return f"{scheme}://..."
    return f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@contextmanager
def connected(config: TrackingConfig) -> Iterator[MlflowClient]:
    """A client whose server answers, for the length of a `with` block; the environment is as it was afterwards.

    The first block of a command raises within seconds when nothing answers; one within it waits for a server that is
    being restarted, RETURN_SECONDS. Raises ServiceError (69), or what else the store has against it (tasks/reasons.py).
    """
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it tells of every attempt
    uri, before = tracking_uri(config), {name: os.environ.get(name) for name in (*OWN, *SETTINGS)}
    try:
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        if uri.startswith("http"):
            uri = _credentials_aside(uri)
            await_server(uri, RETURN_SECONDS if _open_blocks else 0.0)
        mlflow.set_tracking_uri(uri)  # it also sets the variable, which a later flow would take for declared
        _check_store(uri)
        _open_blocks.append(uri)
        try:
            yield MlflowClient()
        finally:
            _open_blocks.pop()
    finally:
        for name, old in before.items():
            os.environ.pop(name, None)
            os.environ |= {name: old} if old is not None else {}


_open_blocks: list[str] = []  # the stores of this process's open blocks


def _credentials_aside(uri: str) -> str:
    """An http address without its credentials, which go to the variables that MLflow reads them from."""
    parts = urlsplit(uri)
    if "@" in parts.path + parts.query + parts.fragment:
        raise ConfigError("MLFLOW_TRACKING_URI has an @ past its host; in a user, password or path write it as %40")
    if parts.username:
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
    return masked(uri)


def await_server(uri: str, seconds: float) -> None:
    """Return as soon as the server at an http address says that it is well.

    Raises after `seconds` (0: at once) what keeps it from that: ServiceError, or UnsafeError where it denies.
    """
    deadline = time.monotonic() + seconds
    while (refusal := ping(uri)) is not None:
        if time.monotonic() > deadline or refusal.exit_code != ServiceError.exit_code:
            raise refusal
        time.sleep(POLL_SECONDS)


def ping(uri: str) -> CarryoverError | None:
    """Why a server does not say that it is well; None: it does."""
    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=CHECK_SECONDS).raise_for_status()
    except requests.RequestException as error:
        return reason(error, masked(uri))
    return None


def unanswered(error: requests.RequestException) -> CarryoverError:
    """What is said of an error of the client's library that nothing else has a word for."""
    return reason(error, masked(str(error.request.url)) if error.request is not None else "its server")


def _check_store(uri: str) -> None:
    try:
        with migration_lock(uri):
            make_ready(uri)
            MlflowClient().search_experiments(max_results=1)
    except Exception as error:  # noqa: BLE001  (every store raises its own kinds, with the address in the text)
        raise reason(error, masked(uri)) from None


def find_experiment(client: MlflowClient, name: str) -> str:
    """The number of the experiment of a name, made where there is none. Raises ConfigError for a deleted one."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return _active_experiment(found, client)
    local = client.tracking_uri.startswith("sqlite")  # else the server's own artefact root
    place = (home() / "mlartifacts" / name).as_uri() if local else None
    try:
        made = client.create_experiment(name, artifact_location=place, tags={"mlflow.experimentKind": KIND})
        return str(made)
    except MlflowException:  # another process made it in between
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return _active_experiment(found, client)


def _active_experiment(found: Experiment, client: MlflowClient) -> str:
    """The number of an experiment. Raises ConfigError for one in the store's bin."""
    if found.lifecycle_stage != "active":
        where = masked(client.tracking_uri)
        raise ConfigError(
            f"experiment {found.name!r} was deleted in {where}; MLFLOW_TRACKING_URI={where} mlflow experiments restore "
            f"--experiment-id {found.experiment_id} brings it back, or name another with --tracking.experiment"
        )
    return str(found.experiment_id)


def is_run_id(name: str) -> bool:
    """Whether a name looks like the id of an MLflow run."""
    return len(name) == 32 and all(c in "0123456789abcdef" for c in name)


def whole_run_id(name: str, config: TrackingConfig) -> str:
    """The id of the one run whose id begins with `name`, 6 digits or more; what begins none is returned as it is.

    Raises ConfigError for the beginning of several, ServiceError for a store that does not answer.
    """
    if not BEGINNING.fullmatch(name):
        return name
    with connected(config) as client:
        query = f"attributes.run_id LIKE '{name}%'"
        try:
            found = mlflow.search_runs(
                search_all_experiments=True, filter_string=query, max_results=NAMED + 1, output_format="list"
            )
        except MlflowException as error:
            raise reason(error, masked(client.tracking_uri), f"to look for run {name}") from None
    if len(found) > 1:
        some = ", ".join(f"{run.info.run_id} ({run.info.run_name})" for run in found[:NAMED])
        more = " and more" if len(found) > NAMED else ""
        raise ConfigError(f"run {name!r} could be {some}{more}; give more of its digits")
    return str(found[0].info.run_id) if found else name
