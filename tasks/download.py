"""Folders out of MLflow: those whose files lie on this machine stay where they are, others get one copy per content."""

import shutil
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from rnn_model.artefact import MANIFEST, digest_json, open_checked, publish, read_manifest, sha256_file
from rnn_model.checkpoint import CARD, load_card
from rnn_model.errors import ConfigError, IntegrityError, UnsafeError
from rnn_model.tensor_file import is_pickle, refuse_pickle
from tasks.config import home
from tasks.connection import masked
from tasks.reasons import is_gone, reason
from tasks.server_files import read_without_server

read_without_server()  # for all that asks MLflow for files comes through here

INSIDE = Path("artifacts/model")  # where a logged model has its model folder
SIGNED = "MLmodel"  # what MLflow says of a logged model
LOOKED_AT = 1000  # files of a folder that holds no model
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
            if found := find_model(local):
                return open_checked(found) if here else keep_model(found)
    if name.startswith("models:/") and not name.startswith("models:/m-"):
        raise ConfigError(
            f"model {name!r}: no such model, version or alias is registered, or carryover did not log it; "
            "MLflow's page Models lists what there is"
        )
    raise ConfigError(
        f"model {name!r}: MLflow has nothing there that carryover logged; name a pipeline, finetune or pretrain run, "
        "or the address such a run printed"
    )


def find_model(root: Path) -> Path | None:
    """The model folder in what a name led to: the folder itself, or where a logged model has it. None where there is
    none.

    Raises UnsafeError (77) for one outside, and for what would run code when it is loaded.
    """
    nested = sorted((path.parent for path in root.rglob(CARD)), key=lambda path: len(path.parts))
    found = next((folder for folder in (root, root / INSIDE, *nested) if (folder / CARD).is_file()), None)
    if found is None:
        refuse_code(root)
        return None
    if not found.resolve().is_relative_to(root.resolve()):
        raise UnsafeError(f"{found}: a link out of {root}; put the folder itself there, or name the other one")
    return found


def refuse_code(root: Path) -> None:
    """Raise UnsafeError for a folder with a pickle, or with a model that another program logged to MLflow."""
    for path in islice(root.rglob("*"), LOOKED_AT):
        if path.is_file() and is_pickle(path):
            refuse_pickle(path)
    if (root / SIGNED).is_file():
        raise UnsafeError(
            f"{root}: a model that carryover did not log; loading it would run its code. Name a carryover model."
        )


def keep_model(folder: Path) -> Path:
    """As `keep`, of a model; with one whose card is too old to tell its horizon goes what MLflow says of that."""
    signed = folder.parents[1] / SIGNED
    if load_card(folder).tuned_for is not None or folder.parts[-2:] != INSIDE.parts or not signed.is_file():
        return keep(folder, "models")
    key = digest_json([read_manifest(open_checked(folder)), sha256_file(signed)])

    def copy(staging: Path) -> None:
        shutil.copytree(folder, staging / INSIDE)
        shutil.copy(signed, staging / SIGNED)

    return open_checked(publish(home() / "models" / f"fetched-{key[:16]}", copy) / INSIDE)


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
