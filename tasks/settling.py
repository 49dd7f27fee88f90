"""The data folder before anything is written there: closed to other users, and refused where they could change it."""

import os
import stat
import tempfile
from pathlib import Path

from rnn_model.errors import UnsafeError
from rnn_model.private import CLOSED, close_to_others, close_tree, is_shared_folder
from tasks.config import home

GROUP = 0o007  # the umask in a folder that a group shares
OWN = (  # what is made in the data folder; other files in it are their owner's business
    *("logs", "raw", "validated", "labels", "windows", "models", "backtests", "forecasts", "outcomes", "receipts"),
    *("reports", "registry", "services", "sweeps", "monitor", "proofs", "mlartifacts", "spool", "targets"),
    *("mlflow.db", "mlflow.db-wal", "mlflow.db-shm", "mlflow.db-journal", "mlflow.lock"),
)
PASSAGE = 0o011  # may enter, not look: for the user as whom PostgreSQL runs for root


def settle() -> Path:
    """Make the data folder, or mend what stands there: folders 0700 and files 0600, but for what a group shares.

    New files of this process are private from then on, too. Returns the folder. Raises UnsafeError (77) for a data
    folder, or a folder of temporary files, in which everybody may change what others wrote.
    """
    close_to_others(CLOSED)
    _check_temporary(Path(tempfile.gettempdir()))
    folder = home()
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
    found = folder.stat()
    if found.st_mode & stat.S_IWOTH:
        raise UnsafeError(
            f"{folder}: everybody may change this data folder; look at what is in it, then chmod 700 {folder}, or set "
            "CARRYOVER_HOME to a folder of yours"
        )
    if is_shared_folder(folder):
        close_to_others(GROUP)
    else:
        mend(folder)
    return folder


def mend(folder: Path) -> None:
    """Close what was made here by earlier versions, or under another umask; the folder itself where all in it is ours.

    Looking costs one listing: what lies deeper is closed with the folder above it, and mended where that was open.
    """
    allowed = PASSAGE if has_passage(folder) else 0
    names = {path.name for path in folder.iterdir()}
    for name in sorted(names & set(OWN)):
        path, own = folder / name, allowed if name == "services" else 0
        if is_open(path, own):
            close_tree(path, own)
    if names <= set(OWN) and is_open(folder, allowed):
        folder.chmod(0o700 | allowed)


def is_open(path: Path, allowed: int = 0) -> bool:
    """Whether `path` is this user's, no link, and others may do more with it than is allowed."""
    found = path.lstat()
    mine = found.st_uid == os.geteuid() and not stat.S_ISLNK(found.st_mode)
    return mine and bool(found.st_mode & 0o077 & ~allowed)


def has_passage(folder: Path) -> bool:
    """Whether a PostgreSQL of another user's lies within, as root starts it: that user has to come through."""
    place = folder / "services" / "postgres"
    return place.exists() and place.stat().st_uid != os.geteuid()


def open_passage(folder: Path) -> None:
    """Let other users through a folder of this one's, without a look at what is in it."""
    found = folder.stat()
    if found.st_uid == os.geteuid():
        folder.chmod(stat.S_IMODE(found.st_mode) | PASSAGE)


def _check_temporary(folder: Path) -> None:
    mode = folder.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise UnsafeError(
            f"{folder}: everybody may replace others' temporary files there; chmod +t {folder}, or set TMPDIR to a "
            "folder of yours"
        )
