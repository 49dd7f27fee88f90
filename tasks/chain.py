"""JSON lines that are only ever added to: each holds the SHA-256 of the line before it, so that a change anywhere
breaks the chain. They stand in a file, unless a kind of chain says otherwise."""

import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import Field, ValidationError

from rnn_model.artefact import digest_json
from rnn_model.config import Section
from rnn_model.errors import IntegrityError, WriteError
from rnn_model.failpoints import failpoint
from rnn_model.private import open_private

FIRST = "0" * 64  # what stands for the line before the first


class Link(Section):
    """One line. Its own digest stands in the field named `seal`: the last line has no successor to tell of a change."""

    seal: ClassVar[str]
    added: ClassVar[tuple[str, ...]] = ()  # fields that older lines lack: where empty, they are no part of the digest

    seq: int = Field(ge=1, description="1, 2, 3 ...")
    time: str = Field(description="UTC, ISO 8601")
    before: str = Field(description="SHA-256 of the line before, without its line end")

    def sealed(self) -> Self:
        """The same with its own digest."""
        left_out = {self.seal, *(name for name in self.added if not getattr(self, name))}
        return self.model_copy(update={self.seal: digest_json(self.model_dump(mode="json", exclude=left_out))})


L = TypeVar("L", bound=Link)


class Chain(Section, Generic[L]):
    """All lines of a place that holds together; the place is the file `path` where a kind says nothing else."""

    kind: ClassVar[type[Link]]

    path: Path
    entries: tuple[L, ...] = ()
    last: str = Field(FIRST, description="SHA-256 of the last line")
    size: int = Field(0, description="bytes of whole lines")
    cut: bool = Field(False, description="a line without its end follows: a kill cut it short, and it does not count")

    @property
    def place(self) -> str:
        """Where its lines are, in words."""
        return str(self.path)

    def stored(self) -> bytes:
        """All that stands there now."""
        try:
            with os.fdopen(open_private(self.path, os.O_RDONLY), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def store(self, seq: int, line: bytes) -> None:
        """Put line number `seq` after the others, and wait until it is kept. Raises OSError."""
        _write(self.path, self.size, line + b"\n")


C = TypeVar("C", bound=Chain[Any])


def read_chain(chain: type[C], path: Path) -> C:
    """The lines of a place, checked from the first to the last; no place is an empty chain.

    A last line without its end was cut short by a kill: it is left out, and `cut` says so. Raises IntegrityError for
    any other line that is not what was written.
    """
    empty = chain(path=path)
    data = empty.stored()
    *lines, rest = data.split(b"\n")
    entries: list[Link] = []
    before = FIRST
    for number, line in enumerate(lines, 1):
        entry = _parsed(chain.kind, line)
        if entry is None or (entry.seq, entry.before) != (number, before) or entry != entry.sealed():
            raise IntegrityError(
                f"{empty.place}: line {number} is not what was written there, or does not follow from the line before; "
                "put a copy back, or move it away to begin a new one"
            )
        entries.append(entry)
        before = hashlib.sha256(line).hexdigest()
    found = {"entries": tuple(entries), "last": before, "size": len(data) - len(rest), "cut": bool(rest)}
    return empty.model_copy(update=found)


def add_link(chain: C, fields: Mapping[str, object]) -> C:
    """The chain with one more line, after the disk has it; `fields` are those of the line's own kind.

    The caller holds the lock of the place. Raises WriteError; the line is then not there, or cut short and dropped.
    """
    seq, time = len(chain.entries) + 1, datetime.now(UTC).isoformat(timespec="microseconds")
    entry = chain.kind.model_validate({**fields, "seq": seq, "time": time, "before": chain.last}).sealed()
    line = entry.model_dump_json().encode()
    try:
        chain.store(seq, line)
    except OSError as error:
        raise WriteError(
            f"{chain.place}: cannot write ({error.strerror}); free the place, then run it again"
        ) from error
    return chain.model_copy(
        update={
            "entries": (*chain.entries, entry),
            "last": hashlib.sha256(line).hexdigest(),
            "size": chain.size + len(line) + 1,
            "cut": False,
        }
    )


def _parsed(kind: type[Link], line: bytes) -> Link | None:
    try:
        return kind.model_validate_json(line)
    except ValidationError:
        return None


def _write(path: Path, size: int, data: bytes) -> None:
    """Put `data` after the first `size` bytes: what a kill has cut short goes."""
    handle = open_private(path, os.O_RDWR | os.O_CREAT)
    try:
        os.ftruncate(handle, size)
        os.lseek(handle, size, os.SEEK_SET)
        while data:
            data = data[os.write(handle, data) :]
        failpoint("line written")
        os.fsync(handle)
    finally:
        os.close(handle)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
