"""A model's name that leads nowhere: what it is that is not there, what there is instead, and the exit code."""

import pytest
from mlflow.tracking import MlflowClient
from shelf import Shelf

from rnn_model.errors import CarryoverError, ConfigError, IntegrityError
from tasks.config import TrackingConfig
from tasks.forecast import pin

NOBODY = "0123456789abcdef" * 2


def refusal(shelf: Shelf, name: str) -> CarryoverError:
    with pytest.raises(CarryoverError) as raised:
        pin(name, shelf.name, shelf.config)
    assert "\n" not in str(raised.value)
    return raised.value


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("models:/{}/9", 2, "model {} has no version 9 (any more); it has versions 2, 1"),
        ("models:/{}/99999999999999999999", 2, "it has versions 2, 1"),
        ("models:/{}@staging", 76, "model {} has no alias @staging; it has @champion (version 2), and versions 2, 1"),
        ("models:/{}/Production", 2, "no version in stage 'Production'; stages in use are: none; it has versions 2, 1"),
        ("models:/{}/newest", 2, "no version in stage 'newest'"),
        ("models:/nobody/1", 2, "no model 'nobody' is registered in sqlite:///"),
        ("models:/nobody@champion", 2, "no model 'nobody' is registered in sqlite:///"),
        ("models:/no'body/1", 2, "is registered in sqlite:///"),
        ("models:/m-0123456789abcdef0123456789abcdef", 2, "no model m-0123456789abcdef0123456789abcdef is logged in"),
        (NOBODY, 2, f"run '{NOBODY}' is not in sqlite:///"),
        (f"runs:/{NOBODY}/forecaster", 2, f"run '{NOBODY}' is not in sqlite:///"),
        ("runs:/../forecaster", 2, "it has a path or an escape in it"),
        (NOBODY[:8], 2, f"model '{NOBODY[:8]}' is not known"),
        ("../../etc", 2, "is not known"),
    ],
)
def test_a_name_that_leads_nowhere_says_what_there_is(shelf: Shelf, name: str, code: int, words: str) -> None:
    shelf.succession(1, 2)
    error = refusal(shelf, name.format(shelf.name))
    assert error.exit_code == code
    assert words.format(shelf.name) in str(error)


def test_what_there_is_names_registered_models_and_runs_with_models(shelf: Shelf) -> None:
    shelf.register(1)
    run_id = str(shelf.client.get_logged_model(shelf.logged[0][0].removeprefix("models:/")).source_run_id)
    shelf.client.set_tag(run_id, "carryover.model", shelf.logged[0][0])
    assert "registered are " in str(refusal(shelf, "models:/nobody/1"))
    assert run_id in str(refusal(shelf, NOBODY))


def test_a_deleted_version_that_was_champion_is_an_integrity_fault(shelf: Shelf) -> None:
    shelf.succession(1, 2)
    shelf.client.delete_model_version(shelf.name, "1")
    error = refusal(shelf, f"models:/{shelf.name}/1")
    assert isinstance(error, IntegrityError)
    assert "version 1: deleted from the registry; carryover rollback" in str(error)


@pytest.mark.filterwarnings("ignore:.*transition_model_version_stage:FutureWarning")
@pytest.mark.parametrize("place", ["/latest", "/Production", "/production", "@nightly"])
def test_any_way_to_name_a_version_is_pinned_to_its_number(shelf: Shelf, place: str) -> None:
    for number in (1, 2):
        shelf.register(number)
    shelf.client.transition_model_version_stage(shelf.name, "2", "Production")
    shelf.client.set_registered_model_alias(shelf.name, "nightly", "2")
    pinned = pin(f"models:/{shelf.name}{place}", shelf.name, shelf.config)
    assert (pinned.address, pinned.version) == (f"models:/{shelf.name}/2", 2)


def run_of(client: MlflowClient, **tags: str) -> str:
    return str(client.create_run("0", run_name="small", tags=tags).info.run_id)


def test_a_run_that_logged_no_model_says_so(shelf: Shelf) -> None:
    run_id = run_of(shelf.client)
    error = refusal(shelf, run_id)
    assert isinstance(error, ConfigError)
    assert f"run {run_id} (small, RUNNING) logged no model; the latest runs with a model are" in str(error)


def test_a_run_whose_model_is_gone_is_an_integrity_fault(shelf: Shelf) -> None:
    run_id = run_of(shelf.client, **{"carryover.model": "models:/m-1"})
    error = refusal(shelf, run_id)
    assert isinstance(error, IntegrityError)
    assert "the files of its model are gone from the store" in str(error)


def test_a_deleted_run_says_how_it_comes_back(shelf: Shelf) -> None:
    run_id = run_of(shelf.client)
    shelf.client.delete_run(run_id)
    error = refusal(shelf, run_id)
    assert error.exit_code == 2
    assert f"run {run_id} is deleted; mlflow runs restore --run-id {run_id} takes it back" in str(error)


def test_a_model_that_was_never_logged_to_its_end_is_an_integrity_fault(shelf: Shelf) -> None:
    experiment = shelf.client.get_logged_model(shelf.logged[0][0].removeprefix("models:/")).experiment_id
    pending = shelf.client.create_logged_model(experiment, name="pending")
    error = refusal(shelf, f"models:/{pending.model_id}")
    assert error.exit_code == 76
    assert "reads PENDING, not READY" in str(error)


def test_a_store_that_is_not_there_is_a_service_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    with pytest.raises(CarryoverError) as raised:
        pin("models:/sales/1", "sales", TrackingConfig())
    assert raised.value.exit_code == 69
    assert "secret" not in str(raised.value)
