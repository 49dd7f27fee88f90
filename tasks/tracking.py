"""The one door to MLflow: runs, parameters, metrics, figures, data sets and models."""

import json
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mlflow
import polars as pl
from matplotlib.figure import Figure
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.tracking import MlflowClient
from pydantic import BaseModel

from rnn_model.artefact import open_checked
from rnn_model.checkpoint import CARD, content_digest
from rnn_model.errors import CarryoverError, ConfigError, IntegrityError
from rnn_model.failpoints import failpoint
from rnn_model.masking import mask
from rnn_model.private import refuse_writable
from rnn_model.tensor_file import is_pickle, refuse_pickle
from tasks.addresses import check_address, without_model
from tasks.checks import ADDRESS, check_name
from tasks.config import BASE, BASE_FOLDER, PROJECT, TrackingConfig
from tasks.connection import connected, find_experiment, is_run_id, masked, whole_run_id
from tasks.delivery import FAILURES, PARENT, SETTLE_SECONDS, deliver, insist, opened, settle, state_of
from tasks.download import download_model, find_model
from tasks.handles import Dataset, Run
from tasks.reaping import close_abandoned, origin
from tasks.reasons import reason
from tasks.spool import Entry, Header, own_process
from tasks.step import flow_name, in_flow_run, show_artifact

MODEL_NAME = "forecaster"
UI = "http://127.0.0.1:5000"  # where the printed command opens the local store
NOTE = "mlflow.note.content"  # tag: the description on a run's page
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
        named = config.experiment or experiment
        try:
            experiment_id = find_experiment(client, named)
            close_abandoned(client, experiment_id)
        except MlflowException as error:
            raise reason(error, masked(client.tracking_uri), "to open a run") from error
        kind = flow_name() or "pipeline"
        name = f"{time.strftime('%Y-%m-%d %H:%M')} {name}"  # in front: the table of runs cuts names off
        seconds = 0.0
        try:
            with _open(client, experiment_id, name, {"carryover.kind": kind} | _origin(), named) as run:
                log_params(run, sections)
                words = f"MLflow run {run.run_id}"
                show_artifact("link", "mlflow-run", link=page(run), link_text=words, description=name)
                yield run
            seconds = SETTLE_SECONDS
        finally:
            settle(masked(client.tracking_uri), seconds)


@contextmanager
def child(parent: Run, name: str, kind: str, tags: Mapping[str, str] | None = None) -> Iterator[Run]:
    """A run under `parent` for one stage, candidate or baseline; it ends as the block does."""
    client, above = MlflowClient(), state_of(parent).header
    own = {PARENT: above.target, "carryover.kind": kind} | _origin() | dict(tags or {})
    with _open(client, parent.experiment_id, name, own, above.experiment) as run:
        yield run


def log_params(run: Run, sections: Mapping[str, Any]) -> None:
    """Every setting, flattened to section.name, in one call; the whole config also as config.json."""
    plain = {k: v.model_dump(mode="json") if isinstance(v, BaseModel) else v for k, v in sections.items()}
    flat = flatten(plain)
    params = {key: text for key, value in flat.items() if len(text := str(value)) <= PARAM_LIMIT}
    deliver(run, Entry(kind="params", content=params))
    _log_json(run, plain, "config.json")


def log_metrics(run: Run, metrics: Mapping[str, float], step: int = 0) -> None:
    """Metrics of one step in one call; values that are not finite are left out (MLflow would store 1.8e308)."""
    points = [(name, float(value), _now(), step) for name, value in metrics.items() if math.isfinite(value)]
    if points:
        deliver(run, Entry(kind="metrics", content={"points": points}))


def set_tags(run: Run, tags: Mapping[str, str]) -> None:
    """Tags to filter runs by."""
    deliver(run, Entry(kind="tags", content={name: str(text) for name, text in tags.items()}))


