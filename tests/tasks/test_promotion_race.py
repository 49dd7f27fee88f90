"""Two processes that promote at once, and processes that are killed while they do."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.config import PROJECT, TrackingConfig

ROUNDS = 8  # `python tests/tasks/promotion_race.py FOLDER 200` runs more


def program(name: str, folder: Path, store: TrackingConfig, *arguments: str) -> Any:
    """What a program beside this file prints; its store is a copy, as migrations take seconds."""
    shutil.copy(str(store.uri).removeprefix("sqlite:///"), folder / "mlflow.db")
    command = [sys.executable, str(Path(__file__).with_name(name)), str(folder), *arguments]
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory, store: TrackingConfig) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("race")
    figures: dict[str, Any] = program("promotion_race.py", folder, store, str(ROUNDS))
    return figures


def test_after_every_round_the_champion_is_the_better_one(raced: dict[str, Any]) -> None:
    assert raced["exit codes"] == [0, 0]
    assert raced["wrong champions"] == 0


def test_the_ledger_of_a_race_is_linear_and_only_ever_gets_better(raced: dict[str, Any]) -> None:
    assert raced["linear"]
    assert raced["always better"]


def test_no_update_is_lost_and_losers_are_told_why(raced: dict[str, Any]) -> None:
    told = raced["told"]
    assert told["promoted"] == raced["moves"]
    assert set(told) <= {"promoted", "superseded", "not better"}
    assert told["promoted"] + told["not better"] == 2 * ROUNDS


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, store: TrackingConfig) -> list[dict[str, Any]]:
    """The first promotion killed before the alias was set, the second one after it."""
    found: list[dict[str, Any]] = program("promotion_kill.py", tmp_path_factory.mktemp("kill"), store)
    return found


def test_a_promotion_that_was_killed_is_finished_by_the_next_start(killed: list[dict[str, Any]]) -> None:
    assert [found["codes"] for found in killed] == [[-9, 0], [-9, 0]]
    assert [found["champion"] for found in killed] == [1, 2]


def test_a_run_that_was_killed_while_it_promoted_does_not_promote_twice(killed: list[dict[str, Any]]) -> None:
    assert [found["told"] for found in killed] == ["already", "already"]
    assert killed[-1]["kinds"] == ["promote", "done", "promote", "done"]
