"""What the tests of tasks share: files to ingest, series as data sets, and one MLflow store."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from batch_maker import HORIZON, Make, card, rows
from mlflow.tracking import MlflowClient
from shelf import Shelf, log_three

from rnn_model.artefact import publish
from rnn_model.checkpoint import save_model
from rnn_model.errors import DataError
from rnn_model.network import build_network
from tasks.config import PROJECT, ForecastConfig, StepsConfig, TrackingConfig
from tasks.connection import connected
from tasks.contract import content_fingerprint
from tasks.forecast import forecast_dataset, pin
from tasks.handles import Dataset, Forecast, Model, Pinned
from tasks.ingest import ingest_files
from tasks.registry import registry_name
from tasks.series_config import SeriesConfig, TargetConfig

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


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A tiny network as a folder, that has seen series a."""
    own = card(seen={"a": "2024-01-10"})
    return save_model(build_network(own.model, HORIZON, seed=1), own, tmp_path / "model")


@pytest.fixture
def target(tmp_path: Path) -> TargetConfig:
    return TargetConfig(path=str(tmp_path / "sales.parquet"), freq="D", max_quarantined=0.7)


@pytest.fixture
def make(target: TargetConfig, tmp_path: Path, model: Path) -> Make:
    """Series, ingested and forecast by the tiny model (or a pinned one); options go to the target."""

    def call(
        series: dict[str, list[float | None]],
        config: ForecastConfig = ForecastConfig(),
        pinned: Pinned | None = None,
        horizon: int | None = None,
        force: bool = False,
        **options: object,
    ) -> Forecast:
        rows(**series).write_parquet(tmp_path / "sales.parquet")
        asked = target.model_copy(update=options)
        dataset = ingest_files(asked, "sales", tmp_path / "raw")
        pinned = pinned or pin(str(model), "sales", TrackingConfig())
        return forecast_dataset(dataset, asked, pinned, StepsConfig(horizon=horizon), config, force)

    return call
