"""A grid of options over the pipeline: its units, each a run in a process of its own, and what they gave."""

import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field
from rich.table import Table

from rnn_model.artefact import digest_json, write_file
from rnn_model.config import Section
from rnn_model.errors import ConfigError
from rnn_model.private import open_private
from tasks.config import home
from tasks.connection import masked
from tasks.machine import TORCHRUN, import_path
from tasks.progress import show_table
from tasks.step import step
from tasks.team import VARIABLE, is_shared
from tasks.terminal import counted, figure, print_plainly
from tasks.tracking import flatten

POLL = 0.5  # seconds between looks at a unit and at whether the sweep was stopped
STOPPED = 143
SCORES = ("MASE", "SQL")  # of a unit's chosen model: the reports' first figure, and what the gate goes by
COLUMNS = ("unit", "run", "chosen", *SCORES, "decision", "seconds", "code")


class Unit(Section):
    """One run of a sweep: its options, and where it finds and leaves what it needs."""

    title: str = Field(description="what sets it apart, e.g. target.path=a.csv seed=1")
    options: dict[str, Any] = Field(description="the pipeline's sections")
    folder: Path = Field(description="of the sweep: the unit's configuration and summary")
    number: int = Field(ge=1)
    environment: dict[str, str] = Field(description="variables that every process of the sweep shares")
    store: str = Field("", description="declared address of MLflow, without its secrets; empty: in the data folder")
    shared: bool = Field(False, description="whether the lock of champions is in a database ($CARRYOVER_DATABASE)")

    @property
    def config(self) -> Path:
        """Its options, as a file."""
        return self.folder / f"{self.number:04}.yaml"

    @property
    def summary(self) -> Path:
        """What its run left, as a file."""
        return self.folder / f"{self.number:04}.json"

    @property
    def log(self) -> Path:
        """What it said."""
        return self.folder.parents[1] / "logs" / f"{self.folder.name}-{self.number:04}.log"


class UnitResult(Section):
    """What became of a unit."""

    unit: str
    run: str | None = Field(None, description="MLflow run id; none: it failed")
    repeated: bool = Field(False, description="whether it had finished before")
    chosen: str = ""
    scores: dict[str, float | None] = Field(
        default_factory=dict, description="MASE and SQL of the chosen model; empty: it failed"
    )
    decision: str = ""
    seconds: float = Field(description="from the start of its process to its end")
    code: int = Field(description="exit code")
    error: str = Field("", description="the last line it said, where it failed")
    log: Path


class Sweep(Section):
    """All units of a grid."""

    folder: Path
    units: tuple[UnitResult, ...]

    @property
    def exit_code(self) -> int:
        """The worst."""
        return max(result.code for result in self.units)


