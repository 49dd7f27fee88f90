"""A canary is put into every door by which a text comes in: it is on no screen, in no log, in no file afterwards."""

import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.cli import run
from rnn_model.errors import UnsafeError
from tasks.config import GateConfig, PretrainConfig, RunnerConfig, TrackingConfig
from tasks.series_config import TargetConfig
from tasks.tracking import fetch_model

CANARY = "c4n4rySECRET"
ADDRESS = f"http://user:{CANARY}@host.example/x"
DATABASE = f"postgresql://user:{CANARY}@127.0.0.1:9/shop"


def found(folder: Path) -> list[str]:
    """The files under a folder in which the canary is."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


@pytest.fixture
def silent(data_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that has to be refused, with the canary nowhere; what it said."""

    def check(code: int, *options: str) -> str:
        assert run(list(options)) == code
        said = capfd.readouterr()
        assert CANARY not in said.err + said.out, said
        assert not found(data_folder)
        return said.err.strip()

    return check


@pytest.mark.parametrize(
    "options",
    [
        ["forecast", "--model", ADDRESS],
        ["forecast", "--model", ADDRESS.replace("//", "/")],
        ["forecast", "--model", ADDRESS.replace("http://", "HTTP:///")],
        ["forecast", "--model", ADDRESS.removeprefix("http://")],
        ["forecast", "--model", f"https://{CANARY}@host.example/x"],
        ["forecast", "--model", f"https://host.example/x?token={CANARY}"],
        ["forecast", "--model", f"s3://b/m?X-Amz-Signature={CANARY}"],
        ["forecast", "--model", f"host=h user=u password={CANARY}"],
        ["forecast", f"--model={ADDRESS}"],
        ["forecast", "--output", f"/{ADDRESS}.parquet"],
        ["forecast", "--traking.uri", ADDRESS],
        ["forecast", f"--traking.uri={ADDRESS}"],
        ["forecast", f"--{ADDRESS}"],
        ["forecast", "--tracking.uri", ADDRESS],
        ["forecast", "--tracking.uri", ADDRESS.replace("//", "/")],
        ["forecast", "--tracking.experiment", ADDRESS],
        ["forecast", "--tracking", ADDRESS],
        ["forecast", "--target", DATABASE],
        ["forecast", "--target", f'{{"pth": "{DATABASE}"}}'],
        ["forecast", "--target", f'{{"columns": "{DATABASE}"}}'],
        ["forecast", "--target.columns", DATABASE],
        ["forecast", "--target.connection", DATABASE],
        ["forecast", "--target.connection", CANARY],
        ["forecast", "--target.path", ADDRESS.replace("//", "/"), "--target.freq", "D"],
        ["forecast", "--target.path", f"s3:/{CANARY}:x@b/x.csv", "--target.freq", "D"],
        ["forecast", "--target.freq", ADDRESS],
        ["forecast", "--target.as_of", ADDRESS],
        ["forecast", "--target.called", ADDRESS],
        ["forecast", "--target.null_values", f'["{ADDRESS}"]'],
        ["forecast", "--target.query", f"SELECT * FROM dblink('{DATABASE}')", "--target.connection", "DB"],
        ["forecast", "--window.horizon", ADDRESS],
        ["forecast", "--seed", ADDRESS],
        ["forecast", ADDRESS],
        ["forecast", "--force", ADDRESS],
        ["forecast", "-p", CANARY],
        ["forecast", "--config", ADDRESS],
        ["run", "--pretrain.from", ADDRESS],
        ["run", "--gate.champion", ADDRESS],
        ["sweep", "--runner.kind", "dask", "--runner.address", ADDRESS],
        ["sweep", "--runner.address", ADDRESS],
        ["sweep", "--grid.seed", ADDRESS],
        ["sweep", "--grid.tracking.uri", f'["{ADDRESS}"]'],
        ["sweep", f"--grid.{ADDRESS}", "[1]"],
        ["sweep", "--grid.seed", f'"http://user:{CANARY}{"x" * 90}@h"'],
        ["rollback", ADDRESS],
        ["rollback", "sales", "--reason", ADDRESS],
        ["replay", ADDRESS],
        ["replay", "a", ADDRESS],
        ["compare", ADDRESS, "b"],
        ["leaderboard", "--folder", ADDRESS],
        [ADDRESS],
    ],
    ids=lambda options: " ".join(options).replace(CANARY, "CANARY")[:80],
)
def test_no_option_shows_or_stores_a_secret(options: list[str], silent: Callable[..., str]) -> None:
    assert silent(2, *options).startswith("carryover: ")


