"""The data folder is closed to others: made so, mended where an earlier version left it open, refused where planted."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rnn_model import private
from rnn_model.artefact import held, publish, write_file
from rnn_model.errors import UnsafeError
from tasks import settling
from tasks.chain import read_chain
from tasks.config import PROJECT
from tasks.ledger import Ledger, append
from tasks.servers import log_file, log_path
from tasks.settling import open_passage, settle

KEPT = ("sample", "base", "README.md")  # of the project's own data folder: they come with it


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture(autouse=True)
def usual_umask(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(private, "_asked", [])
    monkeypatch.setattr(private, "_umask", private.CLOSED)
    before = os.umask(0o022)
    yield
    os.umask(before)


def fill(folder: Path, *more: str) -> None:
    """A data folder as an earlier version left it."""
    for name in ("logs", "models/m-1", *more):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_text("x")
    (folder / "mlflow.db").write_text("x")


def test_a_new_data_folder_and_what_is_put_there_are_private(data_folder: Path) -> None:
    assert settle() == data_folder.resolve()
    (data_folder / "logs").mkdir()
    (data_folder / "logs" / "a.log").touch()
    found = [mode(path) for path in (data_folder, data_folder / "logs", data_folder / "logs" / "a.log")]
    assert found == [0o700, 0o700, 0o600]


def test_what_an_earlier_version_made_is_closed(data_folder: Path) -> None:
    fill(data_folder)
    settle()
    assert [path for path in (data_folder, *data_folder.rglob("*")) if mode(path) & 0o077] == []


def test_what_is_not_ours_stays_as_open_as_it_is(data_folder: Path) -> None:
    """As the sample in the project's own data folder, or a person's files beside ours."""
    fill(data_folder, *KEPT)
    settle()
    assert [mode(data_folder / name) for name in ("logs", "mlflow.db", "models/m-1", "models/m-1/file")] == [
        0o700,
        0o600,
        0o700,
        0o600,
    ]
    assert [mode(data_folder / name) for name in ("", *KEPT, "base/file")] == [*[0o755] * 4, 0o644]


def test_every_place_in_the_data_folder_is_known_to_be_ours() -> None:
    """A place that is not would stay open where an earlier version made it."""
    import re

    sources = [path.read_text() for package in ("flows", "tasks") for path in (PROJECT / package).glob("*.py")]
    named = {name for text in sources for name in re.findall(r"home\(\) / ['\"]([\w.]+)['\"]", text)}
    assert len(named) > 15
    assert named <= set(settling.OWN)


def test_a_data_folder_in_which_everybody_may_write_is_refused(data_folder: Path) -> None:
    data_folder.mkdir(mode=0o700)
    for open_to_all in (0o777, 0o1777):
        data_folder.chmod(open_to_all)
        with pytest.raises(UnsafeError, match="everybody may change this data folder") as raised:
            settle()
        assert raised.value.exit_code == 77
    assert mode(data_folder) == 0o1777


def test_a_group_shares_a_folder_by_its_owners_word(data_folder: Path) -> None:
    data_folder.mkdir()
    data_folder.chmod(0o2770)
    settle()
    (data_folder / "mlflow.db").touch()
    log_file("any").close()
    with held(data_folder / "outcomes" / "a"):
        publish(data_folder / "models" / "m-1", lambda staging: (staging / "file").touch())
    write_file(data_folder / "reports" / "r.html", b"x")
    modes = {mode(path) & 0o777 for path in data_folder.rglob("*")}
    assert (mode(data_folder), modes) == (0o2770, {0o770, 0o660})
    settle()
    assert {mode(path) & 0o777 for path in data_folder.rglob("*")} == modes


def test_temporary_files_that_others_may_replace_are_refused(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    for open_to_all, refused in ((0o1777, False), (0o777, True)):
        (tmp_path / "temporary").chmod(open_to_all)
        if refused:
            with pytest.raises(UnsafeError, match="TMPDIR"):
                settle()
        else:
            settle()


@pytest.mark.skipif(os.geteuid() != 0, reason="a folder of another user's takes root")
def test_another_user_comes_through_to_a_postgresql_of_roots(data_folder: Path) -> None:
    fill(data_folder, "services/postgres")
    os.chown(data_folder / "services" / "postgres", 65534, 65534)
    settle()
    assert [mode(data_folder / name) for name in ("", "services", "logs")] == [0o711, 0o711, 0o700]
    assert mode(data_folder / "services" / "postgres") == 0o755  # that one's own business


def test_a_passage_lets_through_and_shows_nothing(data_folder: Path) -> None:
    settle()
    open_passage(data_folder)
    assert mode(data_folder) == 0o711


def test_a_ledger_that_is_a_link_is_neither_read_nor_written(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "sales.ledger.jsonl"
    victim.write_text("as it was\n")
    path.symlink_to(victim)
    with pytest.raises(UnsafeError, match="is a link"):
        read_chain(Ledger, path)
    entry = {"kind": "promote", "previous": None, "version": 1, "weights": "w", "key": "k", "sentence": "s"}
    with pytest.raises(UnsafeError, match="is a link"):
        append(Ledger(path=path), **entry)
    assert victim.read_text() == "as it was\n"


def test_a_servers_log_that_is_a_link_is_refused(data_folder: Path, tmp_path: Path) -> None:
    log_path("any").parent.mkdir(parents=True)
    log_path("any").symlink_to(tmp_path / "victim")
    with pytest.raises(UnsafeError, match="is a link"):
        log_file("any")
    assert not (tmp_path / "victim").exists()
