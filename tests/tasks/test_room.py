"""Where there is no room to work, it is said before the work, with need and have, and the right exit code."""

import errno
import os
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest

from rnn_model.errors import CarryoverError, UnsafeError, WriteError
from tasks import room
from tasks.room import check_limits, check_place, check_room, disk_fault

Usage = namedtuple("Usage", "total used free")


def test_a_folder_with_room_is_left_as_it_was(tmp_path: Path) -> None:
    check_room(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_small_disk_is_refused_with_need_and_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: Usage(2 * 2**20, 0, 2 * 2**20))
    with pytest.raises(WriteError, match=r"no space on .*: need 32 MB, have 2\.0 MB; free some"):
        check_room(tmp_path)


def test_a_disk_without_inodes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = os.statvfs(tmp_path)
    none = os.statvfs_result((*found[:5], 1000, 0, 7, *found[8:]))
    monkeypatch.setattr(room.os, "statvfs", lambda _: none)
    with pytest.raises(WriteError, match="need 200 inodes, have 7; delete files"):
        check_room(tmp_path)


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [("RLIMIT_FSIZE", 1024, "ulimit -f"), ("RLIMIT_NOFILE", 64, r"64 files may be open at once \(ulimit -n\)")],
)
def test_limits_of_the_shell_are_named(limit: str, value: int, words: str) -> None:
    """In a process of its own: a limit is never raised again."""
    program = (
        f"import resource; resource.setrlimit(resource.{limit}, ({value}, {value}))\n"
        "from tasks.room import check_limits\n"
        "from rnn_model.errors import WriteError\n"
        "try: check_limits()\n"
        "except WriteError as error: print(error.exit_code, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert re.match(f"73 .*{words}", done.stdout), done.stdout


def test_a_low_limit_on_open_files_is_raised_where_it_may_be() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, before[1]))
    try:
        check_limits()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= room.OPEN_FILES
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, WriteError, "no space on"),
        (errno.EDQUOT, WriteError, "no space on"),
        (errno.EFBIG, WriteError, "ulimit -f"),
        (errno.EMFILE, WriteError, "ulimit -n"),
        (errno.EIO, WriteError, "the disk failed"),
        (errno.EACCES, UnsafeError, "closed to this user"),
        (errno.EROFS, UnsafeError, "closed to this user"),
    ],
)
def test_a_place_that_takes_nothing_is_told_by_its_cause(
    number: int, kind: type[CarryoverError], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number), str(tmp_path))

    monkeypatch.setattr(room.os, "open", refuse)
    with pytest.raises(kind, match=words):
        check_place(tmp_path / "not" / "there")


def test_a_full_disk_is_found_under_other_errors() -> None:
    inner = sqlite3.OperationalError("database or disk is full")
    outer = RuntimeError("the store failed")
    outer.__cause__ = inner
    found = disk_fault(outer)
    assert found is not None
    assert found.exit_code == 73
    assert disk_fault(ValueError("no space left on device is a text of the user")) is None
    assert disk_fault(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("closed", ["home", "folder", "store"])
def test_what_is_closed_to_a_user_is_refused_before_the_work(closed: str) -> None:
    home = Path(tempfile.mkdtemp(dir="/tmp"))  # pytest's own folders are closed to others
    try:
        (home / "models").mkdir()
        (home / "mlflow.db").touch()
        modes = {"home": (home, 0o555), "folder": (home / "models", 0o555), "store": (home / "mlflow.db", 0o444)}
        for path in (home / "models", home / "mlflow.db", home):
            os.chown(path, 65534, 65534)
        path, mode = modes[closed]
        path.chmod(mode)
        child = os.fork()
        if not child:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            try:
                check_room(home)
            except UnsafeError as error:
                os._exit(77 if str(error).startswith(f"{path} is closed") else 1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 77
    finally:
        shutil.rmtree(home)
