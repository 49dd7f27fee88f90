"""Where MLflow is: addresses without their secrets, a server that has to answer, a store that has to exist."""

import fcntl
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow
import requests
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rnn_model.errors import ConfigError, ServiceError
from tasks.config import TrackingConfig, home

BEGINNING = re.compile("[0-9a-f]{6,31}")  # of the id of a run
NAMED = 3  # runs named in a sentence, at most
CHECK_SECONDS = 5.0  # a server that does not answer by then is down
SETTINGS = {  # the client's own default blocks four minutes on each call while a server is away; these about one
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "6",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # a server's client would print two lines for each run
}
OWN = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


def tracking_uri(config: TrackingConfig) -> str:
    """The declared address, else $MLFLOW_TRACKING_URI, else a SQLite file in the data folder."""
    return config.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow.db'}"


def masked(uri: str) -> str:
    """An address without credentials and query: what may be shown and stored.

    An @ past the host may be the end of a password with a / in it: then nothing but the scheme is shown.
    """
    scheme, _, rest = uri.partition("://")
    if scheme.startswith("sqlite"):  # a file's name may hold an @
        return uri
    parts = urlsplit(uri)
    if "@" in rest.removeprefix(parts.netloc):
        return f"{scheme}://..."
    return f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@contextmanager
def connected(config: TrackingConfig) -> Iterator[MlflowClient]:
    """A client whose server answers, for the length of a `with` block; the environment is as it was afterwards.

    Raises ServiceError (69) within seconds when nothing answers.
    """
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    uri, before = tracking_uri(config), {name: os.environ.get(name) for name in (*OWN, *SETTINGS)}
    try:
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        if uri.startswith("http"):
            uri = _credentials_aside(uri)
            _check_server(uri)
        mlflow.set_tracking_uri(uri)  # it also sets the variable, which a later flow would take for declared
        with migration_lock(uri):
            _check_store(uri)
        yield MlflowClient()
    finally:
        for name, old in before.items():
            os.environ.pop(name, None)
            os.environ |= {name: old} if old is not None else {}


def _credentials_aside(uri: str) -> str:
    """An http address without its credentials, which go to the variables that MLflow reads them from."""
    parts = urlsplit(uri)
    if "@" in parts.path + parts.query + parts.fragment:
        raise ConfigError("MLFLOW_TRACKING_URI has an @ past its host; in a user, password or path write it as %40")
    if parts.username:
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
    return masked(uri)


def _check_server(uri: str) -> None:
    try:
        answer = requests.get(f"{uri.rstrip('/')}/health", timeout=CHECK_SECONDS)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise ServiceError(
            f"MLflow at {uri} does not answer ({type(error).__name__}); start it, or unset MLFLOW_TRACKING_URI"
        ) from None


def _check_store(uri: str) -> None:
    try:
        MlflowClient().search_experiments(max_results=1)
    except Exception as error:  # noqa: BLE001  (every store raises its own kinds, with the address in the text)
        raise ServiceError(f"MLflow at {masked(uri)} does not answer ({type(error).__name__}); check it") from None


@contextmanager
def migration_lock(uri: str) -> Iterator[None]:
    """Two first starts on one SQLite file would race in its migrations and can break it: one at a time."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    database = Path(uri.removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_suffix(".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


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
            where = masked(client.tracking_uri)
            raise ServiceError(f"run {name}: {where} was not searched ({error.error_code}); try again") from None
    if len(found) > 1:
        some = ", ".join(f"{run.info.run_id} ({run.info.run_name})" for run in found[:NAMED])
        more = " and more" if len(found) > NAMED else ""
        raise ConfigError(f"run {name!r} could be {some}{more}; give more of its digits")
    return str(found[0].info.run_id) if found else name
