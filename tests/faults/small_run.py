"""A home of its own for one small run of `carryover run`: start it, kill it, let it through, and look what is left."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import yaml

PROJECT = Path(__file__).parents[2]
LONGEST = 900.0  # seconds that a run may take before it counts as stuck
SETTINGS: dict[str, Any] = {
    "target": {"freq": "MS"},
    "source": {"synthetic": {"series": 64, "length": 64}},
    "window": {"horizon": 4},
    "model": {"width": 8, "num_layers": 1, "context": 32, "patch": 4},
    "pretrain": {"from": "nothing", "steps": 4, "batch_size": 8, "validate_every": 2},
    "finetune": {"steps": 4, "batch_size": 8, "validate_every": 2, "strategies": ["zero-shot", "full"]},
    "backtest": {"cutoffs": 2, "baselines": ["SeasonalNaive"]},
    "gate": {"min_effect": 0.0},
    "seed": 3,
}


def series() -> pl.DataFrame:
    """Eight monthly series of five years."""
    rng, months = np.random.default_rng(5), np.arange(60)
    ds = pl.datetime_range(datetime(2015, 1, 1), datetime(2019, 12, 1), "1mo", eager=True)
    waves = (20 + k + 5 * np.sin((months + k) * np.pi / 6) + rng.normal(0, 1, 60) for k in range(8))
    return pl.concat([pl.DataFrame({"unique_id": f"s{k}", "ds": ds, "y": y}) for k, y in enumerate(waves)])


class SmallRun:
    """One home, with the command that runs in it."""

    def __init__(self, folder: Path, prefect: Path | None = None) -> None:
        self.folder, self.home = folder, folder / "home"
        folder.mkdir(parents=True)
        series().write_parquet(folder / "target.parquet")
        settings = SETTINGS | {"target": SETTINGS["target"] | {"path": str(folder / "target.parquet")}}
        (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
        if prefect is not None:
            shutil.copytree(prefect, folder / "prefect")

    @property
    def summary(self) -> Path:
        """What the run wrote of itself."""
        return self.folder / "summary.json"

    def start(self, failpoint: str = "") -> subprocess.Popen[bytes]:
        """`carryover run`, in a process group of its own, with or without a failpoint."""
        environment = os.environ | {
            "CARRYOVER_HOME": str(self.home),
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PYTHONPATH": str(PROJECT),
            "OMP_NUM_THREADS": "1",
            "CARRYOVER_FAILPOINT": failpoint,
        }
        command = [sys.executable, "-m", "flows.cli", "run", "--config", str(self.folder / "settings.yaml")]
        with (self.folder / "output.txt").open("ab") as out:
            return subprocess.Popen(
                [*command, "--summary", str(self.summary)],
                cwd=self.folder, env=environment, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip

    def kill(self, after: float, alone: bool) -> str | None:
        """Start, and kill after so many seconds, with (or `alone`, without) its children.

        What the run had last written; None where it ended before.
        """
        process = self.start()
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            children = psutil.Process(process.pid).children(recursive=True)
            for each in [process] if alone else [process, *children]:
                with suppress(psutil.NoSuchProcess, ProcessLookupError):
                    each.send_signal(signal.SIGKILL)
            process.wait()
            end_servers(children)
            return self.last_written()
        return None

    def finish(self, failpoint: str = "") -> int:
        """Let the run go to its end, or to its failpoint; its exit code, negative for a signal."""
        process = self.start(failpoint)
        children: list[psutil.Process] = []
        deadline = time.monotonic() + LONGEST
        while process.poll() is None:
            if time.monotonic() > deadline:
                process.kill()
            with suppress(psutil.NoSuchProcess):
                children = psutil.Process(process.pid).children(recursive=True) or children
            time.sleep(0.2)
        if process.returncode < 0:
            end_servers(children)
        return process.returncode

    def said(self) -> str:
        """The last line of what the command printed."""
        text = (self.folder / "output.txt").read_text(errors="replace")
        return (text.strip().splitlines() or ["no output"])[-1][:300]

    def last_written(self) -> str:
        """The kind of what was written last: where the run was when it was killed."""
        files = [p for p in self.home.rglob("*") if p.is_file() and "logs" not in p.parts] if self.home.exists() else []
        newest = max(files, key=lambda p: p.stat().st_mtime, default=None)
        return newest.relative_to(self.home).parts[0].split(".db")[0] if newest else "nothing yet"

    def figures(self) -> dict[str, Any]:
        """Table, choice, decision and weights of the run: what has to be equal."""
        found = json.loads(self.summary.read_text())
        return {
            "table": found["evaluation"]["table"],
            "chosen": found["selection"]["chosen"],
            "weights": [c["model"]["weights"] for c in found["selection"]["contenders"]],
            "decision": found["decision"]["sentence"],
            "account": found["account"],
        }

    def left_open(self) -> list[str]:
        """What a killed run should not leave behind once the next one has ended."""
        odd = [f"staging {p.name}" for p in self.home.rglob("*.part")]
        mlflow = self.home / "mlflow.db"
        odd += [f"MLflow run {s}: {n}" for s, n in rows(mlflow, RUNS) if s in ("RUNNING", "SCHEDULED")]
        odd += [f"model {s}: {n}" for s, n in rows(mlflow, MODELS) if s == PENDING]
        odd += [f"{n} versions of {i}" for i, n in rows(mlflow, VERSIONS) if n > 1]
        odd += [f"Prefect {s}: {n}" for s, n in rows(self.folder / "prefect" / "prefect.db", FLOWS) if s in OPEN]
        for ledger in self.home.rglob("*.ledger.jsonl"):
            kinds = [json.loads(line)["kind"] for line in ledger.read_text().splitlines()]
            odd += [f"ledger ends with {kinds[-1]}"] if kinds and kinds[-1] in ("promote", "rollback") else []
        return odd


RUNS = "SELECT status, COUNT(*) FROM runs GROUP BY status"
MODELS, PENDING = "SELECT status, COUNT(*) FROM logged_models GROUP BY status", 1
VERSIONS = "SELECT value, COUNT(*) FROM model_version_tags WHERE key = 'carryover.identity' GROUP BY value"
FLOWS, OPEN = "SELECT state_type, COUNT(*) FROM flow_run GROUP BY state_type", ("RUNNING", "PENDING", "SCHEDULED")


def rows(database: Path, query: str) -> Iterable[tuple[Any, int]]:
    """What a query of a SQLite file gives."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return list(connection.execute(query))


def end_servers(children: list[psutil.Process]) -> None:
    """End what a killed command left running, as a person would before the next start."""
    for each in children:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(children, timeout=10)
