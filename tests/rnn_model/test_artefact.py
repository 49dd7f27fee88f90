"""Folders that appear whole or not at all, and are believed only as long as their digests hold."""

import errno
import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rnn_model import artefact
from rnn_model.artefact import MANIFEST, digest_json, held, open_checked, publish, sha256_file, write_file
from rnn_model.errors import IntegrityError, UnsafeError, WriteError


def writes(text: str):
    """A writer of two files, one of them in a folder of its own."""

    def write(staging: Path) -> None:
        (staging / "a.txt").write_text(text)
        (staging / "inner").mkdir()
        (staging / "inner" / "b.txt").write_text("b")

    return write


def fails(error: BaseException):
    """A writer that gets half-way."""

    def write(staging: Path) -> None:
        (staging / "a.txt").write_text("half")
        raise error

    return write


def never(_: Path) -> None:
    raise AssertionError("written again")


@pytest.fixture(scope="module")
def dead_pid() -> int:
    """The number of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    return ended.pid


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return publish(tmp_path / "out" / "model", writes("first"))


def beside(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.parent.iterdir())


# ---- publish


def test_a_published_folder_holds_its_files_and_their_digests(folder: Path) -> None:
    assert open_checked(folder) == folder
    assert (folder / "a.txt").read_text() == "first"
    assert (folder / "inner" / "b.txt").read_text() == "b"
    assert beside(folder) == ["model"]


def test_publishing_again_keeps_what_stands_and_writes_nothing(folder: Path) -> None:
    assert publish(folder, never) == folder
    assert (folder / "a.txt").read_text() == "first"


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(errno.EIO, "broken")])
def test_a_writer_that_fails_leaves_nothing_behind(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises((ValueError, KeyboardInterrupt, WriteError)):
        publish(tmp_path / "out" / "model", fails(error))
    assert list((tmp_path / "out").iterdir()) == []


def damage(folder: Path) -> None:
    (folder / "a.txt").write_text("edited")


def test_a_damaged_folder_is_replaced(folder: Path) -> None:
    damage(folder)
    publish(folder, writes("second"))
    assert open_checked(folder)
    assert (folder / "a.txt").read_text() == "second"
    assert beside(folder) == ["model"]


def test_a_failing_replacement_leaves_the_old_folder_as_it_was(folder: Path) -> None:
    damage(folder)
    with pytest.raises(ValueError, match="no"):
        publish(folder, fails(ValueError("no")))
    assert (folder / "a.txt").read_text() == "edited"
    assert beside(folder) == ["model"]


def test_a_twin_that_was_faster_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model"
    original = artefact._swap

    def late(staging: Path, folder: Path) -> None:
        """The twin publishes after this one looked for the folder, before it renames."""
        monkeypatch.setattr(artefact, "_swap", original)
        publish(target, writes("twin"))
        monkeypatch.setattr(Path, "exists", lambda _: False)
        original(staging, folder)

    monkeypatch.setattr(artefact, "_swap", late)
    publish(target, writes("late"))
    assert (target / "a.txt").read_text() == "twin"


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.ENOSPC, WriteError, 73),
        (errno.EROFS, WriteError, 73),
        (errno.EDQUOT, WriteError, 73),
        (errno.EACCES, UnsafeError, 77),
        (errno.EPERM, UnsafeError, 77),
    ],
)
def test_the_system_says_no_and_the_error_says_which_kind(
    tmp_path: Path, number: int, kind: type[Exception], code: int
) -> None:
    with pytest.raises(kind, match="model") as raised:
        publish(tmp_path / "model", fails(OSError(number, os.strerror(number))))
    assert raised.value.exit_code == code
    assert os.strerror(number) in str(raised.value)


def test_a_full_disk_names_the_free_space_of_the_place_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def usage(path: Path):
        asked.append(Path(path))
        return type("Usage", (), {"free": 3_000_000})

    monkeypatch.setattr(artefact.shutil, "disk_usage", usage)
    with pytest.raises(WriteError, match="3 MB free"):
        publish(tmp_path / "model", fails(OSError(errno.ENOSPC, "No space left on device")))
    assert asked == [tmp_path]


def test_a_file_in_the_place_of_a_parent_folder_cannot_be_written_into(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError):
        publish(tmp_path / "file" / "model", writes("x"))


# ---- what was left behind


def test_what_a_dead_writer_left_is_swept(tmp_path: Path, dead_pid: int) -> None:
    stale = tmp_path / f".model.{dead_pid}.abcd1234.part"
    stale.mkdir()
    (stale / "half").write_text("")
    (tmp_path / f".model.{dead_pid}.ffff0000.part").write_text("a file")
    publish(tmp_path / "model", writes("x"))
    assert beside(tmp_path / "model") == ["model"]


@pytest.mark.parametrize("name", [".model.{live}.abcd1234.part", ".model.some.one.part", ".other.{dead}.abcd1234.part"])
def test_what_a_live_writer_or_a_stranger_left_stays(tmp_path: Path, dead_pid: int, name: str) -> None:
    kept = name.format(live=os.getppid(), dead=dead_pid)
    (tmp_path / kept).mkdir()
    publish(tmp_path / "model", writes("x"))
    assert beside(tmp_path / "model") == [kept, "model"]


# ---- open_checked


@pytest.mark.parametrize("name", ["a.txt", "inner/b.txt"])
def test_a_changed_file_is_named(folder: Path, name: str) -> None:
    (folder / name).write_text("changed")
    with pytest.raises(IntegrityError, match=name) as raised:
        open_checked(folder)
    assert raised.value.exit_code == 76


@pytest.mark.parametrize("name", ["a.txt", "inner/b.txt", MANIFEST])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(IntegrityError, match=name):
        open_checked(folder)


# ---- one file


def test_a_file_is_written_whole_and_over_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "f.parquet"
    write_file(path, b"old")
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert beside(path) == ["f.parquet"]


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, WriteError), (errno.EACCES, UnsafeError)], ids=["full", "forbidden"]
)
def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    path = tmp_path / "f.parquet"
    write_file(path, b"old")

    def no(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(artefact.os, "fsync", no)
    with pytest.raises(kind):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert beside(path) == ["f.parquet"]


# ---- digests


def test_the_digest_of_a_file_is_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")  # the example of FIPS 180-2, B.1
    assert sha256_file(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_digest_of_a_value_is_that_of_its_canonical_text() -> None:
    text = b'{"a":[1,2.5,null],"b":"\\u00fc"}'
    assert digest_json({"b": "ü", "a": (1, 2.5, None)}) == hashlib.sha256(text).hexdigest()


def test_order_of_keys_does_not_change_a_digest_and_values_do() -> None:
    assert digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1})
    assert digest_json({"a": 1, "b": 2}) != digest_json({"a": 2, "b": 1})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_cannot_say_has_no_digest(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        digest_json({"a": value})


# ---- one at a time


def test_what_one_process_is_making_no_other_makes_and_the_holder_is_named(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from rnn_model.artefact import held\nwith held(Path(sys.argv[1])): pass"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "model")]
    with held(tmp_path / "model"):
        beside = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
        assert f"BusyError: {tmp_path / 'model'}: process {os.getpid()} on {socket.gethostname()} is making it" in (
            beside.stderr
        )
    assert subprocess.run(command, check=False, cwd=Path(__file__).parents[2]).returncode == 0


def test_a_fault_gives_the_right_back(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), held(tmp_path / "model"):
        raise ZeroDivisionError
    with held(tmp_path / "model"):
        pass
