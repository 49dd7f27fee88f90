"""What was published is not made again, and stands whatever happens afterwards."""

import errno
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from batch_maker import GOOD, HORIZON, WAVE, Make, card

from rnn_model.artefact import held, open_checked, publish, sha256_file
from rnn_model.checkpoint import save_model
from rnn_model.errors import BusyError, CarryoverError, ConfigError, IntegrityError, WriteError
from rnn_model.network import build_network
from tasks import batches, registry
from tasks import forecast as stage
from tasks.config import ForecastConfig, TrackingConfig
from tasks.forecast import pin
from tasks.forecast_log import forecasts_folder, published
from tasks.handles import Dataset

# ---- once


def test_what_was_published_is_not_made_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(GOOD)
    monkeypatch.setattr(stage, "answer_series", None)  # would fail
    again = make(GOOD)
    assert again.result == "already"
    assert again.sentence.startswith(f"nothing to do: published as {first.folder} on 20")
    assert again.model_copy(update={"result": first.result, "sentence": first.sentence}) == first
    assert len(published("sales")) == 1


def test_force_publishes_again_beside_the_old_one(make: Make) -> None:
    first, second, third = make(GOOD), make(GOOD, force=True), make(GOOD, force=True)
    assert [made.folder.name for made in (second, third)] == [f"{first.folder.name}-{n}" for n in (2, 3)]
    assert [batch.seq for batch in published("sales")] == [1, 2, 3]
    assert len({batch.digest for batch in published("sales")}) == 1


def test_other_data_keep_the_old_forecasts(make: Make) -> None:
    first = make(GOOD)
    second = make(GOOD | {"a": [*WAVE, 9.0]})
    assert open_checked(first.folder) != open_checked(second.folder)
    assert len(published("sales")) == 2


def test_files_that_are_gone_are_put_back_under_their_line(make: Make) -> None:
    first = make(GOOD)
    shutil.rmtree(first.folder)
    again = make(GOOD)
    assert (again.result, again.folder) == ("mended", first.folder)
    (batch,) = published("sales")
    assert sha256_file(again.data) == batch.digest


def test_files_that_were_changed_with_their_manifest_are_put_back_csv_included(make: Make) -> None:
    first = make(GOOD, ForecastConfig(csv=True))
    before = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    shutil.rmtree(first.folder)
    publish(first.folder, lambda staging: [(staging / name).write_bytes(b"other") for name in before])
    again = make(GOOD)  # without asking for a CSV
    assert (again.result, again.folder) == ("mended", first.folder)
    assert {path.name: path.read_bytes() for path in first.folder.iterdir()} == before
    assert [path.name for path in first.folder.parent.iterdir() if path.is_dir()] == [first.folder.name]
    assert make(GOOD).result == "already"


def test_a_folder_that_a_kill_left_without_a_line_is_taken(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(batches, "append_batch", None)  # as if killed just before it
        with pytest.raises(TypeError):
            make(GOOD)
    assert published("sales") == ()
    made = make(GOOD)
    (batch,) = published("sales")
    assert (made.result, batch.folder) == ("published", made.folder)
    assert [path.name for path in batch.folder.parent.glob("2024-*")] == [made.folder.name]


def test_two_writers_of_one_batch_log_it_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run publishes the same after this one has looked, and before it holds the lock."""
    real, other = stage.publish_edition, []

    def late(*arguments: Any) -> Any:
        if not other:
            other.append(real(*arguments))
        return real(*arguments)

    monkeypatch.setattr(stage, "publish_edition", late)
    assert make(GOOD).result == "already"
    assert len(published("sales")) == 1


# ---- faults: what was published before stands


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def damage_model(model: Path, patch: pytest.MonkeyPatch) -> None:
    (model / "weights.safetensors").write_bytes(b"")


def fill_disk(model: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Path, "write_bytes", full_disk)


def fail_rename(model: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Path, "rename", full_disk)


def damage_log(model: Path, patch: pytest.MonkeyPatch) -> None:
    log = published("sales")[0].folder.parent / "log.jsonl"
    log.write_text(log.read_text().replace('"rows":12', '"rows":13'))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (damage_model, IntegrityError),
        (fill_disk, WriteError),
        (fail_rename, WriteError),
        (damage_log, IntegrityError),
    ],
)
def test_a_batch_that_fails_leaves_the_old_one_and_nothing_else(
    make: Make,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Path, pytest.MonkeyPatch], None],
    error: type[CarryoverError],
) -> None:
    first = make(GOOD)
    pinned = pin(str(model), "sales", TrackingConfig())
    with monkeypatch.context() as patch:
        fault(model, patch)
        with pytest.raises(error):
            make(GOOD, pinned=pinned, horizon=3)
    assert open_checked(first.folder)
    assert [path.name for path in first.folder.parent.iterdir() if path.is_dir()] == [first.folder.name]


def test_a_model_that_changed_after_it_was_pinned_is_refused(make: Make, model: Path) -> None:
    pinned = pin(str(model), "sales", TrackingConfig())
    shutil.rmtree(model)
    save_model(build_network(card().model, HORIZON, seed=2), card(), model)
    with pytest.raises(IntegrityError, match="weights changed since this began"):
        make(GOOD, pinned=pinned)


def test_a_second_writer_waits_and_then_is_told_who_writes(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "WAIT_SECONDS", 0.1)
    with held(forecasts_folder("sales") / "log.jsonl"), pytest.raises(BusyError, match="process"):
        make(GOOD)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"freq": "h"}, "made for freq D, the target has h"),
        ({"gaps": "zero"}, r"made with gaps missing, the target has zero; use --target\.gaps missing"),
        ({"season": 5}, r"made with season 7 in 364, the target has 5; leave out --target\.season"),
    ],
)
def test_a_target_of_another_rhythm_is_refused_with_both(make: Make, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make(GOOD, **options)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ((5, 5), "made with season 5, the target has 13 in 52; use --target.season 5"),
        ((52, 52), "made with season 52, the target has 13 in 52; make the model anew, no option states these"),
    ],
)
def test_an_option_is_advised_only_where_it_helps(made: tuple[int, int], words: str) -> None:
    dataset = Dataset.model_construct(freq="W", periods=(13, 52), gaps="missing")
    with pytest.raises(ConfigError, match=re.escape(words)):
        stage.check_same(card(freq="W", periods=made), dataset)
