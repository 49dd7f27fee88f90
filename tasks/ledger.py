"""The ledger of a registered model: who was champion when, and why. Lines are only ever added, and each holds the
SHA-256 of the line before it, so that a change anywhere breaks the chain.

They stand in a file, or, where several machines promote, in the database that they share (`tasks.team`).
"""

from itertools import zip_longest
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from tasks.chain import Chain, Link, add_link, read_chain
from tasks.team import VARIABLE, add_line, is_shared, read_lines


class Entry(Link):
    """One line. `promote` and `rollback` announce a move of @champion, `done` or `reverted` says how it ended."""

    seal: ClassVar[str] = "digest"
    added: ClassVar[tuple[str, ...]] = ("content",)

    kind: Literal["promote", "rollback", "outside", "done", "reverted"] = Field(
        description="outside: the alias was moved by something else, and was found so"
    )
    previous: int | None = Field(description="champion before; none: there was none")
    version: int = Field(description="champion after")
    weights: str = Field(description="digest of the weights of `version`")
    content: str = Field("", description="digest of weights and card of `version`; empty: the line is older")
    key: str = Field(description="of the run that asked for it")
    sentence: str = Field(description="the decision, or the reason")
    digest: str = Field("", description="SHA-256 of this line's other fields")


class Ledger(Chain[Entry]):
    """All entries of a ledger that holds together; `path` is its file, or its name in the database that is shared."""

    kind: ClassVar[type[Link]] = Entry

    @property
    def place(self) -> str:
        """Where its lines are, in words."""
        return f"{VARIABLE}, ledger {self._title}" if is_shared() else str(self.path)

    @property
    def _title(self) -> str:
        """Its name in the database: store and model."""
        return f"{self.path.parent.name}/{self.path.name.removesuffix('.ledger.jsonl')}"

    def stored(self) -> bytes:
        """All its lines, in the database where one is shared."""
        return read_lines(self._title) if is_shared() else super().stored()

    def store(self, seq: int, line: bytes) -> None:
        """Add a line, in the database where one is shared."""
        if is_shared():
            add_line(self._title, seq, line.decode())
        else:
            super().store(seq, line)

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

    def content(self, version: int) -> str:
        """What a version consisted of when it last became champion; empty where that is not known."""
        return next((e.content for e in reversed(self.moves) if e.version == version), "")

    def promoted(self, key: str) -> Entry | None:
        """The promotion that a run has already carried out."""
        return next((e for e in self.moves if e.kind == "promote" and e.key == key), None)


def read_ledger(path: Path) -> Ledger:
    """A ledger, checked from its first line to its last; one that is not there is empty. Raises IntegrityError."""
    return read_chain(Ledger, path)


def append(ledger: Ledger, **fields: object) -> Ledger:
    """Add one entry (its kind, previous, version, weights, content, key and sentence) and wait until the disk has it.

    The caller holds the model's lock. Raises WriteError, or ServiceError for the database; the line is then not there,
    or cut short and dropped.
    """
    return add_link(ledger, fields)
