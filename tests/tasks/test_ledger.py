"""A ledger is linear, tells of every change, and survives a line that was cut short."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rnn_model.errors import IntegrityError, WriteError
from tasks.chain import FIRST
from tasks.ledger import Ledger, append, read_ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry" / "sales.ledger.jsonl"


def move(ledger: Ledger, version: int, kind: str = "promote", end: str | None = "done", key: str = "k") -> Ledger:
    """A move of the champion as a promotion writes it: announced, then how it ended."""
    fields = {"previous": ledger.champion, "version": version, "weights": f"w{version}", "key": key, "sentence": "why"}
    ledger = append(ledger, kind=kind, **fields)
    return append(ledger, kind=end, **fields) if end else ledger


def versions(ledger: Ledger) -> list[int]:
    return [entry.version for entry in ledger.reigns]


def test_every_line_holds_the_sha256_of_the_line_before(path: Path) -> None:
    move(move(read_ledger(path), 1), 2)
    lines = path.read_bytes().splitlines()
    expected = [FIRST] + [hashlib.sha256(line).hexdigest() for line in lines[:-1]]
    assert [json.loads(line)["before"] for line in lines] == expected
    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3, 4]


def test_what_was_appended_is_what_is_read(path: Path) -> None:
    written = move(move(read_ledger(path), 1), 2)
    assert read_ledger(path) == written
    assert read_ledger(path).champion == 2


def changed_in(line: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda lines: [x.replace(b"why", b"lie") if n == line else x for n, x in enumerate(lines)]


CHANGES = {
    "the first line": changed_in(0),
    "a line in the middle": changed_in(1),
    "the last line": changed_in(3),
    "a line left out": lambda lines: [lines[0], *lines[2:]],
    "two lines swapped": lambda lines: [lines[0], lines[2], lines[1], lines[3]],
    "a line twice": lambda lines: [*lines, lines[-1]],
    "a line that is no JSON": lambda lines: [*lines[:2], b"{", *lines[3:]],
    "an empty line": lambda lines: [*lines, b""],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_ledger_is_refused(path: Path, change: str) -> None:
    move(move(read_ledger(path), 1), 2)
    lines = CHANGES[change](path.read_bytes().splitlines())
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(IntegrityError, match="is not what was written there"):
        read_ledger(path)


@pytest.mark.parametrize("kept", [1, 40, -1])
def test_a_last_line_that_was_cut_short_is_dropped_and_said(path: Path, kept: int) -> None:
    before = move(read_ledger(path), 1)
    whole = path.read_bytes()
    line = move(before, 2, end=None).path.read_bytes()[len(whole) :]
    path.write_bytes(whole + line[:kept])  # -1: all but the line's end
    found = read_ledger(path)
    assert found.cut
    assert found.entries == before.entries
    assert versions(move(found, 3)) == [1, 3]
    assert read_ledger(path).cut is False
    assert [entry.version for entry in read_ledger(path).entries] == [1, 1, 3, 3]


def test_no_file_is_an_empty_ledger_without_a_champion(path: Path) -> None:
    assert read_ledger(path).champion is None
    assert read_ledger(path).reigns == ()


def test_a_move_counts_when_its_end_is_written(path: Path) -> None:
    ledger = move(move(read_ledger(path), 1), 2, end=None)
    assert ledger.champion == 1
    assert ledger.pending is not None
    assert ledger.pending.version == 2


def test_a_reverted_move_does_not_count(path: Path) -> None:
    ledger = move(move(read_ledger(path), 1), 2, end="reverted")
    assert ledger.champion == 1
    assert ledger.pending is None
    assert ledger.promoted("k") == ledger.entries[0]


def test_each_rollback_goes_one_further_back(path: Path) -> None:
    ledger = move(move(move(read_ledger(path), 1), 2), 3)
    assert versions(ledger) == [1, 2, 3]
    ledger = move(ledger, 2, kind="rollback")
    assert versions(ledger) == [1, 2]
    assert versions(move(ledger, 1, kind="rollback")) == [1]
    assert versions(move(ledger, 3)) == [1, 2, 3]


def test_a_ledger_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    with pytest.raises(WriteError, match="cannot write"):
        move(Ledger(path=tmp_path / "file" / "x.ledger.jsonl"), 1)
