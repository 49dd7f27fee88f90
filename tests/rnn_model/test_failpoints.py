"""Places at which a test ends the process or makes a write fail."""

import errno
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from rnn_model import failpoints
from rnn_model.artefact import publish, write_file
from rnn_model.errors import ConfigError, WriteError
from rnn_model.failpoints import failpoint


@pytest.fixture(autouse=True)
def nothing_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failpoints, "_passed", Counter())


def test_nothing_happens_without_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(failpoints.VARIABLE, raising=False)
    failpoint("here")


def test_a_place_fails_at_the_time_that_was_asked_for_and_at_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, "here@2=full")
    failpoint("here")
    failpoint("hereafter")
    failpoint("there")
    with pytest.raises(OSError, match="failpoint here") as raised:
        failpoint("here")
    assert raised.value.errno == errno.ENOSPC
    failpoint("here")


def test_a_kill_is_one_that_nothing_can_catch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, "here=kill")
    child = os.fork()
    if not child:
        try:
            failpoint("here")
        finally:
            os._exit(3)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


@pytest.mark.parametrize("asked", ["here=explode", "here@x=kill", "here"])
def test_another_form_is_refused(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, asked)
    with pytest.raises(ConfigError, match="allowed is NAME"):
        failpoint("here")


@pytest.mark.parametrize("place", ["written", "sealed"])
@pytest.mark.parametrize("action", ["full", "broken"])
def test_a_folder_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, action: str
) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, f"{place}:shelf={action}")
    with pytest.raises(WriteError):
        publish(tmp_path / "shelf" / "book", lambda staging: _write(staging / "page"))
    assert list((tmp_path / "shelf").iterdir()) == []


def test_a_file_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(tmp_path / "file", b"earlier")
    monkeypatch.setenv(failpoints.VARIABLE, "file written=full")
    with pytest.raises(WriteError):
        write_file(tmp_path / "file", b"later")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"earlier")]


def _write(path: Path) -> None:
    path.write_text("words")
