"""Files are for their owner alone, links in their place are refused, and so is what everybody may change."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from rnn_model import private
from rnn_model.artefact import held
from rnn_model.errors import UnsafeError
from rnn_model.private import as_the_user_asks, close_to_others, close_tree, open_private, refuse_writable

WRITE = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture(autouse=True)
def usual_umask(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(private, "_asked", [])
    monkeypatch.setattr(private, "_umask", private.CLOSED)
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_new_files_are_private_but_for_those_that_the_user_asks_for(tmp_path: Path) -> None:
    close_to_others()
    close_to_others()  # the second time, ours is not taken for the user's
    (tmp_path / "ours").touch()
    with as_the_user_asks():
        (tmp_path / "asked").touch()
    (tmp_path / "folder").mkdir()
    assert [mode(tmp_path / name) for name in ("ours", "asked", "folder")] == [0o600, 0o644, 0o700]


def test_where_nothing_was_closed_the_user_keeps_his_umask(tmp_path: Path) -> None:
    with as_the_user_asks():
        (tmp_path / "asked").touch()
    assert mode(tmp_path / "asked") == 0o644


def test_a_private_file_is_made_with_its_folder_and_added_to(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "a.log"
    for words in (b"one ", b"two"):
        with os.fdopen(open_private(path, WRITE), "ab") as file:
            file.write(words)
    assert (path.read_bytes(), mode(path)) == (b"one two", 0o600)


@pytest.mark.parametrize("leads_to", ["something", "nothing"])
def test_a_planted_link_is_refused_and_not_followed(tmp_path: Path, leads_to: str) -> None:
    path, victim = tmp_path / "a.log", tmp_path / "victim"
    if leads_to == "something":
        victim.write_text("as it was")
    path.symlink_to(victim)
    with pytest.raises(UnsafeError, match=r"a\.log is a link") as raised:
        open_private(path, WRITE | os.O_TRUNC)
    assert raised.value.exit_code == 77
    assert victim.exists() == (leads_to == "something")
    assert not victim.exists() or victim.read_text() == "as it was"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path, make: object) -> None:
    make(tmp_path / "a.log")  # type: ignore[operator]
    for flags in (os.O_RDONLY, os.O_RDWR | os.O_CREAT):
        with pytest.raises((UnsafeError, IsADirectoryError)):
            open_private(tmp_path / "a.log", flags)


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("as it was")
    (tmp_path / "work.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(UnsafeError, match="is a link"), held(tmp_path / "work"):
        pass
    assert (tmp_path / "victim").read_text() == "as it was"


@pytest.mark.parametrize("place", ["", "model.json", "deep", "deep/weights"])
def test_a_place_in_which_everybody_may_change_something_is_refused(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    for name in ("model.json", "deep/weights"):
        (folder / name).touch()
    refuse_writable(folder, "model")
    (folder / place).chmod(mode(folder / place) | 0o002)
    with pytest.raises(UnsafeError, match=r"everybody may change .*chmod o-w"):
        refuse_writable(folder, "model")


def test_a_folder_in_which_others_may_replace_a_file_is_refused_but_not_one_as_the_temporary_one(
    tmp_path: Path,
) -> None:
    (tmp_path / "c.yaml").touch()
    tmp_path.chmod(0o1777)
    refuse_writable(tmp_path / "c.yaml", "config")
    tmp_path.chmod(0o777)
    with pytest.raises(UnsafeError, match="everybody may change"):
        refuse_writable(tmp_path / "c.yaml", "config")


def test_closing_a_tree_leaves_what_links_lead_to(tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    (victim / "inside").mkdir(parents=True)
    (folder / "deep" / "file").write_text("x")
    (folder / "program").write_text("x")
    (folder / "program").chmod(0o755)
    (folder / "link").symlink_to(victim)
    close_tree(folder)
    assert [mode(folder / name) for name in ("", "deep", "deep/file", "program")] == [0o700, 0o700, 0o600, 0o700]
    assert [mode(place) for place in (victim, victim / "inside")] == [0o755, 0o755]
