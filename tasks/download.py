"""Folders out of MLflow: those whose files lie on this machine stay where they are, others get one copy per content."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from rnn_model.artefact import MANIFEST, digest_json, open_checked, publish, read_manifest
from rnn_model.checkpoint import CARD
from rnn_model.errors import ConfigError, IntegrityError
from tasks.config import home
from tasks.connection import masked
from tasks.reasons import is_gone, reason

ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND", "BAD_REQUEST")


def download_model(name: str, places: Sequence[str]) -> Path:
    """The checked model folder at the first of these MLflow addresses that holds one; `name` is what was asked for.

    What came over the network is kept under models/ of the data folder, by its content. It is fetched anew each time:
    that the store still holds what was registered is to be seen, not remembered. Raises ConfigError where nothing is,
    IntegrityError for files that are gone or changed, ServiceError.
    """
    for place in places:
        with tempfile.TemporaryDirectory(prefix="carryover-") as temporary:
            try:
                local, here = fetch(place, temporary)
            except (OSError, MlflowException) as error:
                if is_gone(error):
                    raise IntegrityError(f"model {name!r}: its files are gone from the store; make it anew") from None
                if getattr(error, "error_code", "") not in ABSENT:
                    raise reason(error, masked(mlflow.get_tracking_uri()), f"to give model {name!r}") from None
                continue
            if found := list(local.rglob(CARD)):
                return open_checked(found[0].parent) if here else keep(found[0].parent, "models")
    if name.startswith("models:/") and not name.startswith("models:/m-"):
        raise ConfigError(
            f"model {name!r}: no such model, version or alias is registered, or carryover did not log it; "
            "MLflow's page Models lists what there is"
        )
    raise ConfigError(
        f"model {name!r}: MLflow has nothing there that carryover logged; name a pipeline, finetune or pretrain run, "
        "or the address such a run printed"
    )


def fetch(place: str, temporary: str) -> tuple[Path, bool]:
    """The files at an MLflow address, as they lie or fetched to `temporary`; and whether they lie on this machine."""
    here = is_here(place)
    return Path(mlflow.artifacts.download_artifacts(place, dst_path=None if here else temporary)), here


def is_here(place: str) -> bool:
    """Whether an MLflow address leads to files of this machine."""
    repository = get_artifact_repository(place)
    while hasattr(repository, "repo"):  # models:/ and runs:/ stand for another
        repository = repository.repo
    return isinstance(repository, LocalArtifactRepository)


def keep(folder: Path, kind: str) -> Path:
    """A downloaded folder in its place by content under `kind` of the data folder, checked."""
    listed = read_manifest(open_checked(folder))

    def copy(staging: Path) -> None:
        own = str(folder)  # publishing writes its manifest; one in a folder below it is a file like others
        shutil.copytree(folder, staging, dirs_exist_ok=True, ignore=lambda at, _: {MANIFEST} if at == own else set())

    return publish(home() / kind / f"fetched-{digest_json(listed)[:16]}", copy)