@pytest.mark.parametrize(
    "content",
    [
        f"tracking: {{uril: '{ADDRESS}'}}",
        f"tracking: {{uril: {CANARY}}}",
        f"tracking: {{password: {CANARY}}}",
        f"tracking: '{ADDRESS}'",
        f"trackin: {{uri: '{ADDRESS}'}}",
        f"target: '{DATABASE}'",
        f"target: {CANARY}",
        f"target: ['{DATABASE}']",
        f"target: {{columns: '{DATABASE}'}}",
        f"target: {{columns: {CANARY}}}",
        f"target: {{path: ['{DATABASE}'], freq: D}}",
        f"target: {{called: {{x: '{DATABASE}'}}}}",
        f"window: {{horizon: '{DATABASE}'}}",
        f"model: '{ADDRESS}'",
        f"model: *{CANARY}",
        f"model: !{CANARY} x",
        f"model: '{ADDRESS}",
        f"{{a: %{CANARY}",
        f"'{ADDRESS}'",
        f"? '{ADDRESS}'\n: 1",
    ],
    ids=lambda content: content.replace(CANARY, "CANARY"),
)
def test_no_configuration_file_shows_or_stores_a_secret(
    content: str, silent: Callable[..., str], tmp_path: Path
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(content)
    assert silent(2, "forecast", "--config", str(file)).startswith("carryover: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("MLFLOW_TRACKING_URI", f"http://user:{CANARY}@127.0.0.1:9", 69),
        ("MLFLOW_TRACKING_URI", f"http:/user:{CANARY}@127.0.0.1:9", 2),
        ("MLFLOW_TRACKING_URI", f"http://127.0.0.1:9/?token={CANARY}", 69),
        ("MLFLOW_TRACKING_URI", f"ftp:/user:{CANARY}@host", 2),
        ("MLFLOW_TRACKING_URI", f"nonsense://user:{CANARY}@host", 2),
        ("DB", DATABASE, 69),
        ("DB", f"host=127.0.0.1 port=9 password={CANARY}", 2),
        ("DB", f"postgresql:/user:{CANARY}@127.0.0.1:9/shop", 2),
    ],
    ids=lambda value: str(value).replace(CANARY, "CANARY"),
)
def test_no_variable_shows_or_stores_a_secret(
    name: str, value: str, code: int, silent: Callable[..., str], monkeypatch: pytest.MonkeyPatch, prefect_server: None
) -> None:
    monkeypatch.setenv(name, value)
    query = ["--target.query", "SELECT 1", "--target.connection", "DB", "--target.called", "s", "--target.freq", "D"]
    silent(code, "run", *(query if name == "DB" else []))
    assert os.environ[name] == value


