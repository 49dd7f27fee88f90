"""Random kills of `carryover run`: python benchmarks/kills.py --kills 300

A small run is made once without a fault. Then, home after home, the same command is started and killed (SIGKILL) at
random moments, first starts included, until it is let through. Each time its figures and weights have to equal those of
the undisturbed run, and nothing may be left open: no run that reads RUNNING in MLflow or Prefect, no model PENDING, no
two versions of one model, no unfinished move in a ledger, no staging folder.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import yaml

PROJECT = Path(__file__).parents[1]
COLD = 0.2  # share of homes in which Prefect's database is made anew, too; it takes most of the time of a start
MOST = 4  # kills in one home before the run is let through
LONGEST = 600.0  # seconds a run that is let through may take
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


class Place:
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

    def start(self) -> subprocess.Popen[bytes]:
        """`carryover run`, in a process group of its own."""
        environment = os.environ | {
            "CARRYOVER_HOME": str(self.home),
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PYTHONPATH": str(PROJECT),
            "OMP_NUM_THREADS": "1",
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

    def finish(self) -> int:
        """Let the run through; its exit code."""
        return self.start().wait(LONGEST)

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


def main() -> None:
    """Kill and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    chance, places, faults = random.Random(asked.seed), Counter[str](), []
    with tempfile.TemporaryDirectory(prefix="carryover-kills-") as root:
        reference = Place(Path(root, "reference"))
        assert reference.finish() == 0, (reference.folder / "output.txt").read_text()
        warm = Place(Path(root, "warm"), reference.folder / "prefect")
        begun = time.monotonic()
        assert warm.finish() == 0
        span, wanted = time.monotonic() - begun, reference.figures()
        print(f"undisturbed: {span:.1f} s; equal a second time: {warm.figures() == wanted}", flush=True)
        home = 0
        while sum(places.values()) < asked.kills:
            home, cold = home + 1, chance.random() < COLD
            place = Place(Path(root, f"{home}"), None if cold else reference.folder / "prefect")
            for _ in range(chance.randint(1, MOST)):
                at = place.kill(chance.uniform(0.0, span * (2 if cold else 1)), alone=chance.random() < 0.5)
                if at is None:
                    break
                places[at] += 1
            code = place.finish()
            wrong = [f"exit {code}: {tail(place.folder / 'output.txt')}"] if code else place.left_open()
            if not code and place.figures() != wanted:
                wrong.append("other figures")
            faults += [(home, wrong)] if wrong else []
            print(
                f"{sum(places.values()):4} kills, home {home}: {'; '.join(wrong) or 'equal, nothing open'}", flush=True
            )
            if not wrong:
                shutil.rmtree(place.folder)
        print(f"\n{sum(places.values())} kills in {home} homes; last written before the kill: {dict(places)}")
        print(f"homes with a fault: {len(faults)}")
    sys.exit(bool(faults))


def tail(path: Path) -> str:
    """The last line of a command's output."""
    return (path.read_text(errors="replace").strip().splitlines() or ["no output"])[-1][:300]


if __name__ == "__main__":
    main()
