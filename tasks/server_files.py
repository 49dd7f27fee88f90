"""Files that came into MLflow through a server, asked for while the store is open without it.

The store then knows them by addresses such as mlflow-artifacts:/1/models/m-.../artifacts, which are the server's own.
Where the server kept them in a folder of this machine, they are read there; else the error names the server.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

from rnn_model.errors import IntegrityError, ServiceError
from tasks.connection import masked
from tasks.servers import Server, recorded

SCHEME = "mlflow-artifacts"
DESTINATION = "--artifacts-destination"  # the option by which a server is told where its files go
USUAL_PLACE = "mlartifacts"  # beside the store, where nothing else was said


def read_without_server() -> None:
    """From now on MLflow finds such files in this process, as `repository` says."""
    get_registered_artifact_repositories()[SCHEME] = repository


def repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> ArtifactRepository:
    """What gives the files at an address: the server where MLflow is one, else the folder in which it kept them.

    Raises ServiceError (69) with the server that is needed, IntegrityError for an address that leads out of it.
    """
    store = tracking_uri or mlflow.get_tracking_uri()
    if store.startswith("http"):
        return MlflowArtifactsRepository(artifact_uri, tracking_uri, registry_uri)
    return LocalArtifactRepository(kept_in(artifact_uri, store).as_uri())


def kept_in(artifact_uri: str, store: str) -> Path:
    """The folder of such an address on this machine. Raises as `repository`."""
    place = urlsplit(artifact_uri)
    parts = [part for part in unquote(place.path).split("/") if part]
    if ".." in parts:
        raise IntegrityError(f"{SCHEME}:/{'/'.join(parts)}: leads out of a server's folder; look who wrote it there")
    for root in _roots(store):
        if parts and not place.netloc and (root / parts[0]).is_dir():  # one folder for each experiment
            return root.joinpath(*parts)
    server = next((each.url for each in _servers(store)), "")
    where = f"http://{place.netloc.rpartition('@')[2]}" if place.netloc else server
    raise ServiceError(
        f"{SCHEME}:/{'/'.join(parts)} of {masked(store)} is kept by an MLflow server{f', {where},' if where else ''} "
        "and not by this machine; start that server (carryover services starts the data folder's own), and set "
        f"MLFLOW_TRACKING_URI to {where or 'its address'}"
    )


def _roots(store: str) -> Iterator[Path]:
    """Folders of this machine in which a server of that store may keep its files."""
    for server in _servers(store):
        words = list(server.command)
        if DESTINATION in words[:-1]:
            yield from _local(words[words.index(DESTINATION) + 1])
    yield from _local(os.environ.get("CARRYOVER_ARTIFACTS", ""))
    if store.startswith("sqlite:///"):
        yield Path(store.removeprefix("sqlite:///")).absolute().parent / USUAL_PLACE


def _servers(store: str) -> list[Server]:
    """The servers of that store which were started here, running or not."""
    return [server for server in recorded() if server.store and server.store == masked(store)]


def _local(place: str) -> list[Path]:
    """A place as a folder of this machine, if it is one."""
    if place.startswith("file://"):
        return [Path(unquote(urlsplit(place).path))]
    return [Path(place).absolute()] if place and "://" not in place else []
