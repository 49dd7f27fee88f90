"""An error that nothing had a word for ends in one line with the right exit code, and a traceback in the log alone."""

import errno
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from flows.cli import run
from flows.unexpected import explain
from rnn_model.errors import DataError


def chained(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


def system(number: int, *file: str) -> OSError:
    return OSError(number, os.strerror(number), *file)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (requests.ConnectionError(), 69, "its server"),
        (system(errno.ECONNREFUSED), 69, "a server does not answer (Connection refused)"),
        (system(errno.ECONNRESET), 69, "a server does not answer"),
        (TimeoutError(), 69, "a server does not answer (TimeoutError)"),
        (socket.gaierror(-2, "Name or service not known"), 69, "Name or service not known"),
        (system(errno.ENOSPC), 73, "no space on"),
        (system(errno.ENOSPC, "/data/x"), 73, "no space on /data/x"),
        (system(errno.EFBIG), 73, "ulimit -f"),
        (system(errno.EMFILE, "/data/x"), 73, "ulimit -n"),
        (system(errno.EROFS, "/data/x"), 77, "/data/x is closed to this user"),
        (system(errno.EACCES, "/data/x"), 77, "/data/x is closed to this user"),
        (system(errno.ENOENT, "/data/x"), 73, "/data/x: No such file or directory"),
        (OSError("odd"), 73, "the system refused (odd)"),
        (OSError(), 73, "the system refused (OSError)"),
        (system(errno.EPIPE), 73, "nobody reads this output"),
        (chained(RuntimeError("stage failed"), DataError("row 5: no number")), 65, "row 5: no number"),
        (chained(RuntimeError("x"), sqlite3.OperationalError("database or disk is full")), 73, "no space on"),
        (MemoryError(), 70, "out of memory"),
        (ZeroDivisionError("division by zero"), 1, "ZeroDivisionError: division by zero"),
    ],
)
def test_each_kind_has_a_line_and_a_code(error: Exception, code: int, words: str, data_folder: Path) -> None:
    data_folder.mkdir()
    line, found = explain(error, None)
    assert (found, words in line) == (code, True), line
    assert "None" not in line
    assert "\n" not in line


def test_the_traceback_is_in_the_log_and_not_on_the_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data_folder: Path
) -> None:
    def fail(*_: object) -> int:
        raise ZeroDivisionError("first line\nsecond line")

    monkeypatch.setattr("flows.cli.execute", fail)
    assert run(["run"]) == 1
    said = capsys.readouterr().err
    assert said.strip().splitlines()[0].startswith("carryover: ZeroDivisionError: first line (details: ")
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) == 1


def test_an_output_place_that_is_closed_is_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def place(folder: Path) -> None:
        raise system(errno.EROFS, str(folder))

    monkeypatch.setattr("flows.cli.check_place", place)
    monkeypatch.setattr("flows.cli.done_before", lambda *_: pytest.fail("the work began"))
    assert run(["forecast", "--output", str(tmp_path / "f.parquet")]) == 77
    assert "closed to this user" in capsys.readouterr().err


@pytest.mark.slow
def test_nothing_of_prefect_speaks_after_the_last_line() -> None:
    """Its threads end after the command, and tell at length what a lost server did not take."""
    program = "import flows.cli, logging; print(logging.getLogger('prefect._internal.concurrency').getEffectiveLevel())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "50\n"
