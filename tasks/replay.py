"""A run made again from its receipt, by a fresh process in an empty place of its own, and compared stage by stage."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import yaml
from pydantic import Field
from rich.table import Table

from rnn_model.artefact import open_checked, write_file
from rnn_model.config import Section
from rnn_model.errors import CarryoverError, ConfigError, DataError, IntegrityError
from tasks.archive import Record, recall
from tasks.config import BASE, NOTHING, TrackingConfig
from tasks.connection import OWN
from tasks.handles import DataFile, Run
from tasks.machine import THREADS, TORCHRUN, environment, import_path
from tasks.progress import show_table
from tasks.query import from_block
from tasks.receipt import READ, RECEIPT, TAG, Receipt, files_of, read_receipt
from tasks.sameness import StageVerdict, changes, in_one_line, same_receipt
from tasks.series_config import BLOCK, SeriesConfig, SourceConfig, TargetConfig
from tasks.step import step
from tasks.terminal import print_plainly
from tasks.tracking import fetch_model, log_metrics, log_table, set_tags

COMMANDS = {"pipeline": "run"}  # flow -> its command, where that has another name
VARIABLE = "CARRYOVER_REPLAYED"  # with a section's name: the connection of its query, for the fresh process alone
TAIL = 4000  # bytes of a log in which its last line is looked for

Tolerance = Annotated[float, Field(ge=0, le=1)]


class Replay(Section):
    """What a replay found."""

    run: Run = Field(description="the run that records it")
    of: str = Field(description="the run that was made again")
    verdict: str = Field(description="equal, within tolerance, or different at a stage: what was got, what it was")
    changed: tuple[str, ...] = Field(description="what was different about data, code and machine")
    stages: tuple[StageVerdict, ...]

    @property
    def exit_code(self) -> int:
        """0 for equal or within tolerance, 76 for different."""
        return IntegrityError.exit_code if self.verdict.startswith("different") else 0


@step
def fetch_receipt(run_id: str, config: TrackingConfig) -> Receipt:
    """The receipt of a run that finished. Raises ConfigError where it has none, IntegrityError for a changed one."""
    return receipt_in(recall(run_id, RECEIPT, config))


def receipt_in(record: Record) -> Receipt:
    """The receipt of a stored run, or why there is none."""
    if record.parent:
        raise ConfigError(f"run {record.run_id} is a part of run {record.parent}; replay that one")
    if record.status != "FINISHED":
        raise ConfigError(f"run {record.run_id} is {record.status}, so it has no result to repeat; name a FINISHED one")
    if record.content is None:
        raise ConfigError(
            f"run {record.run_id} has no {RECEIPT}: it is older than receipts, or of a command that leaves none; run "
            "it anew, or name a run, finetune, evaluate or pretrain run"
        )
    return read_receipt(record.content, record.tags.get(TAG), f"run {record.run_id}")


@step
def find_changes(receipt: Receipt) -> tuple[str, ...]:
    """What is different now, told at once on stderr. Raises DataError for a data file that is gone."""
    found = changes(receipt, files_now(receipt), environment())
    for line in found:
        sys.stderr.write(f"different now: {line}\n")
    return found


def files_now(receipt: Receipt) -> dict[str, tuple[DataFile, ...]]:
    """The files that the receipt's run would read now. Raises DataError where there is none any more."""
    kinds: dict[str, type[SeriesConfig]] = {"source": SourceConfig, "target": TargetConfig}
    configs = {name: kinds[name].model_validate(receipt.given.get(name) or {}) for name in receipt.files}
    given = {name: c.resolved() if isinstance(c, TargetConfig) else c for name, c in configs.items()}
    try:
        return {name: files_of(config) for name, config in given.items()}
    except DataError:
        paths = ", ".join(str(config.path) for config in given.values() if config.path)
        raise DataError(
            f"{paths}: not there any more, but run {receipt.run_id} read it; put it back, or start the replay from the "
            "folder in which that run was started"
        ) from None


@step
def run_again(receipt: Receipt, folder: Path | None, config: TrackingConfig) -> Receipt:
    """The receipt of the same flow with the same parameters, run in a fresh process; nothing made before is used."""
    with place(folder) as empty:
        asked = parameters(receipt, config)
        blocks = secrets(asked)
        write_file(empty / "config.yaml", yaml.safe_dump(asked, sort_keys=False).encode())
        command = [sys.executable, "-P", "-m", "flows.cli", COMMANDS.get(receipt.flow, receipt.flow)]
        code, last = watched([*command, "--config", str(empty / "config.yaml")], surroundings(receipt, empty) | blocks)
        if code:
            raise failure(code, f"run {receipt.run_id} could not be made again: {last.removeprefix('carryover: ')}")
        return receipt_under(empty / "data")


@contextmanager
def place(folder: Path | None) -> Iterator[Path]:
    """An empty folder for a replayed run: the one that was named, which is kept, or one for the length of the block."""
    if folder is not None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"folder {folder} is not empty; a replay uses nothing made before, so name a new one")
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()
        return
    with TemporaryDirectory(prefix="carryover-replay-", ignore_cleanup_errors=True) as made:
        yield Path(made)