def expand_grid(grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every combination of a grid's values: {"seed": [0, 1]} -> [{"seed": 0}, {"seed": 1}]; nested names are joined.

    Raises ConfigError for an empty grid, and for an option without a list of values.
    """
    axes = flatten(grid)
    wrong = [name for name, values in axes.items() if not isinstance(values, (list, tuple)) or not values]
    if wrong or not axes:
        found = ", ".join(f"{name} {axes[name]!r}" for name in wrong) or "nothing"
        raise ConfigError(f"grid: {found} is no list of values; give one for each option, e.g. --grid.seed '[0, 1]'")
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def laid_over(sections: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """Plain nested settings with the options of one point of the grid in their places."""
    made: dict[str, Any] = json.loads(json.dumps(sections))
    for name, value in point.items():
        *way, last = name.split(".")
        place = made
        for part in way:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ConfigError(f"grid: {name} leads through {part}, which is no section; name an option of run")
        place[last] = value
    return made


def title_of(point: Mapping[str, Any]) -> str:
    """A point of the grid in one line."""
    return " ".join(f"{name}={value}" for name, value in point.items())


def sweep_folder(units: list[dict[str, Any]]) -> Path:
    """Where a sweep keeps its units: the same for the same ones."""
    return home() / "sweeps" / f"sweep-{digest_json(units)[:12]}"


@step(task_run_name="{unit.title}")
def run_unit(unit: Unit) -> UnitResult:
    """As `run_process`."""
    return run_process(unit)


def run_process(unit: Unit) -> UnitResult:
    """`carryover run` with a unit's options, in a process of its own; a failure is its result, not raised.

    The pipeline's connection to MLflow is the process's, and so is torch's number of threads: one process, one run.
    Raises ConfigError on a machine that is set to log or to lock elsewhere.
    """
    check_machine(unit)
    write_file(unit.config, yaml.safe_dump(unit.options, sort_keys=False).encode())
    unit.summary.unlink(missing_ok=True)
    command = [sys.executable, "-P", "-m", "flows.cli", "run"]
    command += ["--config", str(unit.config), "--summary", str(unit.summary)]
    began = time.monotonic()
    with os.fdopen(open_private(unit.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as log:
        code = ended(command, unit, log.fileno())
    return result_of(unit, code, time.monotonic() - began)


def check_machine(unit: Unit) -> None:
    """Refuse a worker whose own variables lead elsewhere than the sweep's, which hold secrets and are not handed on."""
    own, shared = declared_store(unit.options), is_shared()
    if own != unit.store:
        raise ConfigError(
            f"{socket.gethostname()}: this worker logs to {own or 'the data folder'}, the sweep to "
            f"{unit.store or 'the data folder'}; start workers with the sweep's MLFLOW_TRACKING_URI"
        )
    if shared != unit.shared:
        got, asked = ("set" if known else "not set" for known in (shared, unit.shared))
        raise ConfigError(
            f"{socket.gethostname()}: {VARIABLE} is {got} for this worker and {asked} for the sweep; start both alike"
        )


def declared_store(options: Mapping[str, Any]) -> str:
    """Where a unit with these options would log from here, without secrets; empty: in the data folder."""
    uri = options.get("tracking", {}).get("uri") or os.environ.get("MLFLOW_TRACKING_URI")
    return masked(uri) if uri else ""


def ended(command: list[str], unit: Unit, output: int) -> int:
    """The exit code of a command, which ends early where the sweep is stopped."""
    stop, surrounding = unit.folder / "stop", surroundings(unit)
    if stop.exists():
        return STOPPED
    with subprocess.Popen(command, env=surrounding, stdout=output, stderr=output) as process:
        try:
            while process.poll() is None and not stop.exists():
                time.sleep(POLL)
        finally:
            process.terminate()  # does nothing to one that ended
        return process.wait()


def surroundings(unit: Unit) -> dict[str, str]:
    """The environment of a unit's process."""
    kept = {name: value for name, value in os.environ.items() if name not in TORCHRUN}
    return kept | unit.environment | {"PYTHONPATH": import_path(kept)}


def result_of(unit: Unit, code: int, seconds: float) -> UnitResult:
    """What a unit left behind, from its summary, or from the last line that it said.

    `code`: as subprocess gives it, -N for signal N, which a shell (and the result) calls 128 + N.
    """
    if code or not unit.summary.is_file():
        lines = unit.log.read_text(errors="replace").strip().splitlines()
        words = lines[-1].removeprefix("carryover: ") if lines else "it was not started, or said nothing"
        if code < 0:
            words, code = f"killed by signal {-code}; its last line: {words}", 128 - code
        return UnitResult(unit=unit.title, seconds=seconds, code=code or 1, error=words, log=unit.log)
    found = json.loads(unit.summary.read_text())
    chosen = (found["selection"] or {}).get("chosen", "")
    table = (found["evaluation"] or {}).get("table", {})
    return UnitResult(
        unit=unit.title,
        run=found["run"]["run_id"],
        repeated=found["repeated"],
        chosen=chosen,
        scores={name: table[chosen].get(name) for name in SCORES} if chosen in table else {},
        decision=(found["decision"] or {}).get("outcome", ""),
        seconds=seconds,
        code=code,
        log=unit.log,
    )


@step
def tabulate(folder: Path, results: tuple[UnitResult, ...]) -> Sweep:
    """All units side by side, shown as an artifact."""
    done = Sweep(folder=folder, units=results)
    failed = sum(bool(result.code) for result in results)
    show_table(table=rows(done), key="sweep", description=f"{counted(len(results), 'unit')}, {failed} failed")
    return done


def rows(sweep: Sweep) -> list[dict[str, str]]:
    """The table of a sweep, in words."""
    return [
        {
            "unit": result.unit,
            "run": result.run or "failed",
            "chosen": result.chosen,
            **{name: figure(result.scores.get(name)) for name in SCORES},
            "decision": f"{result.decision} (finished before)" if result.repeated else result.decision or result.error,
            "seconds": f"{result.seconds:.1f}",
            "code": str(result.code),
        }
        for result in sweep.units
    ]


def print_sweep(sweep: Sweep) -> None:
    """The table in the terminal."""
    table = Table(title=f"Sweep: {counted(len(sweep.units), 'unit')}", title_justify="left")
    numbers = (*SCORES, "seconds", "code")
    for column in COLUMNS:
        table.add_column(column, no_wrap=column == "run", justify="right" if column in numbers else "left")
    for row in rows(sweep):
        table.add_row(*row.values())
    print_plainly(table, 150)
