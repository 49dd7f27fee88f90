"""What MLflow's scoring server answers: a whole forecast, or 400 with the reason; and the champion in new processes."""

import asyncio
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import mlflow
import polars as pl
import pytest
from mlflow.pyfunc import scoring_server
from mlflow.tracking import MlflowClient
from tiny_pipeline import HORIZON, series

from flows.cli import run
from flows.forecast import forecast
from tasks.champion import champion, promote
from tasks.config import PROJECT, HorizonConfig, TrackingConfig
from tasks.handles import Decision, Outcome
from tasks.registry import register
from tasks.series_config import TargetConfig

pytestmark = pytest.mark.usefixtures("one_home")
NAME = "served"
COLUMNS = [f"0.{i}" for i in range(1, 10)]
SAYS = {"metric": "SQL", "champion": "SeasonalNaive", "challenger": "full", "fingerprint": "f"}
YES = Decision(outcome="promote", sentence="better on every series", **SAYS)


@pytest.fixture
def promoted(outcome: Outcome) -> str:
    """The pipeline's model as champion; its address."""
    version = register(NAME, str(outcome.model_uri), outcome.model, YES, "night", TrackingConfig())
    promote(version, None, YES, "night", TrackingConfig())
    return f"models:/{NAME}@champion"


def records(frame: pl.DataFrame | None = None) -> list[dict[str, Any]]:
    """Rows as a request holds them."""
    rows = series() if frame is None else frame
    return rows.with_columns(pl.col("ds").dt.strftime("%Y-%m-%dT%H:%M:%S")).to_dicts()


def changed(**values: Any) -> dict[str, Any]:
    """A request whose eighth row is another."""
    rows = records()
    return {"dataframe_records": [*rows[:7], rows[7] | values, *rows[8:]]}


# ---- the scoring server's own application, in this process


@pytest.fixture(scope="module")
def server(outcome: Outcome) -> Any:
    mlflow.set_tracking_uri(outcome.run.uri)
    return scoring_server.init(mlflow.pyfunc.load_model(str(outcome.model_uri)))


def answer(server: Any, request: Any) -> httpx.Response:
    async def post() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(server), base_url="http://scoring") as client:
            text = request if isinstance(request, str) else json.dumps(request)
            return await client.post("/invocations", content=text, headers={"content-type": "application/json"})

    return asyncio.run(post())


def test_a_request_is_answered_for_every_series_and_step(server: Any) -> None:
    for horizon in (None, 2):
        params = {"params": {"horizon": horizon}} if horizon else {}
        done = answer(server, {"dataframe_records": records()} | params)
        assert done.status_code == 200
        rows = pl.DataFrame(done.json()["predictions"])
        assert rows.group_by("unique_id").len()["len"].to_list() == [horizon or HORIZON] * 3
        assert all(math.isfinite(value) for column in COLUMNS for value in rows[column])


def test_times_without_a_row_are_missing_values(server: Any) -> None:
    rows = records()
    done = answer(server, {"dataframe_records": rows[:7] + rows[8:]})
    assert done.status_code == 200
    assert len(done.json()["predictions"]) == 3 * HORIZON


