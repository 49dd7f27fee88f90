"""The one door to MLflow: runs, parameters, metrics, figures, data sets and models."""

import json
import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mlflow
import polars as pl
from matplotlib.figure import Figure
from mlflow.entities import Experiment, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.tracking import MlflowClient
from pydantic import BaseModel

from rnn_model.artefact import open_checked
from rnn_model.checkpoint import CARD, content_digest
from rnn_model.errors import ConfigError, IntegrityError, ServiceError
from rnn_model.failpoints import failpoint
from rnn_model.masking import mask
from rnn_model.private import refuse_writable
from rnn_model.tensor_file import is_pickle, refuse_pickle
from tasks.addresses import check_address, without_model
from tasks.checks import ADDRESS, check_name
from tasks.config import BASE, BASE_FOLDER, PROJECT, TrackingConfig, home
from tasks.connection import connected, is_run_id, masked, whole_run_id
from tasks.download import download_model, find_model
from tasks.handles import Dataset, Run
from tasks.reaping import close_abandoned, origin
from tasks.step import flow_name, in_flow_run, show_artifact

MODEL_NAME = "forecaster"
UI = "http://127.0.0.1:5000"  # where the printed command opens the local store
KIND = "custom_model_development"  # the UI opens such experiments on their training runs
PARAM_LIMIT = 6000  # characters; MLflow cuts longer ones in silence, so they go to config.json alone


def page(run: Run) -> str:
    """Address of a run's page."""
    base = run.uri if run.uri.startswith("http") else UI
    return f"{base}/#/experiments/{run.experiment_id}/runs/{run.run_id}"


@contextmanager
def tracked(config: TrackingConfig, experiment: str, name: str, sections: Mapping[str, Any]) -> Iterator[Run]:
    """A parent run for one flow run: the config as parameters, linked with the Prefect run both ways.

    Reads FAILED when the block raises, KILLED when it was stopped, FINISHED otherwise.
    """
    with connected(config) as client:
        experiment_id = _experiment(client, config.experiment or experiment)
        close_abandoned(client, experiment_id)
        kind = flow_name() or "pipeline"
        name = f"{time.strftime('%Y-%m-%d %H:%M')} {name}"  # in front: the table of runs cuts names off
        with _open(client, experiment_id, name, {"carryover.kind": kind} | _origin()) as run:
            log_params(run, sections)
            words = f"MLflow run {run.run_id}"
            show_artifact("link", "mlflow-run", link=page(run), link_text=words, description=name)
            yield run


@contextmanager
def child(parent: Run, name: str, kind: str, tags: Mapping[str, str] | None = None) -> Iterator[Run]:
    """A run under `parent` for one stage, candidate or baseline; it ends as the block does."""
    client = MlflowClient()
    own = {"mlflow.parentRunId": parent.run_id, "carryover.kind": kind} | _origin() | dict(tags or {})
    with _open(client, parent.experiment_id, name, own) as run:
        yield run


def log_params(run: Run, sections: Mapping[str, Any]) -> None:
    """Every setting, flattened to section.name, in one call; the whole config also as config.json."""
    plain = {k: v.model_dump(mode="json") if isinstance(v, BaseModel) else v for k, v in sections.items()}
    flat = flatten(plain)
    client = MlflowClient()
    params = [Param(key, text) for key, value in flat.items() if len(text := str(value)) <= PARAM_LIMIT]
    for start in range(0, len(params), 100):
        client.log_batch(run.run_id, params=params[start : start + 100])
    client.log_dict(run.run_id, plain, "config.json")


def log_metrics(run: Run, metrics: Mapping[str, float], step: int = 0) -> None:
    """Metrics of one step in one call; values that are not finite are left out (MLflow would store 1.8e308)."""
    finite = [Metric(k, float(v), _now(), step) for k, v in metrics.items() if v == v and abs(v) != float("inf")]
    if finite:
        MlflowClient().log_batch(run.run_id, metrics=finite)


def set_tags(run: Run, tags: Mapping[str, str]) -> None:
    """Tags to filter runs by."""
    MlflowClient().log_batch(run.run_id, tags=[RunTag(k, v) for k, v in tags.items()])


