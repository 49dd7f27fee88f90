"""What MLflow could not be given, kept on disk until it can: one folder per run, one file per call, in their order.

A folder holds run.json (which run, of which store), history.json (what had been sent before, for a store that was put
back to an older state) and NUMBER.json for each call, with its files, if it has any, in NUMBER.files. Each is written
whole or not at all. Addresses stand here without credentials.
"""

import json
import os
import re
import shutil
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import Field, TypeAdapter, ValidationError

from rnn_model.artefact import digest_json, open_checked, publish, write_file
from rnn_model.config import Section
from rnn_model.errors import IntegrityError
from tasks.config import home

RUN, HISTORY = "run.json", "history.json"
PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")  # an id that may be the name of a folder


class Entry(Section):
    """One call: its values as plain JSON."""

    kind: Literal["params", "metrics", "tags", "input", "files", "end"]
    content: dict[str, Any] = Field({}, description="names and values; metrics: [name, value, milliseconds, step]")


class Header(Section):
    """A run, and the process that logs it."""

    run_id: str
    uri: str = Field(description="address of the store, without credentials")
    experiment_id: str
    experiment: str = Field("", description="name")
    name: str
    tags: dict[str, str] = Field({}, description="that the run was opened with")
    started: int = Field(0, description="milliseconds since 1970")
    host: str = Field("", description="machine of the process")
    pid: int = 0
    born: float = Field(0.0, description="start of the process, seconds since 1970")
    sent_as: str = Field("", description="run that took its place in a store that had lost it")

    @property
    def target(self) -> str:
        """The run that takes what is sent."""
        return self.sent_as or self.run_id

    @property
    def is_running(self) -> bool:
        """Whether another process of this machine logs the run."""
        if self.host != socket.gethostname() or self.pid == os.getpid():
            return False
        try:
            return abs(psutil.Process(self.pid).create_time() - self.born) < 1.0
        except psutil.Error:
            return False


Kept = tuple[int, Entry, Path | None]  # number, call, folder of its files
ENTRIES = TypeAdapter(list[Entry])


def own_process() -> dict[str, Any]:
    """The fields of a header that name this process."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "born": psutil.Process().create_time()}


def root() -> Path:
    """Where all of it stands."""
    return home() / "spool"


def place(run_id: str) -> Path:
    """The folder of a run; the id is the server's, and may be anything."""
    return root() / (run_id if PLAIN.fullmatch(run_id) else digest_json(run_id))


def is_kept(run_id: str) -> bool:
    """Whether anything of a run waits."""
    return (place(run_id) / RUN).is_file()


def keep(header: Header, entry: Entry, files: Path | None, history: Sequence[Entry]) -> None:
    """Put a call behind those that wait. `history`: what the run was given before, stored with the first one.

    Raises WriteError or UnsafeError where it cannot be written.
    """
    folder = place(header.run_id)
    if not is_kept(header.run_id):
        root().mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        write_file(folder / HISTORY, ENTRIES.dump_json(list(history)))
        note(header)
    number = 1 + max((int(path.stem) for path in folder.glob("[0-9]*.json")), default=0)
    if files is not None:
        given = files
        publish(_files(folder, number), lambda staging: _copy(given, staging / "content"))
    write_file(folder / f"{number:08}.json", entry.model_dump_json().encode())


def note(header: Header) -> None:
    """Write down which run it is."""
    write_file(place(header.run_id) / RUN, header.model_dump_json(indent=1).encode())


def waiting(run_id: str) -> list[Kept]:
    """The calls of a run that wait, in order. Raises IntegrityError for what is damaged."""
    found: list[Kept] = []
    for path in sorted(place(run_id).glob("[0-9]*.json")):
        try:
            entry = Entry.model_validate_json(path.read_bytes())
        except ValidationError:
            raise IntegrityError(f"{path}: not what was written there; put it back, or delete it to go on") from None
        files = _files(path.parent, int(path.stem))
        found.append((int(path.stem), entry, files / "content" if entry.kind == "files" else None))
    return found


def checked_files(files: Path) -> Path:
    """The files of a call, as they were kept. Raises IntegrityError."""
    open_checked(files.parent)
    return files


def history(run_id: str) -> list[Entry]:
    """What a run had been given when its first call had to wait; empty once that was sent again."""
    try:
        return ENTRIES.validate_json((place(run_id) / HISTORY).read_bytes())
    except FileNotFoundError:
        return []


def forget_history(run_id: str) -> None:
    """It was sent."""
    (place(run_id) / HISTORY).unlink(missing_ok=True)


def drop(run_id: str, number: int) -> None:
    """A call was sent."""
    path = place(run_id) / f"{number:08}.json"
    path.unlink(missing_ok=True)
    shutil.rmtree(_files(path.parent, number), ignore_errors=True)


def close(run_id: str) -> None:
    """All was sent."""
    shutil.rmtree(place(run_id), ignore_errors=True)
    place(run_id).with_name(f"{place(run_id).name}.lock").unlink(missing_ok=True)
    with suppress(OSError):  # other runs wait there
        root().rmdir()


def headers() -> list[Header]:
    """The runs of which something waits, oldest first. Raises IntegrityError for a damaged one."""
    found = []
    for path in root().glob(f"*/{RUN}"):
        try:
            found.append(Header.model_validate(json.loads(path.read_bytes())))
        except (ValueError, ValidationError):
            raise IntegrityError(f"{path}: not what was written there; put it back, or delete its folder") from None
    return sorted(found, key=lambda header: header.started)


def _files(folder: Path, number: int) -> Path:
    return folder / f"{number:08}.files"


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target)
