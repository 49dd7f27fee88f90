"""What the tests of tasks share: files to ingest, series as data sets, and one MLflow store."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from mlflow.tracking import MlflowClient
from shelf import Shelf, log_three

from rnn_model.artefact import publish
from rnn_model.errors import DataError
from tasks.config import PROJECT, TrackingConfig
from tasks.connection import connected
from tasks.contract import content_fingerprint
from tasks.handles import Dataset, Model
from tasks.ingest import ingest_files
from tasks.registry import registry_name
from tasks.series_config import SeriesConfig

START_TWICE = """
import json, os, sys
from tasks.config import TrackingConfig
from tasks.connection import connected
children = []
for _ in range(2):
    children.append(os.fork())
    if not children[-1]:
        with connected(TrackingConfig(uri=sys.argv[1])) as client:
            client.search_experiments()
        os._exit(0)
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]))
"""


@pytest.fixture(autouse=True, scope="module")
def on_one_thread(one_thread: None) -> None:
    """Every module here."""


@pytest.fixture(scope="session")
def starts(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[int], str]:
    """Two processes that start on a fresh store at once: its address, their exit codes and their errors."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    command = [sys.executable, "-c", START_TWICE, uri]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    return uri, json.loads(done.stdout or "[]"), done.stderr[-2000:]


@pytest.fixture(scope="session")
def store(starts: tuple[str, list[int], str]) -> TrackingConfig:
    """One SQLite store for the session: its migrations take seconds, and those two have made it."""
    return TrackingConfig(uri=starts[0])


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Dataset]:
    """Daily series from 2024-01-01 on as a validated data set: season 7, on the grid, in the order given."""

    def call(**series: list[float | None]) -> Dataset:
        day = datetime(2024, 1, 1)
        points = [(name, day + timedelta(days=n), y) for name, values in series.items() for n, y in enumerate(values)]
        schema = {"unique_id": pl.String, "ds": pl.Datetime("us"), "y": pl.Float64}
        frame = pl.DataFrame(points, schema=schema, orient="row")
        fingerprint = content_fingerprint(frame)
        folder = publish(tmp_path / fingerprint[:16], lambda staging: frame.write_parquet(staging / "data.parquet"))
        return Dataset(
            folder=folder,
            fingerprint=fingerprint,
            name="rows",
            freq="D",
            season=7,
            periods=(7, 364),
            gaps="missing",
            rows=frame.height,
            series=len(series),
        )

    return call


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Dataset]:
    """Write content to a file (text, bytes or a frame) and ingest it; options go to the config."""

    def call(content: str | bytes | pl.DataFrame, name: str = "rows.csv", **options: object) -> Dataset:
        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True)
        if isinstance(content, pl.DataFrame):
            content.write_parquet(path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        config = SeriesConfig.model_validate({"path": str(path), "freq": "D"} | options)
        return ingest_files(config, "rows", tmp_path / "raw")

    return call


@pytest.fixture
def refusal(read: Callable[..., Dataset]) -> Callable[..., str]:
    """As `read`, for content that is refused as bad data: the one line that says why."""

    def call(content: str | bytes | pl.DataFrame, name: str = "rows.csv", **options: object) -> str:
        with pytest.raises(DataError) as raised:
            read(content, name, **options)
        assert raised.value.exit_code == 65
        assert "\n" not in str(raised.value)
        return str(raised.value)

    return call


@pytest.fixture(scope="session")
def logged(store: TrackingConfig, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Model]]:
    """Three models that differ in their weights, each logged once."""
    return log_three(store, tmp_path_factory.mktemp("logged"))


@pytest.fixture
def shelf(store: TrackingConfig, logged: list[tuple[str, Model]], tmp_path: Path) -> Shelf:
    """Those models, under a registered name of the test's own."""
    return Shelf(store, logged, registry_name(tmp_path.name))


@pytest.fixture
def client(store: TrackingConfig) -> Iterator[MlflowClient]:
    """A client of the tests' store, for as long as a test runs."""
    with connected(store) as open_client:
        yield open_client
