"""A run that is killed at a named place, and the next start of the same command; `make faults` runs them."""

from pathlib import Path

import pytest
from small_run import SmallRun

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
PLACES = (
    "published:raw",
    "written:validated",
    "sealed:windows",
    "training step@3",
    "state written@2",
    "state kept@2",
    "published:models",
    "sealed:models@2",
    "written:backtests",
    "published:backtests",
    "model logged",
    "version made",
    "sealed:receipts",
    "published:outcomes",
)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    run = SmallRun(tmp_path_factory.mktemp("undisturbed") / "run")
    assert run.finish() == 0, run.said()
    return run


@pytest.mark.parametrize("place", PLACES)
def test_a_run_killed_here_ends_as_an_undisturbed_one(place: str, undisturbed: SmallRun, tmp_path: Path) -> None:
    run = SmallRun(tmp_path / "run", undisturbed.folder / "prefect")
    assert run.finish(f"{place}=kill") == -9
    assert run.finish() == 0, run.said()
    assert run.figures() == undisturbed.figures()
    assert run.left_open() == []


def test_a_run_killed_twice_while_it_recovers_ends_as_an_undisturbed_one(undisturbed: SmallRun, tmp_path: Path) -> None:
    run = SmallRun(tmp_path / "run", undisturbed.folder / "prefect")
    assert [run.finish(f"{place}=kill") for place in ("state kept", "published:models", "model logged")] == [-9] * 3
    assert run.finish() == 0, run.said()
    assert run.figures() == undisturbed.figures()
    assert run.left_open() == []


@pytest.mark.parametrize(
    "place", ["written:raw", "sealed:validated", "state written", "sealed:models", "written:backtests"]
)
@pytest.mark.parametrize("fault", ["full", "broken"])
def test_a_disk_that_fails_here_is_73_and_the_next_start_ends_well(
    place: str, fault: str, undisturbed: SmallRun, tmp_path: Path
) -> None:
    run = SmallRun(tmp_path / "run", undisturbed.folder / "prefect")
    assert run.finish(f"{place}={fault}") == 73, run.said()
    assert "cannot write" in run.said()
    assert run.finish() == 0, run.said()
    assert run.figures() == undisturbed.figures()
    assert run.left_open() == []


def test_a_run_terminated_in_training_keeps_its_steps(undisturbed: SmallRun, tmp_path: Path) -> None:
    run = SmallRun(tmp_path / "run", undisturbed.folder / "prefect")
    assert run.finish("training step@3=term") == 143
    assert "run the same command again" in run.said()
    assert run.finish() == 0, run.said()
    assert run.figures() == undisturbed.figures()
    assert run.left_open() == []
