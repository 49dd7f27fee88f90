"""A grid of options: every combination once, laid over the settings; what a unit leaves, and how it ends early."""

import json
import sys
import threading
import time
from pathlib import Path

import pytest

from rnn_model.errors import ConfigError
from tasks.sweep import (
    STOPPED,
    Sweep,
    Unit,
    UnitResult,
    check_machine,
    declared_store,
    ended,
    expand_grid,
    laid_over,
    print_sweep,
    result_of,
    run_process,
    title_of,
)


@pytest.fixture
def unit(tmp_path: Path) -> Unit:
    folder = tmp_path / "sweeps" / "one"
    folder.mkdir(parents=True)
    return Unit(title="seed=1", options={}, folder=folder, number=1, environment={"KNOWN": "yes"})


def test_every_combination_occurs_once_whether_names_are_nested_or_dotted() -> None:
    expected = [{"target.path": path, "seed": seed} for path in ("a", "b") for seed in (0, 1)]
    assert expand_grid({"target.path": ["a", "b"], "seed": [0, 1]}) == expected
    assert expand_grid({"target": {"path": ["a", "b"]}, "seed": [0, 1]}) == expected


@pytest.mark.parametrize("grid", [{}, {"seed": 1}, {"seed": []}, {"target": {"path": "a.csv"}}])
def test_what_is_no_list_is_refused_by_name(grid: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="is no list of values"):
        expand_grid(grid)


def test_a_point_lies_over_the_settings_and_leaves_them_as_they_were() -> None:
    settings = {"target": {"path": "a", "freq": "D"}, "seed": 0}
    assert laid_over(settings, {"target.path": "b", "seed": 2, "window.horizon": 3}) == {
        "target": {"path": "b", "freq": "D"},
        "seed": 2,
        "window": {"horizon": 3},
    }
    assert settings == {"target": {"path": "a", "freq": "D"}, "seed": 0}
    with pytest.raises(ConfigError, match="leads through seed, which is no section"):
        laid_over(settings, {"seed.more": 1})


def test_a_point_is_named_by_its_values() -> None:
    assert title_of({"target.path": "b.csv", "seed": 2}) == "target.path=b.csv seed=2"


def test_a_unit_has_the_surroundings_of_the_sweep(unit: Unit, tmp_path: Path) -> None:
    script = "import os, sys; sys.exit(7 * (os.environ['KNOWN'] == 'yes'))"
    with (tmp_path / "log").open("w") as log:
        assert ended([sys.executable, "-c", script], unit, log.fileno()) == 7


def test_a_worker_that_is_set_to_another_store_or_lock_is_refused(unit: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "https://ann:geheim@mlflow.example/a")
        handed = unit.model_copy(update={"store": declared_store(unit.options)})
        check_machine(handed)  # the same machine
    assert handed.store == "https://mlflow.example/a"  # a parameter of a task shows no secret
    with pytest.raises(ConfigError, match=r"logs to the data folder, the sweep to https://mlflow\.example/a; start"):
        run_process(handed)
    assert not handed.config.exists()
    with pytest.raises(ConfigError, match="CARRYOVER_DATABASE is not set for this worker and set for the sweep"):
        run_process(unit.model_copy(update={"shared": True}))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://another")
    declared = {"tracking": {"uri": "http://one"}}  # an option is the unit's own, wherever it runs
    check_machine(unit.model_copy(update={"options": declared, "store": "http://one"}))


def test_a_stopped_sweep_ends_its_units_and_starts_no_other(unit: Unit, tmp_path: Path) -> None:
    threading.Timer(0.5, (unit.folder / "stop").touch).start()
    began = time.monotonic()
    with (tmp_path / "log").open("w") as log:
        assert ended([sys.executable, "-c", "import time; time.sleep(60)"], unit, log.fileno()) != 0
        assert ended([sys.executable, "-c", "raise SystemExit(0)"], unit, log.fileno()) == STOPPED
    assert time.monotonic() - began < 20


def test_a_failed_unit_says_its_last_line(unit: Unit) -> None:
    unit.log.parent.mkdir(parents=True)
    unit.log.write_text("loading\ncarryover: gone.csv: no such file\n")
    result = result_of(unit, 65, 1.5)
    assert (result.code, result.error, result.run) == (65, "gone.csv: no such file", None)


def test_a_killed_unit_has_failed_and_says_by_which_signal(unit: Unit, tmp_path: Path) -> None:
    unit.log.parent.mkdir(parents=True)
    with unit.log.open("w") as log:
        code = ended([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], unit, log.fileno())
    result = result_of(unit, code, 1.5)
    assert (result.code, result.run) == (137, None)
    assert result.error.startswith("killed by signal 9; ")
    fine = UnitResult(unit="u", seconds=1, code=0, log=unit.log)
    assert Sweep(folder=unit.folder, units=(fine, result)).exit_code == 137


def test_a_finished_unit_says_what_its_summary_says(unit: Unit) -> None:
    run, selection, decision = {"run_id": "abc"}, {"chosen": "full"}, {"outcome": "keep"}
    summary = {"run": run, "repeated": True, "selection": selection, "decision": decision, "evaluation": None}
    unit.summary.write_text(json.dumps(summary))
    result = result_of(unit, 0, 1.5)
    assert (result.run, result.chosen, result.decision, result.repeated) == ("abc", "full", "keep", True)


def test_the_table_shows_the_scores_of_the_chosen_model_and_none_of_a_unit_that_failed(
    unit: Unit, capsys: pytest.CaptureFixture[str]
) -> None:
    table = {"full": {"MASE": 0.8123, "SQL": 0.654321}, "SeasonalNaive": {"MASE": 1.5, "SQL": 1.25}}
    summary = {"run": {"run_id": "abc"}, "repeated": False, "selection": {"chosen": "full"}, "decision": None}
    unit.summary.write_text(json.dumps(summary | {"evaluation": {"table": table}}))
    failed = UnitResult(unit="seed=2", seconds=1, code=65, error="gone", log=unit.log)
    print_sweep(Sweep(folder=unit.folder, units=(result_of(unit, 0, 1.5), failed)))
    lines = capsys.readouterr().out.splitlines()
    one, two = (next(line for line in lines if name in line).split() for name in ("seed=1", "seed=2"))
    assert ("0.8123" in one, "0.6543" in one) == (True, True)
    assert two.count("-") == 2


def test_the_exit_code_is_the_worst(unit: Unit) -> None:
    results = tuple(UnitResult(unit="u", seconds=1, code=code, log=unit.log) for code in (0, 65, 2))
    assert Sweep(folder=unit.folder, units=results).exit_code == 65
