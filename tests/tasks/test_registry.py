"""Versions are registered once, with where they come from; every target's name will do; ledgers have their place."""

import sys
from pathlib import Path

import pytest
from shelf import FROM, NO, YES, Shelf

from rnn_model.errors import IntegrityError
from tasks.config import TrackingConfig, WindowConfig, home
from tasks.handles import Decision, Effect
from tasks.registry import ledger_path, register, registry_name, run_key, store_id
from tasks.servers import end, launch, record


def test_a_version_says_what_it_is_and_what_was_decided(shelf: Shelf) -> None:
    made = shelf.register(1)
    tags = shelf.client.get_model_version(shelf.name, str(made.number)).tags
    expected = {"weights": made.weights, "parent": FROM["parent"], "data": FROM["target"], "source": FROM["source"]}
    expected |= {"key": "night", "strategy": "full"}
    expected |= {"evaluation": "f1", "decision": "promote", "sentence": YES.sentence, "table": YES.model_dump_json()}
    assert {name: tags[f"carryover.{name}"] for name in expected} == expected
    assert len(tags["carryover.code"]) == 64


def test_equal_weights_have_one_version(shelf: Shelf) -> None:
    assert [shelf.register(n).number for n in (1, 2, 1, 2)] == [1, 2, 1, 2]
    assert len(shelf.client.search_model_versions(f"name='{shelf.name}'")) == 2


def test_a_version_shows_the_last_decision_about_it_until_it_is_champion(shelf: Shelf) -> None:
    def shown() -> str:
        return str(shelf.client.get_model_version(shelf.name, "1").tags["carryover.decision"])

    shelf.register(1, NO)
    assert shown() == "not enough evidence"
    shelf.promote(1, None)
    shelf.register(1, NO)
    assert shown() == "promote"


def test_a_long_decision_table_is_an_artifact_of_the_run(shelf: Shelf, tmp_path: Path) -> None:
    effect = Effect(part="step=1", series=9, windows=27, champion=1, challenger=0.9, gain=0.1, low=0.05, high=0.15, p=0)
    long = YES.model_copy(update={"effects": (effect,) * 60})
    shelf.register(1, long)
    place = shelf.client.get_model_version(shelf.name, "1").tags["carryover.table"]
    run_id = place.removeprefix("runs:/").partition("/")[0]
    written = shelf.client.download_artifacts(run_id, "gate/decision.json", str(tmp_path))
    assert Decision.model_validate_json(Path(written).read_text()) == long


def test_weights_other_than_the_models_are_refused(shelf: Shelf) -> None:
    (uri, _), (_, other) = shelf.logged[0], shelf.logged[1]
    with pytest.raises(IntegrityError, match="holds weights"):
        register(shelf.name, uri, other, YES, "night", shelf.config)


def test_a_logged_model_that_is_not_ready_is_refused(shelf: Shelf) -> None:
    experiment = shelf.client.get_logged_model(shelf.logged[0][0].removeprefix("models:/")).experiment_id
    pending = shelf.client.create_logged_model(experiment, name="pending")
    with pytest.raises(IntegrityError, match="PENDING, not READY"):
        register(shelf.name, f"models:/{pending.model_id}", shelf.logged[0][1], YES, "night", shelf.config)


@pytest.mark.parametrize("name", ["latest", "V12", "m-1", "a/b", "a:b", "..", "", "Umsätze", "x" * 300, "a b"])
def test_every_target_name_gives_a_name_that_registry_and_files_take(name: str) -> None:
    made = registry_name(name)
    assert registry_name(made) == made
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    assert 1 <= len(made) <= 100


def test_names_that_had_to_be_changed_stay_different() -> None:
    assert registry_name("sales_2024") == "sales_2024"
    assert len({registry_name(name) for name in ("a/b", "a:b", "a-b", "a b")}) == 4


def test_a_runs_key_changes_with_data_and_settings_and_not_with_where_it_is_logged() -> None:
    sections = {"window": WindowConfig(horizon=4), "tracking": TrackingConfig(), "seed": 1}
    assert run_key("d", sections) == run_key("d", sections | {"tracking": TrackingConfig(experiment="x")})
    others = [sections | {"window": WindowConfig(horizon=5)}, sections | {"seed": 2}]
    assert len({run_key("d", sections), run_key("e", sections), *(run_key("d", other) for other in others)}) == 4


def test_ledgers_of_two_stores_stand_apart() -> None:
    folder = home() / "registry"
    assert ledger_path("sales", f"sqlite:///{home() / 'mlflow.db'}") == folder / "sales.ledger.jsonl"
    server, other = (ledger_path("sales", f"http://127.0.0.1:{port}") for port in (5000, 5001))
    assert folder == server.parent.parent == other.parent.parent
    assert server != other


def test_a_new_password_leaves_the_ledger_where_it_is() -> None:
    assert ledger_path("sales", "http://me:old@mlflow.lan") == ledger_path("sales", "http://me:new@mlflow.lan")


def test_the_data_folders_own_store_has_one_ledger_by_whatever_way_it_is_reached() -> None:
    own = f"sqlite:///{home() / 'mlflow.db'}"
    sleep = (sys.executable, "-c", "import time; time.sleep(300)")
    server = launch("MLflow", sleep, {}, {"url": "http://127.0.0.1:5000", "store": own})
    try:
        record([server])
        assert ledger_path("sales", "http://127.0.0.1:5000") == ledger_path("sales", own)
        assert ledger_path("sales", "http://localhost:5000") == ledger_path("sales", own)
        assert ledger_path("sales", "http://127.0.0.1:5001") != ledger_path("sales", own)
    finally:
        end(server)


def test_a_store_is_known_after_its_first_experiment_got_another_name(shelf: Shelf) -> None:
    uri, name = str(shelf.config.uri), shelf.client.get_experiment("0").name
    before = store_id(uri)
    shelf.client.rename_experiment("0", "ours")
    try:
        assert store_id(uri) == before
    finally:
        shelf.client.rename_experiment("0", name)