def parameters(receipt: Receipt, config: TrackingConfig) -> dict[str, Any]:
    """The flow's parameters for the fresh place: logged there, and a start model from MLflow fetched beforehand."""
    asked = dict(receipt.given)
    asked["tracking"] = {**asked.get("tracking", {}), "uri": None}
    if isinstance(asked.get("model"), str):
        asked["model"] = start(asked["model"], config)
    if isinstance(asked.get("pretrain"), dict) and "from" in asked["pretrain"]:
        asked["pretrain"] = asked["pretrain"] | {"from": start(asked["pretrain"]["from"], config)}
    if isinstance(asked.get("gate"), dict):  # the fresh place knows no champion, so it is told of that of the time
        asked["gate"] = asked["gate"] | {"champion": start(receipt.champion or NOTHING, config)}
    return asked


def secrets(asked: dict[str, Any]) -> dict[str, str]:
    """Environment variables for connections from Prefect blocks, which `asked` then names: the fresh place has none."""
    found = {}
    for name in READ:
        section: dict[str, Any] = asked.get(name) or {}
        where = section.get("connection") or ""
        if where.startswith(BLOCK):
            variable = f"{VARIABLE}_{name.upper()}"
            found[variable] = from_block(where.removeprefix(BLOCK))
            asked[name] = section | {"connection": variable}
    return found


def start(name: str, config: TrackingConfig) -> str:
    """A starting model as the fresh process finds it: its store is another, so MLflow addresses become folders."""
    if name in (BASE, NOTHING) or Path(name).is_dir():
        return name
    return str(fetch_model(name, config))


def surroundings(receipt: Receipt, empty: Path) -> dict[str, str]:
    """The environment of the fresh process: its own data folder, store and Prefect, and the threads of then."""
    dropped = {*OWN, *THREADS, *TORCHRUN}
    kept = {k: v for k, v in os.environ.items() if k not in dropped and not k.startswith("PREFECT_")}
    own = {
        "CARRYOVER_HOME": str(empty / "data"),
        "PREFECT_HOME": str(empty / "prefect"),
        "PYTHONPATH": import_path(kept),
    }
    then = receipt.environment
    return kept | own | then.variables | {"OMP_NUM_THREADS": str(then.threads)}


def watched(command: list[str], surrounding: dict[str, str]) -> tuple[int, str]:
    """Run a command with its stderr shown as it comes: its exit code and the last line. It ends when this does."""
    tail = b""
    with subprocess.Popen(command, env=surrounding, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        try:
            while chunk := os.read(process.stderr.fileno(), TAIL):
                sys.stderr.write(chunk.decode(errors="replace"))
                tail = (tail + chunk)[-TAIL:]
            code = process.wait()
        finally:
            process.terminate()  # does nothing to one that ended
    lines = tail.decode(errors="replace").strip().splitlines()
    return code, lines[-1] if lines else "no word"


def failure(code: int, words: str) -> CarryoverError:
    """An error of the kind that has this exit code."""
    kinds = {kind.exit_code: kind for kind in CarryoverError.__subclasses__()}
    return kinds.get(code, CarryoverError)(words)


def receipt_under(data: Path) -> Receipt:
    """The one receipt of a data folder in which one flow ran."""
    (folder,) = (data / "receipts").iterdir()
    return Receipt.model_validate_json((open_checked(folder) / RECEIPT).read_text())


@step
def give_verdict(was: Receipt, got: Receipt, changed: tuple[str, ...], tolerance: float, run: Run) -> Replay:
    """Compare, and leave the verdict on `run` and as an artifact; the run that was made again is not touched."""
    stages = same_receipt(was, got, tolerance)
    verdict = in_one_line(stages)
    rows = [stage.model_dump() for stage in stages]
    tags = {"carryover.kind": "replay", "carryover.replay_of": was.run_id, "carryover.verdict": verdict[:500]}
    set_tags(run, tags)
    log_metrics(run, {f"replay/{word}": sum(s.verdict == word for s in stages) for word in ("equal", "different")})
    log_table(run, {"verdict": verdict, "different_now": list(changed), "stages": rows}, "replay.json")
    log_table(run, got.model_dump(mode="json"), "replayed.json")
    show_table(table=rows, key="replay", description=f"{verdict}; different now: {'; '.join(changed) or 'nothing'}")
    return Replay(run=run, of=was.run_id, verdict=verdict, changed=changed, stages=stages)


def print_replay(replay: Replay) -> None:
    """Every stage with its verdict in the terminal."""
    table = Table(title=f"Replay of {replay.of}", title_justify="left")
    for column in ("stage", "verdict", "what"):
        table.add_column(column, no_wrap=column != "what")
    for stage in replay.stages:
        table.add_row(stage.stage, stage.verdict, stage.words, style="bold" if stage.verdict == "different" else "")
    print_plainly(table, 130)