ROWS = {"dataframe_records": records()}
REFUSED = {
    "NaN": (changed(y=math.nan), "has no y (null or NaN); leave rows without a value out"),
    "null": (changed(y=None), "has no y (null or NaN)"),
    "infinity": (changed(y=math.inf), "has an infinite y"),
    "1e999": (json.dumps(changed(y=-7654321.0)).replace("-7654321.0", "1e999"), "has an infinite y"),
    "1e301": (changed(y=1e301), "beyond 1e300"),
    "y as text": (changed(y="many"), "could not convert string to float: 'many'"),
    "y as list": (changed(y=[1]), "setting an array element with a sequence"),
    "no y": (
        {"dataframe_records": [{k: v for k, v in row.items() if k != "y"} for row in records()]},
        "missing inputs",
    ),
    "another name": (json.dumps(ROWS).replace('"unique_id"', '"store"'), "missing inputs ['unique_id']"),
    "ds as text": (changed(ds="yesterday"), "yesterday"),
    "ds as number": (changed(ds=5), "Failed to convert column ds"),
    "ds off the frequency": (changed(ds="2015-08-02T00:00:00"), "off the frequency"),
    "no ds": (changed(ds=None), "has no ds"),
    "id as number": (changed(unique_id=5), "unique_id is not text in every row"),
    "no id": (changed(unique_id=None), "unique_id is not text in every row"),
    "a row twice": (
        {"dataframe_records": [*records(), records()[7]]},
        "of sine at 2015-08-01 00:00:00 stands there twice",
    ),
    "a time twice": ({"dataframe_records": [*records(), records()[7] | {"y": 1.0}]}, "stands there twice"),
    "no rows": ({"dataframe_records": []}, "missing inputs"),
    "no rows, but columns": ({"dataframe_split": {"columns": ["unique_id", "ds", "y"], "data": []}}, "no rows"),
    "nothing": ({}, "exactly one of the input fields"),
    "no JSON": ("{", "valid JSON formatted string"),
    "horizon 0": (ROWS | {"params": {"horizon": 0}}, "horizon 0: this model answers 1 to"),
    "horizon -1": (ROWS | {"params": {"horizon": -1}}, "horizon -1: this model answers 1 to"),
    "horizon 100000": (ROWS | {"params": {"horizon": 100_000}}, "horizon 100000: this model answers 1 to"),
    "horizon 1.5": (ROWS | {"params": {"horizon": 1.5}}, "Can not safely convert"),
    "horizon as text": (ROWS | {"params": {"horizon": "3"}}, "Can not safely convert"),
    "horizon null": (ROWS | {"params": {"horizon": None}}, "horizon None is no whole number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_request_gets_400_and_the_reason(server: Any, case: str) -> None:
    request, reason = REFUSED[case]
    done = answer(server, request)
    assert done.status_code == 400
    assert reason in done.json()["message"]


# ---- new processes


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def address(outcome: Outcome, promoted: str, port: int, tmp_path: Path) -> Iterator[str]:
    """`mlflow models serve` with the champion, as the documentation starts it."""
    beside = Path(sys.executable).parent
    command = [str(beside / "mlflow"), "models", "serve", "--model-uri", promoted, "--env-manager", "local"]
    path = {"PATH": f"{beside}:{os.environ['PATH']}", "MLFLOW_TRACKING_URI": outcome.run.uri}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env=os.environ | path,
            stdout=log,
            stderr=log,
            cwd=tmp_path,
            start_new_session=True,
        )
    try:
        for _ in range(1200):
            assert process.poll() is None, (tmp_path / "log").read_text()
            try:
                if httpx.get(f"http://127.0.0.1:{port}/ping").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # a session of its own: the command and the server that it starts
        process.wait(timeout=60)


def test_a_real_server_forecasts_with_the_champion_and_refuses_nan(
    address: str, outcome: Outcome, target: Path, home: Path
) -> None:
    config = TargetConfig(path=str(target), freq="MS")
    made = forecast(str(outcome.model.folder), config, HorizonConfig(horizon=HORIZON), output=home / "s.parquet")
    good = httpx.post(address, json={"dataframe_records": records()}, timeout=60)
    assert good.status_code == 200
    served = pl.DataFrame(good.json()["predictions"]).sort("unique_id", "ds")
    assert served.select(COLUMNS).equals(pl.read_parquet(made.output).sort("unique_id", "ds").select(COLUMNS))
    request = json.dumps(changed(y=math.nan))
    bad = httpx.post(address, content=request, headers={"content-type": "application/json"}, timeout=60)
    assert bad.status_code == 400
    assert "the row of sine at 2015-08-01 00:00:00 has no y" in bad.json()["message"]


def test_the_champion_predicts_bit_equal_in_a_new_process(
    outcome: Outcome, promoted: str, target: Path, home: Path
) -> None:
    config = TargetConfig(path=str(target), freq="MS")
    made = forecast(str(outcome.model.folder), config, HorizonConfig(horizon=HORIZON))
    script = (
        "import sys, mlflow, pandas; mlflow.set_tracking_uri(sys.argv[1]);"
        "mlflow.pyfunc.load_model(sys.argv[2]).predict(pandas.read_parquet(sys.argv[3])).to_parquet(sys.argv[4])"
    )
    there = home / "t.parquet"
    command = [sys.executable, "-c", script, outcome.run.uri, promoted, str(target), str(there)]
    subprocess.run(command, check=True, timeout=200, capture_output=True, cwd=PROJECT)
    both = [pl.read_parquet(path).sort("unique_id", "ds").select(COLUMNS) for path in (made.data, there)]
    assert both[0].equals(both[1])


# ---- the command


def test_rollback_prints_where_the_champion_went(
    outcome: Outcome, promoted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rollback", "--name", NAME]) == 2
    assert "version 1 is its first champion" in capsys.readouterr().err.splitlines()[-1]
    client, other = MlflowClient(outcome.run.uri), other_model(outcome)
    logged = client.create_logged_model(outcome.run.experiment_id)
    client.log_model_artifacts(logged.model_id, str(other.folder))
    client.finalize_logged_model(logged.model_id, "READY")
    version = register(NAME, logged.model_uri, other, YES, "next night", TrackingConfig())
    assert promote(version, 1, YES, "next night", TrackingConfig()).result == "promoted"
    assert run(["rollback", "--name", NAME, "--reason", "complaints"]) == 0
    assert f"models:/{NAME}@champion: version 2 -> version 1 (rolled back)\ncomplaints" in capsys.readouterr().out
    found = champion(NAME, TrackingConfig())
    assert found is not None
    assert (found.version, found.weights) == (1, outcome.model.weights)


def other_model(outcome: Outcome) -> Any:
    assert outcome.selection is not None
    return next(c.model for c in outcome.selection.contenders if c.model.weights != outcome.model.weights)
