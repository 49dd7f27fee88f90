"""What MLflow remembers of a run that ended: its status, its tags, and its artefacts."""

import tempfile
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from pydantic import Field

from rnn_model.config import Section
from rnn_model.errors import ConfigError, IntegrityError
from tasks.config import TrackingConfig
from tasks.connection import connected, masked, whole_run_id
from tasks.download import fetch, keep
from tasks.reasons import is_absent, is_away, is_gone, reason

UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")


class Record(Section):
    """A run as it is stored."""

    run_id: str
    name: str
    status: str
    stage: str = Field("active", description="deleted: it is in the store's bin")
    parent: str | None
    tags: dict[str, str]
    model: str = Field(description="what the run is about, where it is a part of another: a strategy or a baseline")
    content: dict[str, Any] | None


def recall(run_id: str, artefact: str, config: TrackingConfig) -> Record:
    """A run, by its id or the beginning of it, and one of its JSON artefacts; `content` is None where it has none of
    that name, or none is asked for.

    Raises ConfigError for an unknown run, IntegrityError for an artefact that cannot be read, ServiceError.
    """
    run_id = whole_run_id(run_id, config)
    with connected(config) as client:
        store = masked(client.tracking_uri)
        try:
            found = client.get_run(run_id)
            content = _content(client, run_id, artefact)
        except MlflowException as error:
            if error.error_code in UNKNOWN:
                raise ConfigError(
                    f"run {run_id!r} is not in {store}; name a run id that MLflow shows there (6 digits will do), or "
                    "another store with --tracking.uri"
                ) from None
            raise reason(error, store, f"to give run {run_id}") from None
    tags = dict(found.data.tags)
    return Record(
        run_id=run_id,
        name=str(found.info.run_name),
        status=str(found.info.status),
        stage=str(found.info.lifecycle_stage),
        parent=tags.get("mlflow.parentRunId"),
        tags=tags,
        model=str(found.data.params.get("candidate", found.info.run_name)),
        content=content,
    )


def _content(client: MlflowClient, run_id: str, artefact: str) -> dict[str, Any] | None:
    if not artefact or artefact not in {file.path for file in client.list_artifacts(run_id)}:
        return None
    try:
        return dict(mlflow.artifacts.load_dict(f"runs:/{run_id}/{artefact}"))
    except (OSError, ValueError, TypeError, RecursionError, MlflowException) as error:
        _refuse_unanswered(error, run_id)
        raise IntegrityError(
            f"run {run_id}: {artefact} cannot be read ({type(error).__name__}); run its flow anew"
        ) from None


def fetch_folder(run_id: str, name: str, config: TrackingConfig) -> Path:
    """A published folder among a run's artefacts: where it lies, or one copy of it by content.

    Raises IntegrityError for one that is gone or changed.
    """
    place = f"runs:/{run_id}/{name}"
    with connected(config), tempfile.TemporaryDirectory(prefix="carryover-") as temporary:
        try:
            local, here = fetch(place, temporary)
            return local if here else keep(local, f"{name}s")
        except (OSError, MlflowException) as error:
            _refuse_unanswered(error, run_id)
            raise IntegrityError(
                f"run {run_id}: {name} cannot be read ({type(error).__name__}); run its flow anew"
            ) from None


def _refuse_unanswered(error: Exception, run_id: str) -> None:
    """A store that was not reached says nothing of what it holds. Raises ServiceError, or what else it has against
    the request."""
    if isinstance(error, OSError | MlflowException) and not is_gone(error) and is_away(error) and not is_absent(error):
        raise reason(error, masked(mlflow.get_tracking_uri()), f"to give the files of run {run_id}") from None
