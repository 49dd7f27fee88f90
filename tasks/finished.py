"""Finished work: what a run gave is kept under its key, so that the same is not done twice."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from rnn_model.artefact import digest_json, held, open_checked, publish
from rnn_model.config import Section
from rnn_model.errors import ConfigError, IntegrityError
from rnn_model.json_file import read_json
from tasks.archive import recall
from tasks.config import TrackingConfig, home
from tasks.connection import connected, masked
from tasks.handles import Outcome
from tasks.registry import run_key
from tasks.servers import store_behind
from tasks.step import step

FILE = "outcome.json"


class Work(Section):
    """A run that is asked for: the key of its data, settings and code, and where its outcome is kept."""

    key: str
    folder: Path = Field(description="outcomes/SETTINGS-KEY, 16 digits each")


@step
def reach(config: TrackingConfig) -> str:
    """Address of the store, without its secrets; the data folder's own store is itself behind its server, too.

    Raises ServiceError within seconds where nothing answers.
    """
    with connected(config) as client:
        return masked(store_behind(str(client.tracking_uri)))


def settings_key(command: str, sections: Mapping[str, Any], store: str) -> str:
    """What can be said of a run before its data is read: command, settings, code, and where it is logged."""
    return digest_json([command, store, sections["tracking"].experiment, run_key("", sections)])


def name_work(command: str, sections: Mapping[str, Any], store: str, data: str) -> Work:
    """The work that a command asks for; `data` names the content of all that it reads."""
    key = run_key(data, sections)
    return Work(key=key, folder=_root() / f"{settings_key(command, sections, store)[:16]}-{key[:16]}")


def has_finished(settings: str) -> bool:
    """Whether a run with these settings (`settings_key`) has finished on any data."""
    return any(_root().glob(f"{settings[:16]}-*/{FILE}"))


@contextmanager
def once(work: Work, config: TrackingConfig, force: bool) -> Iterator[Outcome | None]:
    """The right to do a piece of work, and what it gave when it was last finished; None: it is to be done.

    Raises BusyError (75) while another process does the same.
    """
    with held(work.folder):
        yield None if force else find_outcome(work, config)


def find_outcome(work: Work, config: TrackingConfig) -> Outcome | None:
    """The kept outcome, if everything it names is still there; a damaged or half one counts as none."""
    try:
        kept = read_json(open_checked(work.folder) / FILE)
        outcome = Outcome.model_validate(kept | {"repeated": True})
        for folder in folders_of(outcome):
            open_checked(folder)
        record = recall(outcome.run.run_id, "", config)
    except (IntegrityError, ConfigError, ValueError):  # a ValidationError is one, and so is what is no JSON
        return None
    return outcome if record.status == "FINISHED" and record.stage == "active" else None


def folders_of(outcome: Outcome) -> set[Path]:
    """Every folder that an outcome names."""
    contenders = outcome.selection.contenders if outcome.selection else ()
    found = {outcome.model.folder, *(c.model.folder for c in contenders)}
    return found | ({outcome.evaluation.folder} if outcome.evaluation else set())


def keep_outcome(work: Work, outcome: Outcome) -> Outcome:
    """Store an outcome as the last step of its work, in place of an earlier one; the caller holds the work.

    One that has to be asked for again, as its promotion was overtaken, is not kept.
    """
    if outcome.promotion is not None and outcome.promotion.result == "superseded":
        return outcome
    done = outcome.model_copy(update={"finished": datetime.now(UTC).isoformat(timespec="seconds")})
    text = json.dumps(done.model_dump(mode="json"), indent=1) + "\n"  # with NaN, which JSON proper does not know
    shutil.rmtree(work.folder, ignore_errors=True)  # a kill from here on costs a repetition, nothing else
    publish(work.folder, lambda staging: _write(staging / FILE, text))
    return done


def _root() -> Path:
    return home() / "outcomes"


def _write(path: Path, text: str) -> None:
    path.write_text(text)