def log_dataset(run: Run, dataset: Dataset, context: str) -> None:
    """A data set as the run's input, with our content digest (MLflow's own changes with the Polars version)."""
    frame = pl.read_parquet(dataset.data, n_rows=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow finds two equal readings of a local path, and says so
        source = mlflow.data.from_polars(
            frame, source=str(dataset.data), name=dataset.name, targets="y", digest=dataset.fingerprint[:32]
        )
    stored = dict(source._to_mlflow_entity())
    deliver(run, Entry(kind="input", content={"dataset": stored, "context": context}))
    set_tags(run, {f"data.{context}": dataset.fingerprint})


def describe(run: Run, text: str) -> None:
    """Markdown shown on the run's own page."""
    set_tags(run, {NOTE: text})


def preface(run: Run, text: str) -> None:
    """Markdown put before what the run's description already says."""
    said = [entry.content.get(NOTE) for entry in state_of(run).history if entry.kind == "tags"]
    describe(run, "\n\n".join(part for part in (text, next(filter(None, reversed(said)), "")) if part))


def compare_page(run: Run, run_ids: Sequence[str]) -> str:
    """Address of the page that lays runs side by side."""
    runs = quote(json.dumps(list(run_ids), separators=(",", ":")))
    return (
        f"{page(run).partition('#')[0]}#/compare-runs?runs={runs}&experiments={quote(json.dumps([run.experiment_id]))}"
    )


def log_figure(run: Run, figure: Figure, name: str) -> None:
    """A figure under figures/ of the run."""
    _log_file(run, f"figures/{name}", figure.savefig)


def log_text(run: Run, text: str, name: str) -> None:
    """A text as a file of the run."""
    _log_file(run, name, lambda path: path.write_text(text, encoding="utf-8"))


def log_folder(run: Run, folder: Path, name: str) -> None:
    """A folder's files as artifacts under `name`."""
    deliver(run, Entry(kind="files", content={"path": name}), folder)


def log_table(run: Run, table: Mapping[str, Any], name: str) -> None:
    """A table of figures as JSON."""
    _log_json(run, finite(dict(table)), name)


def _log_json(run: Run, value: Mapping[str, Any], name: str) -> None:
    log_text(run, json.dumps(value, indent=2, default=str), name)


def _log_file(run: Run, name: str, write: Callable[[Path], object]) -> None:
    """A file as an artifact, made by `write` at the path it is given."""
    with tempfile.TemporaryDirectory(prefix="carryover-") as temporary:
        path = Path(temporary) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
        deliver(run, Entry(kind="files"), Path(temporary))


def log_forecaster(run: Run, folder: Path, example: pl.DataFrame, forecast: pl.DataFrame, horizon: int) -> str:
    """The model folder as an MLflow model without pickle: long frame in, forecast frame out. Returns its address."""
    given, made = example.to_pandas(), forecast.to_pandas()

    def log() -> Any:
        with _active(run):
            return mlflow.pyfunc.log_model(
                name=MODEL_NAME,
                python_model=str(PROJECT / "tasks" / "serving.py"),
                artifacts={"model": str(folder)},
                model_config={"content": content_digest(folder)},
                signature=infer_signature(given, made, params={"horizon": horizon}),
                input_example=given,
                code_paths=[str(PROJECT / "rnn_model"), str(PROJECT / "tasks")],
                pip_requirements=_requirements(),
            )

    info = insist(run.uri, log, "to log the model")
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
def _open(
    client: MlflowClient, experiment_id: str, name: str, tags: Mapping[str, str], experiment: str = ""
) -> Iterator[Run]:
    uri, started = masked(client.tracking_uri), _now()
    own = dict(tags)
    made = insist(uri, lambda: client.create_run(experiment_id, started, own, name), "to open a run")
    run = Run(uri=uri, experiment_id=experiment_id, run_id=made.info.run_id, name=name)
    about = dict(run) | {"experiment": experiment, "tags": own, "started": started}
    opened(Header.model_validate(about | own_process()))
    try:
        yield run
    except Exception as error:
        words = mask(f"{type(error).__name__}: {error}")[:500]
        with suppress(*FAILURES, CarryoverError):  # the error that counts is the first one
            set_tags(run, {"carryover.error": words})
            _end(run, "FAILED")
        if isinstance(error, FAILURES):
            raise reason(error, run.uri, "in mid-run") from error
        raise
    except BaseException:  # an interrupt or a termination, not a fault
        with suppress(*FAILURES, CarryoverError):
            _end(run, "KILLED")
        raise
    _end(run, "FINISHED")


def _end(run: Run, status: str) -> None:
    deliver(run, Entry(kind="end", content={"status": status, "time": _now()}))


@contextmanager
def _active(run: Run) -> Iterator[None]:
    """Make `run` the fluent API's run for a block, and leave its status alone."""
    run_id = state_of(run).header.target
    status = MlflowClient().get_run(run_id).info.status
    with mlflow.start_run(run_id=run_id):
        yield
    MlflowClient().update_run(run_id, status=status)


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
