"""The ledger of a registered model: who was champion when, and why. Lines are only ever added, and each holds the
SHA-256 of the line before it, so that a change anywhere breaks the chain.

They stand in a file, or, where several machines promote, in the database that they share (`tasks.team`).
"""

import hashlib
import os
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from rnn_model.artefact import digest_json
from rnn_model.config import Section
from rnn_model.errors import IntegrityError, WriteError
from tasks.team import VARIABLE, add_line, is_shared, read_lines

FIRST = "0" * 64  # what stands for the line before the first


class Entry(Section):
    """One line. `promote` and `rollback` announce a move of @champion, `done` or `reverted` says how it ended."""

    seq: int = Field(ge=1, description="1, 2, 3 ...")
    time: str = Field(description="UTC, ISO 8601")
    kind: Literal["promote", "rollback", "outside", "done", "reverted"] = Field(
        description="outside: the alias was moved by something else, and was found so"
    )
    previous: int | None = Field(description="champion before; none: there was none")
    version: int = Field(description="champion after")
    weights: str = Field(description="digest of the weights of `version`")
    key: str = Field(description="of the run that asked for it")
    sentence: str = Field(description="the decision, or the reason")
    before: str = Field(description="SHA-256 of the line before, without its line end")
    digest: str = Field("", description="SHA-256 of this line's other fields: the last line has no successor to tell")

    def sealed(self) -> "Entry":
        """The same with its own digest."""
        return self.model_copy(update={"digest": digest_json(self.model_dump(exclude={"digest"}))})


class Ledger(Section):
    """All entries of a ledger that holds together."""

    path: Path = Field(description="its file; its name in the database that is shared")
    entries: tuple[Entry, ...] = ()
    last: str = Field(FIRST, description="SHA-256 of the last line")
    size: int = Field(0, description="bytes of whole lines")
    cut: bool = Field(False, description="a line without its end follows: a kill cut it short, and it does not count")

    @property
    def place(self) -> str:
        """Where its lines are, in words."""
        return place(self.path)

    @property
    def pending(self) -> Entry | None:
        """A move that was announced, and of which nothing says how it ended."""
        last = self.entries[-1] if self.entries else None
        return last if last is not None and last.kind in ("promote", "rollback") else None

    @property
    def moves(self) -> tuple[Entry, ...]:
        """Moves that took place."""
        pairs = zip_longest(self.entries, self.entries[1:])
        return tuple(e for e, end in pairs if e.kind == "outside" or (end is not None and end.kind == "done"))

    @property
    def reigns(self) -> tuple[Entry, ...]:
        """The champion and those it can be rolled back to, oldest first: a rollback takes those after its aim away."""
        stack: list[Entry] = []
        for move in self.moves:
            at = [n for n, entry in enumerate(stack) if entry.version == move.version]
            stack = stack[: at[-1] + 1] if at and move.kind != "promote" else [*stack, move]
        return tuple(stack)

    @property
    def champion(self) -> int | None:
        """The version that the last move led to."""
        return self.moves[-1].version if self.moves else None

    def promoted(self, key: str) -> Entry | None:
        """The promotion that a run has already carried out."""
        return next((e for e in self.moves if e.kind == "promote" and e.key == key), None)


def read_ledger(path: Path) -> Ledger:
    """A ledger, checked from its first line to its last; one that is not there is empty.

    A last line without its end was cut short by a kill: it is left out, and `cut` says so. Raises IntegrityError for
    any other line that is not what was written.
    """
    data = read_lines(_title(path)) if is_shared() else path.read_bytes() if path.exists() else b""
    *lines, rest = data.split(b"\n")
    entries: list[Entry] = []
    before = FIRST
    for number, line in enumerate(lines, 1):
        entry = _entry(line)
        if entry is None or (entry.seq, entry.before) != (number, before) or entry != entry.sealed():
            raise IntegrityError(
                f"{place(path)}: line {number} is not what was written there, or does not follow from the line "
                "before; put a copy back, or move it away to begin a new one"
            )
        entries.append(entry)
        before = hashlib.sha256(line).hexdigest()
    return Ledger(path=path, entries=tuple(entries), last=before, size=len(data) - len(rest), cut=bool(rest))


def append(ledger: Ledger, **fields: object) -> Ledger:
    """Add one entry (its kind, previous, version, weights, key and sentence) and wait until the disk has it.

    The caller holds the model's lock. Raises WriteError, or ServiceError for the database; the line is then not there,
    or cut short and dropped.
    """
    seq, time = len(ledger.entries) + 1, datetime.now(UTC).isoformat(timespec="microseconds")
    entry = Entry.model_validate({**fields, "seq": seq, "time": time, "before": ledger.last}).sealed()
    line = entry.model_dump_json().encode()
    try:
        _add(ledger, seq, line)
    except OSError as error:
        raise WriteError(
            f"{ledger.path}: cannot write ({error.strerror}); free the place, then run it again"
        ) from error
    return ledger.model_copy(
        update={
            "entries": (*ledger.entries, entry),
            "last": hashlib.sha256(line).hexdigest(),
            "size": ledger.size + len(line) + 1,
            "cut": False,
        }
    )


def place(path: Path) -> str:
    """Where the lines of a ledger are, in words."""
    return f"{VARIABLE}, ledger {_title(path)}" if is_shared() else str(path)


def _title(path: Path) -> str:
    """A ledger's name in the database: store and model."""
    return f"{path.parent.name}/{path.name.removesuffix('.ledger.jsonl')}"


def _add(ledger: Ledger, seq: int, line: bytes) -> None:
    if is_shared():
        add_line(_title(ledger.path), seq, line.decode())
        return
    ledger.path.parent.mkdir(parents=True, exist_ok=True)
    _write(ledger.path, ledger.size, line + b"\n")


def _entry(line: bytes) -> Entry | None:
    try:
        return Entry.model_validate_json(line)
    except ValidationError:
        return None


def _write(path: Path, size: int, data: bytes) -> None:
    """Put `data` after the first `size` bytes: what a kill has cut short goes."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.ftruncate(handle, size)
        os.lseek(handle, size, os.SEEK_SET)
        while data:
            data = data[os.write(handle, data) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
