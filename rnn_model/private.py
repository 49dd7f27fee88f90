"""Files for their owner alone: how they are made, opened, closed to others, and refused where others can write.

A link in the place of a log, a lock or a ledger leads what is written to another file: it is refused, never followed.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rnn_model.errors import UnsafeError

CLOSED = 0o077  # the umask under which files are 0600 and folders 0700
OTHERS = 0o077  # what a group and others may do
SHARED = stat.S_ISGID | stat.S_IWGRP | stat.S_IXGRP  # chmod 2770: how its owner says that a group shares a folder
_asked: list[int] = []  # the user's own umask, once ours is set
_umask = CLOSED  # ours


def close_to_others(umask: int = CLOSED) -> None:
    """Make new files and folders of this process, and of those that it starts, for their owner alone."""
    global _umask
    before, _umask = os.umask(umask), umask
    if not _asked:
        _asked.append(before)


@contextmanager
def as_the_user_asks() -> Iterator[None]:
    """Files that are made within the block are as open as the user's own umask says: those he asked for by name."""
    if not _asked:
        yield
        return
    before = os.umask(_asked[0])
    try:
        yield
    finally:
        os.umask(before)


def folder_mode() -> int:
    """The rights on a new folder: 0700, or what the umask of a shared data folder leaves."""
    return 0o777 & ~_umask


def open_private(path: Path, flags: int) -> int:
    """A descriptor of `path`, made for its owner alone (or the group that shares the data folder) where it is not
    there; its folder is made too.

    Raises UnsafeError (77) for a link, and for what is no file (a pipe would block for ever); else OSError.
    """
    if flags & os.O_CREAT:
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o666 & ~_umask)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a pipe without a reader
            raise UnsafeError(refused(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UnsafeError(refused(path))
    os.set_blocking(handle, True)
    return handle


def refused(path: Path) -> str:
    """Why a place is not written to."""
    kind = "a link" if path.is_symlink() else "no file"
    return f"{path} is {kind}, and would lead what is written elsewhere; remove it, then run this again"


def refuse_writable(path: Path, what: str) -> None:
    """Refuse what everybody may change: `path` itself, the files in it, and a folder that lets others replace it.

    Raises UnsafeError (77). A place that is not there is left to who reads it.
    """
    inside = sorted(path.rglob("*")) if path.is_dir() else []
    for place in (path.absolute().parent, path, *inside):
        try:
            mode = place.stat().st_mode
        except OSError:
            continue
        keeps = place == path.absolute().parent and mode & stat.S_ISVTX  # as /tmp: only owners replace their files
        if mode & stat.S_IWOTH and not keeps:
            raise UnsafeError(
                f"{what} {path}: everybody may change {place}; look at what is in it, then chmod o-w {place}"
            )


def is_shared_folder(folder: Path) -> bool:
    """Whether a group shares a folder by its owner's word (chmod 2770)."""
    return folder.stat().st_mode & SHARED == SHARED


def close_tree(folder: Path, allowed: int = 0) -> None:
    """Take the rights of others from a folder and everything in it that is this user's; links are not followed.

    `allowed`: rights of others that the folder itself keeps.
    """
    _close(folder, allowed)
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            _close(Path(place) / name)


def _close(path: Path, allowed: int = 0) -> None:
    try:
        found = path.lstat()
        mine = found.st_uid == os.geteuid() and not stat.S_ISLNK(found.st_mode)
        if mine and found.st_mode & OTHERS & ~allowed:
            path.chmod(stat.S_IMODE(found.st_mode) & ~(OTHERS & ~allowed))
    except FileNotFoundError:  # another process removed it meanwhile
        return