@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"no such place: {ADDRESS}"),
        OSError(5, f"Input/output error at {ADDRESS}", f"/x/{ADDRESS}"),
        RuntimeError(f"Connection string 'host=h password={CANARY} user=u'"),
        RuntimeError(f"Max retries exceeded with url: /x?X-Amz-Security-Token={CANARY}"),
        RuntimeError(f"request headers {{'Authorization': 'Bearer {CANARY}'}}"),
        RuntimeError(f"the server said: wrong password {CANARY}"),
        RuntimeError(f"Failed to reach API at {ADDRESS}"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_error_of_a_library_shows_or_stores_a_secret(
    error: Exception, silent: Callable[..., str], data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        logging.getLogger("prefect.any").error("at %s", ADDRESS)
        raise error

    monkeypatch.setenv("SHOP_PASSWORD", CANARY)
    monkeypatch.setattr("flows.cli.execute", fail)
    code = {OSError: 73}.get(type(error), 69 if "Failed to reach" in str(error) else 1)
    silent(code, "run")


@pytest.mark.slow
def test_a_whole_command_leaves_no_secret_in_any_store(tmp_path: Path) -> None:
    """Its own Prefect and MLflow, with secrets in the environment that libraries could show, and a run that fails."""
    home, prefect = tmp_path / "home", tmp_path / "prefect"
    environment = os.environ | {
        "CARRYOVER_HOME": str(home),
        "PREFECT_HOME": str(prefect),
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "AWS_SECRET_ACCESS_KEY": CANARY,
        "AWS_ACCESS_KEY_ID": f"AKIA{CANARY}",
        "AWS_ENDPOINT_URL": f"http://user:{CANARY}@127.0.0.1:9",
        "AWS_ALLOW_HTTP": "true",
    }
    options = ["forecast", "--target.path", "s3://shop/sales.csv", "--target.freq", "D"]
    command = [sys.executable, "-m", "flows.cli", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 69, done.stderr
    assert CANARY not in done.stdout + done.stderr
    assert found(home) == found(prefect) == []
    with sqlite3.connect(prefect / "prefect.db") as database:
        assert database.execute("select count(*) from flow_run").fetchone() == (1,)  # the run is known, and holds none
    assert [path for path in (home, *home.rglob("*")) if path.stat().st_mode & 0o077] == []


@pytest.mark.parametrize("place", [ADDRESS, ADDRESS.replace("//", "/"), f"https://h/m?token={CANARY}"])
def test_no_section_takes_a_secret_that_a_flow_called_from_python_would_store(place: str) -> None:
    for section, field in ((PretrainConfig, "from"), (GateConfig, "champion"), (TargetConfig, "path")):
        with pytest.raises(ValidationError):
            section.model_validate({field: place, "freq": "D"} if field == "path" else {field: place})
    with pytest.raises(ValidationError):
        RunnerConfig(kind="dask", address=place)


def test_a_planted_log_leads_nowhere(data_folder: Path, tmp_path: Path, silent: Callable[..., str]) -> None:
    (data_folder / "logs").mkdir(parents=True)
    (data_folder / "logs" / "carryover.log").symlink_to(tmp_path / "victim")
    assert "carryover.log is a link" in silent(77, "forecast")
    assert not (tmp_path / "victim").exists()


def test_a_configuration_that_everybody_may_change_is_refused(tmp_path: Path, silent: Callable[..., str]) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("seed: 1\n")
    file.chmod(0o666)
    assert f"everybody may change {file}" in silent(77, "forecast", "--config", str(file))


def test_a_model_that_everybody_may_change_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model").chmod(0o777)
    with pytest.raises(UnsafeError, match="everybody may change"):
        fetch_model(str(tmp_path / "model"), TrackingConfig())


@pytest.mark.parametrize(
    "options",
    [
        ["run", "--tracking.experiment", "../../x"],
        ["run", "--tracking.experiment", "/x"],
        ["run", "--tracking.experiment", "a%2f..%2fx"],
        ["run", "--tracking.experiment", "a\nb"],
        ["run", "--target.called", "../x"],
        ["run", "--target.called", "a\x1b[2J"],
        ["run", "--target.path", "a\x00b.csv", "--target.freq", "D"],
        ["run", "--target.path", "a\nb.csv", "--target.freq", "D"],
        ["forecast", "--model", "runs:/" + "0" * 32 + "/../../../x"],
        ["forecast", "--model", "runs:/" + "0" * 32 + "/%2e%2e/x"],
        ["forecast", "--model", "models:/../../x"],
        ["forecast", "--model", "models:/..%2f..%2fx/1"],
        ["forecast", "--model", "models:/\\..\\x/1"],
        ["forecast", "--model", "a\x00b"],
        ["forecast", "--output", "a\x00b.csv"],
        ["replay", "../../x"],
        ["rollback", "../../x"],
        ["rollback", "/x"],
        ["rollback", "a%2f..%2fx"],
        ["rollback", "a\x07"],
    ],
    ids=lambda options: ascii(" ".join(options)),
)
def test_a_name_that_leads_elsewhere_is_refused(
    options: list[str], silent: Callable[..., str], tmp_path: Path, data_folder: Path
) -> None:
    before = {path for path in tmp_path.rglob("*") if data_folder not in path.parents}
    silent(2, *options)
    assert {path for path in tmp_path.rglob("*") if data_folder not in path.parents} - before <= {data_folder}
