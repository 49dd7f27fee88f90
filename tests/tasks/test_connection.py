"""Reaching MLflow: no secret is shown, the environment is as it was, a dead server is named within seconds."""

import os
import socket
import time
import traceback
import uuid
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.tracking import MlflowClient

from rnn_model.errors import ConfigError, ServiceError
from tasks.config import TrackingConfig
from tasks.connection import OWN, SETTINGS, connected, masked, tracking_uri, whole_run_id

DECLARED = {"MLFLOW_TRACKING_URI": "http://declared:1", "MLFLOW_TRACKING_USERNAME": "me"}


@pytest.fixture
def closed_port() -> int:
    """A port of this machine at which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://host:5000/team", "http://host:5000/team"),
        ("http://me:canary@host:5000/team?token=canary#canary", "http://host:5000/team"),
        ("https://canary@host", "https://host"),
        ("http://me:c@nary@host", "http://host"),
        ("postgresql://me:canary@db/mlflow", "postgresql://db/mlflow"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("sqlite:////data/m@y.db", "sqlite:////data/m@y.db"),
        ("http://host/p?token=abc@canary", "http://..."),
        ("http://me:canary/1@host", "http://..."),
    ],
)
def test_an_address_is_shown_without_credentials_and_query(uri: str, shown: str) -> None:
    assert masked(uri) == shown


@pytest.mark.parametrize("uri", ["http://me:canary/1@host", "http://127.0.0.1:9/team@canary"])
def test_an_at_past_the_host_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(ConfigError, match="write it as %40") as raised, connected(TrackingConfig()):
        pass
    assert "canary" not in str(raised.value)


def test_a_declared_address_comes_before_the_variable_and_that_before_the_data_folder(
    monkeypatch: pytest.MonkeyPatch, data_folder: Path
) -> None:
    assert tracking_uri(TrackingConfig()) == f"sqlite:///{data_folder.resolve() / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://variable:1")
    assert tracking_uri(TrackingConfig()) == "http://variable:1"
    assert tracking_uri(TrackingConfig(uri="http://declared:1")) == "http://declared:1"


@pytest.mark.parametrize("declared", [{}, DECLARED])
@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_address_and_credentials_are_as_they_were_after_the_block(
    store: TrackingConfig,
    monkeypatch: pytest.MonkeyPatch,
    declared: dict[str, str],
    error: type[BaseException] | None,
) -> None:
    for name in OWN:
        monkeypatch.delenv(name, raising=False)
    for name, value in declared.items():
        monkeypatch.setenv(name, value)
    with suppress(KeyboardInterrupt), connected(store) as client:
        assert client.tracking_uri == store.uri
        if error:
            raise error
    assert {name: os.environ[name] for name in OWN if name in os.environ} == declared


def test_the_whole_environment_is_as_it_was_after_the_block(
    store: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    with connected(store):
        pass
    assert dict(os.environ) == before


def test_the_environment_is_as_it_was_when_nothing_answers(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"http://me:canary@127.0.0.1:{closed_port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(ServiceError), connected(TrackingConfig()):
        pass
    assert os.environ["MLFLOW_TRACKING_URI"] == uri
    assert "MLFLOW_TRACKING_PASSWORD" not in os.environ


def test_a_closed_port_is_named_within_ten_seconds_and_without_the_password(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:canary@127.0.0.1:{closed_port}")
    started = time.monotonic()
    with pytest.raises(ServiceError, match=rf"MLflow at http://127\.0\.0\.1:{closed_port} does not answer") as raised:
        connected(TrackingConfig()).__enter__()
    assert time.monotonic() - started < 10
    assert raised.value.exit_code == 69
    assert "canary" not in str(raised.value)
    assert all("canary" not in part for part in traceback.format_exception_only(raised.value))


def test_two_processes_that_start_on_a_fresh_store_at_once_both_succeed(starts: tuple[str, list[int], str]) -> None:
    uri, codes, errors = starts
    assert codes == [0, 0], errors
    assert Path(uri.removeprefix("sqlite:///")).is_file()


# ---- a run by the beginning of its id


@pytest.fixture(scope="module")
def alike(store: TrackingConfig) -> None:
    """Two runs of two experiments whose ids begin with the same nine digits."""
    client = MlflowClient(store.uri)
    with pytest.MonkeyPatch.context() as patch:
        for digit in "ab":
            experiment = client.create_experiment(f"beginning {digit}")
            patch.setattr(uuid, "uuid4", lambda digit=digit: SimpleNamespace(hex="0123fedcb" + digit * 23))
            client.create_run(experiment, run_name=f"night {digit}")
            patch.undo()


@pytest.mark.usefixtures("alike")
@pytest.mark.parametrize("given", ["0123fedcba", "0123fedcb" + "a" * 23])
def test_a_run_is_found_by_the_beginning_of_its_id(store: TrackingConfig, given: str) -> None:
    assert whole_run_id(given, store) == "0123fedcb" + "a" * 23


@pytest.mark.usefixtures("alike")
@pytest.mark.parametrize("given", ["0123f", "fedcba", "0123FEDCBA", "base", "models:/0123fedcba"])
def test_what_begins_no_run_or_is_shorter_than_six_digits_stays_as_it_is(store: TrackingConfig, given: str) -> None:
    assert whole_run_id(given, store) == given


@pytest.mark.usefixtures("alike")
def test_the_beginning_of_two_runs_names_both_in_one_line(store: TrackingConfig) -> None:
    with pytest.raises(ConfigError) as raised:
        whole_run_id("0123fe", store)
    words = str(raised.value)
    assert words.startswith("run '0123fe' could be ")
    assert all(f"0123fedcb{digit * 23} (night {digit})" in words for digit in "ab")
    assert words.endswith("; give more of its digits")
    assert "\n" not in words
