"""An interrupted training goes on to the same bits."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from rnn_model.checkpoint import weights_digest
from rnn_model.config import FitConfig
from rnn_model.errors import IntegrityError
from rnn_model.network import Network
from rnn_model.resume import State, States
from rnn_model.training import FitResult, Material, Watch, fit
from rnn_model.windows import from_arrays

Build = Callable[..., Network]
CONFIG = FitConfig(steps=12, batch_size=8, validate_every=3, learning_rate=1e-2)


class Killed(BaseException):
    """What a power cut is to a process."""


def material(seed: int = 0) -> Material:
    rng = np.random.default_rng(seed)
    windows = from_arrays([np.cumsum(rng.normal(size=60)) for _ in range(10)], np.full((10, 2), 4))
    return Material(windows.drawing(8, 32, 8, 8, seed=1), windows.batches(windows.at(windows.end - 8), 32, 8))


def killer(at: int) -> Watch:
    def tick(step: int) -> None:
        if step == at:
            raise Killed

    return Watch(tick=tick)


def figures(result: FitResult) -> list[tuple[float, ...]]:
    return [(p.step, p.train_loss, p.validation_loss, p.learning_rate, p.gradient_norm) for p in result.history]


@pytest.mark.parametrize("spine", ["residual", "plain"])
@pytest.mark.parametrize("at", [2, 4, 7, 11])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    fresh: Build, tmp_path: Path, spine: str, at: int
) -> None:
    straight = fresh(spine=spine)
    expected = fit(straight, material(), CONFIG)
    states = States(tmp_path / "states")
    with pytest.raises(Killed):
        fit(fresh(spine=spine), material(), CONFIG, killer(at), states)
    resumed = fresh(spine=spine)
    result = fit(resumed, material(), CONFIG, Watch(), states)
    assert weights_digest(resumed) == weights_digest(straight)
    assert figures(result) == figures(expected)
    assert (result.best_step, result.best_loss, result.clipped, result.stopped_early) == (
        expected.best_step,
        expected.best_loss,
        expected.clipped,
        expected.stopped_early,
    )


def test_it_goes_on_after_the_last_validation_and_tells_of_the_earlier_ones(fresh: Build, tmp_path: Path) -> None:
    states, ticks, told = States(tmp_path / "states"), [], []
    with pytest.raises(Killed):
        fit(fresh(), material(), CONFIG, killer(8), states)
    fit(fresh(), material(), CONFIG, Watch(lambda p: told.append(p.step), ticks.append), states)
    assert ticks == [6, 7, 8, 9, 10, 11, 12]
    assert told == [3, 6, 9, 12]


def test_a_training_that_was_done_does_no_further_step(fresh: Build, tmp_path: Path) -> None:
    states, ticks = States(tmp_path / "states"), []
    first, again = fresh(), fresh()
    fit(first, material(), CONFIG, Watch(), states)
    fit(again, material(), CONFIG, Watch(tick=ticks.append), states)
    assert ticks == [CONFIG.steps]
    assert weights_digest(again) == weights_digest(first)


def state(value: float) -> State:
    return State({"weight": torch.full((2,), value)}, {"step": value})


def test_the_latest_two_states_stay_and_clear_leaves_none(tmp_path: Path) -> None:
    states = States(tmp_path / "states")
    for step in (5, 10, 15):
        states.save(step, state(step))
    assert sorted(p.name for p in states.folder.iterdir()) == ["step-000000010", "step-000000015"]
    found = states.latest()
    assert found is not None
    assert (found.tensors["weight"].tolist(), found.about) == ([15.0, 15.0], {"step": 15})
    states.clear()
    assert states.latest() is None
    assert not states.folder.exists()


def test_a_damaged_state_is_passed_over_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("carryover"), "propagate", True)  # the command line turns it off
    states = States(tmp_path / "states")
    for step in (5, 10):
        states.save(step, state(step))
    (states.folder / "step-000000010" / "about.json").write_text(json.dumps({"step": 99}))
    found = states.latest()
    assert found is not None
    assert found.about == {"step": 5}
    assert "step-000000010" in caplog.text


def test_without_an_intact_state_nothing_is_begun_anew_or_deleted(tmp_path: Path) -> None:
    states = States(tmp_path / "states")
    states.save(5, state(5))
    (states.folder / "step-000000005" / "about.json").write_text("{}")
    with pytest.raises(IntegrityError, match="no state of the training is intact"):
        states.latest()
    assert (states.folder / "step-000000005").is_dir()
