"""Processes that are killed in mid-promotion, and the next ones: `python tests/tasks/promotion_kill.py FOLDER`.

Prints what the next process finds, for a kill before the alias is set and for one after it.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from promotion_race import NAME, SAYS, prepare

from tasks import champion as champions
from tasks.champion import champion, promote
from tasks.config import TrackingConfig
from tasks.handles import Decision, Version
from tasks.ledger import read_ledger
from tasks.registry import ledger_path

YES = Decision(outcome="promote", sentence="better", **SAYS)


def die(*_: object) -> NoReturn:
    """As the kernel ends a process: nothing of it runs any more."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def before_the_alias() -> None:
    """Killed when the move is announced and the alias is not yet set."""
    champions._set_alias = die


def after_the_alias() -> None:
    """Killed when the alias is set and the ledger does not yet say so."""
    champions._end = die


def in_a_process(action: Callable[[], object]) -> int:
    """Carry out `action` in a process of its own; its exit code, negative for a signal."""
    child = os.fork()
    if not child:
        action()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def attempt(
    kill: Callable[[], None], version: Version, expected: int | None, config: TrackingConfig
) -> dict[str, object]:
    """A promotion that is killed; then what the next process finds, and what the same run is told."""

    def doomed() -> None:
        kill()
        promote(version, expected, YES, f"night {version.number}", config)

    def next_start() -> None:
        found = champion(NAME, config)
        told = promote(version, expected, YES, f"night {version.number}", config).result
        path = ledger_path(NAME, config.uri or "")
        Path(os.environ["CARRYOVER_HOME"], "found.json").write_text(
            json.dumps([found.version if found else None, told, [e.kind for e in read_ledger(path).entries]])
        )

    codes = [in_a_process(doomed), in_a_process(next_start)]
    champion_found, told, kinds = json.loads(Path(os.environ["CARRYOVER_HOME"], "found.json").read_text())
    return {"codes": codes, "champion": champion_found, "told": told, "kinds": kinds}


if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve()
    os.environ["CARRYOVER_HOME"] = str(folder)
    config = TrackingConfig(uri=f"sqlite:///{folder / 'mlflow.db'}")
    in_a_process(lambda: (folder / "weights").write_text(prepare(folder, config, 1)))  # no connection before a fork
    one, two = (Version(name=NAME, number=n, uri="", weights=(folder / "weights").read_text()) for n in (1, 2))
    print(json.dumps([attempt(before_the_alias, one, None, config), attempt(after_the_alias, two, 1, config)]))
