"""What stands around a replay: which runs have none, an empty place, a fresh process with the threads of then."""

import os
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from rnn_model.errors import ConfigError, DataError, IntegrityError
from tasks.archive import Record, recall
from tasks.config import BASE_FOLDER, NOTHING, FinetuneConfig, GateConfig, TrackingConfig
from tasks.handles import Run
from tasks.receipt import RECEIPT, Receipt, log_receipt, receipt_of
from tasks.replay import Replay, failure, files_now, parameters, place, receipt_in, surroundings, watched
from tasks.series_config import TargetConfig

ID = "0" * 32
FINISHED = Record(run_id=ID, name="n", status="FINISHED", parent=None, tags={}, model="n", content=None)


@pytest.fixture
def run(client: MlflowClient, tmp_path: Path) -> Run:
    experiment = client.create_experiment(tmp_path.name, artifact_location=(tmp_path / "artifacts").as_uri())
    made = client.create_run(experiment)
    client.set_terminated(made.info.run_id)
    return Run(uri=client.tracking_uri, experiment_id=experiment, run_id=made.info.run_id, name="n")


@pytest.fixture
def receipt(tmp_path: Path) -> Receipt:
    (tmp_path / "t.csv").write_text("unique_id,ds,y\na,2024-01-01,1\n")
    target = TargetConfig(path=str(tmp_path / "t.csv"), freq="D")
    sections = {"target": target, "finetune": FinetuneConfig(), "model": "base", "tracking": TrackingConfig()}
    return receipt_of("finetune", sections, sections, ID)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": "FAILED"}, "is FAILED, so it has no result"),
        ({"status": "RUNNING"}, "is RUNNING, so it has no result"),
        ({"parent": "1" * 32}, f"is a part of run {'1' * 32}; replay that one"),
        ({}, "has no receipt.json: it is older than receipts"),
    ],
)
def test_a_run_that_cannot_be_repeated_is_refused_in_one_line(change: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        receipt_in(FINISHED.model_copy(update=change))
    assert "\n" not in str(raised.value)


def test_an_unknown_run_is_refused(store: TrackingConfig) -> None:
    with pytest.raises(ConfigError, match=f"run '{ID}' is not in sqlite"):
        recall(ID, RECEIPT, store)


def test_a_stored_receipt_comes_back_as_it_was(receipt: Receipt, run: Run, store: TrackingConfig) -> None:
    log_receipt(receipt, run)
    assert receipt_in(recall(run.run_id, RECEIPT, store)) == receipt


def test_a_receipt_edited_in_the_store_is_refused(
    receipt: Receipt, run: Run, store: TrackingConfig, tmp_path: Path
) -> None:
    log_receipt(receipt, run)
    (path,) = (tmp_path / "artifacts").rglob(RECEIPT)
    path.write_text(path.read_text().replace(f'"steps": {FinetuneConfig().steps}', '"steps": 1'))
    with pytest.raises(IntegrityError, match="not what its digest says"):
        receipt_in(recall(run.run_id, RECEIPT, store))


def test_a_damaged_receipt_is_refused(receipt: Receipt, run: Run, store: TrackingConfig, tmp_path: Path) -> None:
    log_receipt(receipt, run)
    (path,) = (tmp_path / "artifacts").rglob(RECEIPT)
    path.write_text('{"format": 1')
    with pytest.raises(IntegrityError, match="cannot be read"):
        recall(run.run_id, RECEIPT, store)


def test_a_missing_data_file_says_what_to_do(receipt: Receipt, tmp_path: Path) -> None:
    (tmp_path / "t.csv").unlink()
    with pytest.raises(DataError, match=f"t.csv: not there any more, but run {ID} read it; put it back"):
        files_now(receipt)


def test_the_fresh_process_has_its_own_places_and_the_threads_of_then(
    receipt: Receipt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:canary@127.0.0.1:9")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setenv("MKL_NUM_THREADS", "16")
    monkeypatch.setenv("OMP_NUM_THREADS", "16")
    then = receipt.environment.model_copy(update={"threads": 3, "variables": {"POLARS_MAX_THREADS": "2"}})
    found = surroundings(receipt.model_copy(update={"environment": then}), tmp_path)
    assert {name: found[name] for name in found if name.endswith("_THREADS")} == {
        "OMP_NUM_THREADS": "3",
        "POLARS_MAX_THREADS": "2",
    }
    assert [name for name in found if name.startswith(("MLFLOW_TRACKING", "PREFECT_"))] == ["PREFECT_HOME"]
    assert all(Path(found[name]).is_relative_to(tmp_path) for name in ("CARRYOVER_HOME", "PREFECT_HOME"))


def test_the_replayed_run_is_logged_in_its_own_store(receipt: Receipt) -> None:
    elsewhere = TrackingConfig(uri="http://127.0.0.1:5000", experiment="nights")
    given = receipt.given | {"tracking": elsewhere.model_dump()}
    asked = parameters(receipt.model_copy(update={"given": given}), TrackingConfig())
    assert asked["tracking"] == {"uri": None, "experiment": "nights"}
    assert {name: asked[name] for name in ("target", "finetune", "model")} == {
        name: receipt.given[name] for name in ("target", "finetune", "model")
    }


@pytest.mark.parametrize(("then", "now"), [(None, NOTHING), (str(BASE_FOLDER), str(BASE_FOLDER))])
def test_the_replayed_gate_compares_with_the_champion_of_the_time(receipt: Receipt, then: str | None, now: str) -> None:
    given = receipt.given | {"gate": GateConfig().model_dump()}
    asked = parameters(receipt.model_copy(update={"given": given, "champion": then}), TrackingConfig())
    assert asked["gate"] == GateConfig(champion=now).model_dump()


def test_a_place_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(ConfigError, match="is not empty"), place(tmp_path):
        pass


def test_a_named_place_stays_and_an_unnamed_one_goes(tmp_path: Path) -> None:
    with place(tmp_path / "kept") as kept, place(None) as gone:
        assert not [*kept.iterdir(), *gone.iterdir()]
    assert (kept.exists(), gone.exists()) == (True, False)


def test_the_last_line_and_the_code_of_a_process_come_back(capfd: pytest.CaptureFixture[str]) -> None:
    program = "import sys; print('out'); print('one', file=sys.stderr); sys.exit('carryover: two')"
    assert watched([sys.executable, "-c", program], dict(os.environ)) == (1, "carryover: two")
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "one\ncarryover: two\n")


def test_a_failed_process_fails_with_its_own_kind() -> None:
    assert isinstance(failure(DataError.exit_code, "words"), DataError)


@pytest.mark.parametrize(("verdict", "code"), [("equal", 0), ("within tolerance", 0), ("different at select: x", 76)])
def test_only_a_difference_is_a_failure(verdict: str, code: int) -> None:
    run = Run(uri="u", experiment_id="1", run_id=ID, name="n")
    assert Replay(run=run, of=ID, verdict=verdict, changed=(), stages=()).exit_code == code
