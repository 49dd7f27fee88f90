"""Runs end as their blocks do, what is logged is what was given, and a model's name leads to a checked folder."""

import math
import os
import re
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rnn_model.checkpoint import CARD, ModelCard, save_model
from rnn_model.config import ModelConfig
from rnn_model.errors import ConfigError, IntegrityError, ServiceError
from rnn_model.network import build_network
from tasks import tracking
from tasks.config import TrackingConfig, WindowConfig
from tasks.handles import Run
from tasks.tracking import (
    PARAM_LIMIT,
    child,
    compare_page,
    fetch_model,
    finite,
    flatten,
    log_folder,
    log_metrics,
    log_params,
    page,
    tracked,
)

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def parent(client: MlflowClient, tmp_path: Path) -> Run:
    """A running run in an experiment of its own."""
    experiment = client.create_experiment(tmp_path.name, artifact_location=(tmp_path / "artifacts").as_uri())
    made = client.create_run(experiment)
    return Run(uri=client.tracking_uri, experiment_id=experiment, run_id=made.info.run_id, name="parent")


@pytest.fixture
def linked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What `tracked` would show in Prefect, which is not started here."""
    links: list[dict[str, str]] = []
    monkeypatch.setattr(tracking, "show_artifact", lambda *_, **about: links.append(about))
    return links


@pytest.fixture
def model(tmp_path: Path) -> Path:
    network = build_network(ModelConfig(width=8, num_layers=1, patch=4, context=16), 4, seed=0)
    card = ModelCard(model=network.config, freq="D", periods=(7, 364), horizon=4, strategy="full")
    return save_model(network, card, tmp_path / "model")


def status(client: MlflowClient, run: Run) -> str:
    return str(client.get_run(run.run_id).info.status)


# ---- how runs end


ENDS = [(None, "FINISHED"), (ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")]


@pytest.mark.parametrize(("error", "expected"), ENDS)
def test_a_child_reads_as_its_block_ended(
    client: MlflowClient, parent: Run, error: type[BaseException] | None, expected: str
) -> None:
    with suppress(ValueError, KeyboardInterrupt, SystemExit), child(parent, "full", "candidate") as run:
        assert status(client, run) == "RUNNING"
        if error:
            raise error("stop")
    assert status(client, run) == expected


@pytest.mark.parametrize(("error", "expected"), ENDS)
def test_a_pipelines_run_reads_as_its_block_ended(
    store: TrackingConfig, linked: list[dict[str, str]], error: type[BaseException] | None, expected: str
) -> None:
    with (
        suppress(ValueError, KeyboardInterrupt, SystemExit),
        tracked(store, "ends", "whole", {"seed": 1}) as run,
    ):
        if error:
            raise error("stop")
    assert status(MlflowClient(run.uri), run) == expected


def test_a_pipelines_run_is_linked_from_prefect(store: TrackingConfig, linked: list[dict[str, str]]) -> None:
    with tracked(store, "linked", "whole", {}) as run:
        assert [(link["link"], link["description"]) for link in linked] == [(page(run), run.name)]


def test_a_pipelines_run_is_named_by_its_time_and_target(store: TrackingConfig, linked: list[dict[str, str]]) -> None:
    with tracked(store, "named", "sales h8", {}) as run:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d sales h8", run.name)


def test_a_failed_run_names_its_reason(client: MlflowClient, parent: Run) -> None:
    with pytest.raises(ValueError, match="too few"), child(parent, "full", "candidate") as run:
        raise ValueError("too few rows")
    assert client.get_run(run.run_id).data.tags["carryover.error"] == "ValueError: too few rows"


def test_a_store_that_fails_in_mid_run_is_a_service_that_failed(parent: Run) -> None:
    with pytest.raises(ServiceError, match="failed in mid-run"), child(parent, "full", "candidate"):
        raise MlflowException("gone")


def test_a_child_stands_under_its_parent_with_its_tags(client: MlflowClient, parent: Run) -> None:
    with child(parent, "full", "candidate", {"carryover.strategy": "full"}) as run:
        pass
    tags = client.get_run(run.run_id).data.tags
    assert tags["mlflow.parentRunId"] == parent.run_id
    assert (tags["carryover.kind"], tags["carryover.strategy"], tags["mlflow.runName"]) == ("candidate", "full", "full")


def test_the_next_start_closes_runs_whose_process_is_gone_and_no_others(
    client: MlflowClient, parent: Run, store: TrackingConfig, linked: list[dict[str, str]]
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    def running(host: str, pid: int) -> str:
        tags = {"carryover.host": host, "carryover.pid": str(pid)}
        return str(client.create_run(parent.experiment_id, tags=tags).info.run_id)

    here = socket.gethostname()
    left = [running(here, gone.pid), running(here, os.getppid()), running("another-machine", gone.pid)]
    experiment = client.get_experiment(parent.experiment_id).name
    with tracked(store, experiment, "next", {}):
        found = [client.get_run(run_id).info.status for run_id in left]
    assert found == ["KILLED", "RUNNING", "RUNNING"]


def test_a_number_that_another_process_got_since_does_not_keep_a_run_alive(
    client: MlflowClient, parent: Run, store: TrackingConfig, linked: list[dict[str, str]]
) -> None:
    tags = {"carryover.host": socket.gethostname(), "carryover.pid": str(os.getpid())}
    old = client.create_run(parent.experiment_id, start_time=1, tags=tags).info.run_id
    with tracked(store, client.get_experiment(parent.experiment_id).name, "next", {}):
        assert client.get_run(old).info.status == "KILLED"


def test_the_next_start_fails_models_that_a_killed_run_was_logging_and_no_others(
    client: MlflowClient, parent: Run, store: TrackingConfig, linked: list[dict[str, str]]
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    def pending(host: str, pid: int) -> str:
        tags = {"carryover.host": host, "carryover.pid": str(pid)}
        run = client.create_run(parent.experiment_id, tags=tags)
        return str(client.create_logged_model(parent.experiment_id, source_run_id=run.info.run_id).model_id)

    here = socket.gethostname()
    left = [pending(here, gone.pid), pending(here, os.getppid()), pending("another-machine", gone.pid)]
    with tracked(store, client.get_experiment(parent.experiment_id).name, "next", {}):
        found = [str(client.get_logged_model(model).status) for model in left]
    assert found == ["FAILED", "PENDING", "PENDING"]


# ---- what is logged


def test_metrics_that_are_not_finite_are_left_out(client: MlflowClient, parent: Run) -> None:
    log_metrics(parent, {"good": 1.5, "nan": NAN, "inf": INF, "minus": -INF}, step=3)
    assert client.get_run(parent.run_id).data.metrics == {"good": 1.5}
    assert [m.step for m in client.get_metric_history(parent.run_id, "good")] == [3]


def test_a_step_without_any_finite_metric_is_no_error(client: MlflowClient, parent: Run) -> None:
    log_metrics(parent, {"nan": NAN})
    assert client.get_run(parent.run_id).data.metrics == {}


def test_sections_are_flattened_to_dotted_names() -> None:
    nested = {"seed": 3, "source": {"path": None, "synthetic": {"series": 8}}, "steps": (1, 2)}
    flat = {"seed": 3, "source.path": None, "source.synthetic.series": 8, "steps": (1, 2)}
    assert flatten(nested) == flat


def test_every_setting_is_a_parameter_and_the_whole_stands_in_config_json(client: MlflowClient, parent: Run) -> None:
    log_params(parent, {"window": WindowConfig(horizon=5), "seed": 3})
    assert client.get_run(parent.run_id).data.params == {
        "window.horizon": "5",
        "window.min_history": "3",
        "window.validation": "3",
        "seed": "3",
    }
    assert mlflow.artifacts.load_dict(f"runs:/{parent.run_id}/config.json") == {
        "window": {"horizon": 5, "min_history": 3, "validation": 3},
        "seed": 3,
    }


def test_more_parameters_than_one_call_takes_are_all_logged(client: MlflowClient, parent: Run) -> None:
    sections = {f"p{n}": n for n in range(250)}
    log_params(parent, sections)
    assert client.get_run(parent.run_id).data.params == {name: str(n) for name, n in sections.items()}


def test_a_parameter_too_long_for_mlflow_stands_in_config_json_alone(client: MlflowClient, parent: Run) -> None:
    fits, long = "y" * 6000, "x" * 6001
    assert len(fits) == PARAM_LIMIT
    log_params(parent, {"fits": fits, "long": long})
    assert client.get_run(parent.run_id).data.params == {"fits": fits}
    assert mlflow.artifacts.load_dict(f"runs:/{parent.run_id}/config.json")["long"] == long


def test_numbers_that_json_does_not_know_become_null() -> None:
    given = {"a": [NAN, {"b": INF}], "c": 1.5, "d": "nan", "e": 3, "f": -INF, "g": None}
    assert finite(given) == {"a": [None, {"b": None}], "c": 1.5, "d": "nan", "e": 3, "f": None, "g": None}
    assert math.isnan(given["a"][0])  # the given one is left as it was


def test_runs_are_compared_on_the_page_of_their_store() -> None:
    run = Run(uri="http://host:5000", experiment_id="7", run_id="abc", name="x")
    assert page(run) == "http://host:5000/#/experiments/7/runs/abc"
    assert compare_page(run, ["a", "b"]) == (
        "http://host:5000/#/compare-runs?runs=%5B%22a%22%2C%22b%22%5D&experiments=%5B%227%22%5D"
    )


# ---- models by name


def test_a_folder_is_its_own_model(model: Path, store: TrackingConfig) -> None:
    assert fetch_model(str(model), store) == model


def test_a_downloaded_mlflow_model_holds_the_folder(model: Path, store: TrackingConfig, tmp_path: Path) -> None:
    inner = tmp_path / "download" / "artifacts" / "model"
    inner.parent.mkdir(parents=True)
    model.rename(inner)
    assert fetch_model(str(tmp_path / "download"), store) == inner


def test_a_damaged_folder_is_refused_by_the_files_name(model: Path, store: TrackingConfig) -> None:
    (model / CARD).write_text("{}")
    with pytest.raises(IntegrityError, match=rf"{CARD} changed"):
        fetch_model(str(model), store)


@pytest.mark.parametrize("name", ["nowhere", "A" * 32, "s3://bucket/model", "/no/such/folder"])
def test_an_unknown_name_is_refused_with_the_forms_allowed(store: TrackingConfig, name: str) -> None:
    with pytest.raises(ConfigError, match=r"is not known; give base, a model folder, models:/NAME@ALIAS") as raised:
        fetch_model(name, store)
    assert repr(name) in str(raised.value)


@pytest.mark.parametrize("name", ["0" * 32, f"runs:/{'0' * 32}/forecaster"])
def test_a_name_that_leads_nowhere_in_mlflow_is_refused(store: TrackingConfig, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"run '{'0' * 32}' is not in sqlite:///"):
        fetch_model(name, store)


@pytest.mark.parametrize("name", ["models:/nothing@champion", "models:/nothing/9"])
def test_a_registered_model_that_is_none_is_refused(store: TrackingConfig, name: str) -> None:
    with pytest.raises(ConfigError, match="no model 'nothing' is registered in sqlite:///"):
        fetch_model(name, store)


def test_a_run_that_logged_a_model_as_files_leads_to_them(model: Path, parent: Run, store: TrackingConfig) -> None:
    log_folder(parent, model, "model")
    found = fetch_model(parent.run_id, store)
    assert found != model
    assert {p.name: p.read_bytes() for p in found.iterdir()} == {p.name: p.read_bytes() for p in model.iterdir()}


def test_a_run_without_a_model_is_refused(client: MlflowClient, parent: Run, store: TrackingConfig) -> None:
    client.log_dict(parent.run_id, {}, "config.json")
    with pytest.raises(ConfigError, match=r"RUNNING\) logged no model; the latest runs with a model are"):
        fetch_model(parent.run_id, store)


def test_a_model_whose_files_are_gone_from_the_store_is_refused(
    model: Path, parent: Run, store: TrackingConfig, tmp_path: Path
) -> None:
    log_folder(parent, model, "model")
    (tmp_path / "artifacts" / parent.run_id / "artifacts" / "model" / "weights.safetensors").unlink()
    with pytest.raises(IntegrityError, match=r"weights\.safetensors"):
        fetch_model(parent.run_id, store)
