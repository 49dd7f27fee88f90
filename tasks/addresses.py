"""What a model's name leads to in MLflow: a registered version, a logged model or a run. Where it leads nowhere, the
error says what there is instead."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import mlflow
from mlflow.entities import Run as StoredRun
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rnn_model.errors import ConfigError, IntegrityError
from tasks.connection import is_run_id, masked
from tasks.reasons import reason

REGISTERED = re.compile(r"models:/([^/@]+)(?:/([^/@]+)|@([^/@]+))")
LOGGED = re.compile(r"models:/(m-[^/@]+)")
OF_RUN = re.compile(r"runs:/([^/]+)(?:/.*)?")
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND", "BAD_REQUEST")
READY = "READY"
MODEL_TAG, CONTENT_TAG = "carryover.model", "carryover.content"  # of a run: address of what it logged, and its digest
SHOWN = 3  # of what there is instead


def check_address(client: MlflowClient, address: str) -> str:
    """What the model at an address was when a run logged it: the digest of weights and card; "" where no run says so.

    Raises ConfigError (2) for a run, model, version, alias or stage that does not exist, IntegrityError (76) for a
    model whose logging did not come to its end, ServiceError.
    """
    with _asked(client):
        if asked := REGISTERED.fullmatch(address):
            find_number(client, *asked.groups())
            return ""
        if logged := LOGGED.fullmatch(address):
            return _of_logged(client, logged[1])
        of_run = OF_RUN.fullmatch(address)
        run = _run(client, of_run[1] if of_run else address)
        return str(run.data.tags.get(CONTENT_TAG, ""))


def without_model(client: MlflowClient, address: str) -> ConfigError | IntegrityError | None:
    """Why a run that exists gave no model; None where it is no address of a run."""
    of_run = OF_RUN.fullmatch(address)
    run_id = of_run[1] if of_run else address
    if not is_run_id(run_id):
        return None
    with _asked(client):
        run = _run(client, run_id)
        title = f"run {run_id} ({run.info.run_name}, {run.info.status})"
        if MODEL_TAG in run.data.tags:
            return IntegrityError(
                f"{title}: the files of its model are gone from the store; put them back, or run its flow anew"
            )
        return ConfigError(f"{title} logged no model; {_runs_with_models()}")


def find_number(client: MlflowClient, name: str, place: str | None, alias: str | None) -> int:
    """The version behind models:/NAME/PLACE (a number, latest or a stage) or models:/NAME@ALIAS.

    Raises ConfigError with what there is, IntegrityError (76) for an alias that is not set.
    """
    model = _registered(client, name)
    versions = sorted(client.search_model_versions(f"name = '{name}'"), key=lambda v: int(v.version))
    if alias is not None:
        if alias not in model.aliases:
            known = ", ".join(f"@{each} (version {number})" for each, number in sorted(model.aliases.items()))
            raise IntegrityError(
                f"model {name} has no alias @{alias}; it has {known or 'none'}, and {_numbers(versions)}; name one"
            )
        return int(model.aliases[alias])
    assert place is not None
    wanted = [v for v in versions if place in (str(v.version), "latest") or _stage(v).lower() == place.lower()]
    if wanted:
        return int(wanted[-1].version)
    if place.isdigit():
        raise ConfigError(f"model {name} has no version {place} (any more); it has {_numbers(versions)}")
    stages = sorted({_stage(v) for v in versions} - {""})
    raise ConfigError(
        f"model {name} has no version in stage {place!r}; stages in use are: {', '.join(stages) or 'none'}; it has "
        f"{_numbers(versions)}, and aliases are written models:/{name}@ALIAS"
    )


def _stage(version: ModelVersion) -> str:
    """The stage of a version; empty where it has none, which MLflow calls None."""
    stage = str(version.current_stage)
    return "" if stage == "None" else stage


def _registered(client: MlflowClient, name: str) -> RegisteredModel:
    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        known = [model.name for model in client.search_registered_models(max_results=SHOWN + 1)]
        where = masked(client.tracking_uri)
        raise ConfigError(
            f"no model {name!r} is registered in {where}; {_some('registered are', known)}; --tracking.uri names "
            "another store"
        ) from None


def _of_logged(client: MlflowClient, model_id: str) -> str:
    """What the run that logged a model says of its content."""
    try:
        model = client.get_logged_model(model_id)
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        raise ConfigError(
            f"no model {model_id} is logged in {masked(client.tracking_uri)}; {_runs_with_models()}"
        ) from None
    if str(model.status) != READY:
        raise IntegrityError(f"model models:/{model_id} reads {model.status}, not {READY}; run its flow again")
    try:
        tags = client.get_run(model.source_run_id).data.tags if model.source_run_id else {}
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        tags = {}
    return str(tags.get(CONTENT_TAG, "")) if tags.get(MODEL_TAG) == f"models:/{model_id}" else ""


def _run(client: MlflowClient, run_id: str) -> StoredRun:
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        raise ConfigError(f"run {run_id!r} is not in {masked(client.tracking_uri)}; {_runs_with_models()}") from None
    if run.info.lifecycle_stage != "active":
        raise ConfigError(
            f"run {run_id} is deleted; mlflow runs restore --run-id {run_id} takes it back, or name another: "
            f"{_runs_with_models()}"
        )
    return run


def _runs_with_models() -> str:
    found = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=f"tags.`{MODEL_TAG}` LIKE 'models:/%'",
        order_by=["attributes.start_time DESC"],
        max_results=SHOWN + 1,
        output_format="list",
    )
    return _some("the latest runs with a model are", [f"{run.info.run_id} ({run.info.run_name})" for run in found])


def _numbers(versions: Iterable[ModelVersion]) -> str:
    return _some("versions", [str(version.version) for version in reversed(list(versions))])


def _some(what: str, names: list[str]) -> str:
    """The first of what there is, in words."""
    more = " and more" if len(names) > SHOWN else ""
    return f"{what} {', '.join(names[:SHOWN]) or 'none'}{more}"


@contextmanager
def _asked(client: MlflowClient) -> Iterator[None]:
    """A store that fails within the block is a ServiceError (69)."""
    try:
        yield
    except MlflowException as error:
        raise reason(error, masked(client.tracking_uri), "to look the model up") from None