def log_dataset(run: Run, dataset: Dataset, context: str) -> None:
    """A data set as the run's input, with our content digest (MLflow's own changes with the Polars version)."""
    frame = pl.read_parquet(dataset.data, n_rows=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow finds two equal readings of a local path, and says so
        source = mlflow.data.from_polars(
            frame, source=str(dataset.data), name=dataset.name, targets="y", digest=dataset.fingerprint[:32]
        )
    with _active(run):
        mlflow.log_input(source, context=context)
    set_tags(run, {f"data.{context}": dataset.fingerprint})


def describe(run: Run, text: str) -> None:
    """Markdown shown on the run's own page."""
    set_tags(run, {"mlflow.note.content": text})


def preface(run: Run, text: str) -> None:
    """Markdown put before what the run's description already says."""
    said = MlflowClient().get_run(run.run_id).data.tags.get("mlflow.note.content", "")
    describe(run, "\n\n".join(part for part in (text, said) if part))


def compare_page(run: Run, run_ids: Sequence[str]) -> str:
    """Address of the page that lays runs side by side."""
    runs = quote(json.dumps(list(run_ids), separators=(",", ":")))
    return (
        f"{page(run).partition('#')[0]}#/compare-runs?runs={runs}&experiments={quote(json.dumps([run.experiment_id]))}"
    )


def log_figure(run: Run, figure: Figure, name: str) -> None:
    """A figure under figures/ of the run."""
    MlflowClient().log_figure(run.run_id, figure, f"figures/{name}")


def log_text(run: Run, text: str, name: str) -> None:
    """A text as a file of the run."""
    MlflowClient().log_text(run.run_id, text, name)


def log_folder(run: Run, folder: Path, name: str) -> None:
    """A folder's files as artifacts under `name`."""
    MlflowClient().log_artifacts(run.run_id, str(folder), name)


def log_table(run: Run, table: Mapping[str, Any], name: str) -> None:
    """A table of figures as JSON."""
    MlflowClient().log_dict(run.run_id, finite(dict(table)), name)


def log_forecaster(run: Run, folder: Path, example: pl.DataFrame, forecast: pl.DataFrame, horizon: int) -> str:
    """The model folder as an MLflow model without pickle: long frame in, forecast frame out. Returns its address."""
    given, made = example.to_pandas(), forecast.to_pandas()
    with _active(run):
        info = mlflow.pyfunc.log_model(
            name=MODEL_NAME,
            python_model=str(PROJECT / "tasks" / "serving.py"),
            artifacts={"model": str(folder)},
            model_config={"content": content_digest(folder)},
            signature=infer_signature(given, made, params={"horizon": horizon}),
            input_example=given,
            code_paths=[str(PROJECT / "rnn_model"), str(PROJECT / "tasks")],
            pip_requirements=_requirements(),
        )
    failpoint("model logged")
    return str(info.model_uri)


def fetch_model(name: str, config: TrackingConfig) -> Path:
    """The checked model folder behind `base`, a folder's path, an MLflow address (models:/, runs:/) or a run id,
    whole or its beginning.

    Only safetensors and JSON are taken from MLflow; nothing stored there is executed. Raises ConfigError for a
    name that leads nowhere, IntegrityError for a damaged model, UnsafeError for one that would run code.
    """
    if name == BASE or Path(name).is_dir():
        folder = BASE_FOLDER if name == BASE else Path(name)
        if name != BASE:
            refuse_writable(folder, "model")
        return open_checked(find_model(folder) or folder)
    if Path(name).is_file():
        if is_pickle(Path(name)):
            refuse_pickle(Path(name))
        raise ConfigError(f"model {name!r} is a file; give the folder that holds its {CARD} and its weights")
    if name.startswith(ADDRESS):
        check_name(name)
    name = whole_run_id(name, config)
    is_run = is_run_id(name)
    address = f"runs:/{name}/{MODEL_NAME}" if is_run else name
    if not address.startswith(ADDRESS):
        raise ConfigError(
            f"model {name!r} is not known; give {BASE}, a model folder, models:/NAME@ALIAS, runs:/ID/{MODEL_NAME} "
            "or a run id, whole or its first 6 digits"
        )
    places = (address, f"runs:/{name}/model") if is_run else (address,)
    with connected(config) as client:
        content = check_address(client, address)
        try:
            folder = download_model(name, places)
        except ConfigError as error:
            raise without_model(client, address) or error from None
    if content and content_digest(folder) != content:
        raise IntegrityError(f"model {name!r}: its files are not those that its run logged; put them back")
    return folder


def flatten(sections: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as one level: {"window": {"horizon": 8}} -> {"window.horizon": 8}."""
    flat: dict[str, Any] = {}
    for key, value in sections.items():
        inner = value.items() if isinstance(value, Mapping) else None
        flat |= flatten(value, f"{prefix}{key}.") if inner is not None else {f"{prefix}{key}": value}
    return flat


def finite(value: Any) -> Any:
    """The same with null for numbers that JSON does not know."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def _open(client: MlflowClient, experiment_id: str, name: str, tags: Mapping[str, str]) -> Iterator[Run]:
    made = client.create_run(experiment_id, run_name=name, tags=dict(tags))
    run = Run(uri=masked(client.tracking_uri), experiment_id=experiment_id, run_id=made.info.run_id, name=name)
    try:
        yield run
    except Exception as error:
        with suppress(MlflowException):  # the error that counts is the first one
            client.set_tag(run.run_id, "carryover.error", mask(f"{type(error).__name__}: {error}")[:500])
            client.set_terminated(run.run_id, "FAILED")
        if isinstance(error, MlflowException):
            raise ServiceError(f"MLflow at {run.uri} failed in mid-run ({error.error_code}); run it again") from error
        raise
    except BaseException:  # an interrupt or a termination, not a fault
        with suppress(MlflowException):
            client.set_terminated(run.run_id, "KILLED")
        raise
    client.set_terminated(run.run_id, "FINISHED")


@contextmanager
def _active(run: Run) -> Iterator[None]:
    """Make `run` the fluent API's run for a block, and leave its status alone."""
    status = MlflowClient().get_run(run.run_id).info.status
    with mlflow.start_run(run_id=run.run_id):
        yield
    MlflowClient().update_run(run.run_id, status=status)


def _experiment(client: MlflowClient, name: str) -> str:
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


def _origin() -> dict[str, str]:
    tags = origin()
    if in_flow_run():
        from prefect.runtime import flow_run

        tags["mlflow.source.name"] = f"flow {flow_run.flow_name}"
        tags |= {"prefect.flow_run_id": str(flow_run.id), "prefect.flow_run_name": str(flow_run.name)}
        url = str(flow_run.ui_url)
        tags |= {"prefect.flow_run_url": url} if url.startswith("http") else {}
    return tags


def _requirements() -> list[str]:
    """What a served model needs, at the project's pinned versions."""
    needed = ("mlflow", "torch", "numpy", "pandas", "polars", "pandera", "pydantic", "safetensors", "psutil")
    return [f"{name}=={version(name).partition('+')[0]}" for name in needed]


def _now() -> int:
    return int(time.time() * 1000)
