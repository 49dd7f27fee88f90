"""Whether there is room to work before the work begins: a folder that takes files, space, and the system's limits.

It costs milliseconds, and is no proof: what fills up later is met by who writes there.
"""

import errno
import os
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from rnn_model.errors import CarryoverError, UnsafeError, WriteError
from tasks.settling import OWN

MEGABYTE = 2**20
FREE_BYTES = 32 * MEGABYTE  # stores, a model and a report of a small run
FREE_FILES = 200  # inodes: about what a small run makes
OPEN_FILES = 256  # descriptors: servers, stores, and the libraries of a run
MANY_FILES = 4096  # what the limit is raised to where this process may
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_WORDS = ("database or disk is full", "no space left on device", "disk quota exceeded")
KEPT = "what was published before stands as it was; finished stages are used again"


def check_room(folder: Path) -> None:
    """Raise UnsafeError (77) for a folder that is closed to this user, WriteError (73) where there is no room in it."""
    check_place(folder)
    for path in (folder / name for name in OWN):
        needed = os.W_OK | os.X_OK if path.is_dir() else os.W_OK
        if path.exists() and not os.access(path, needed):
            raise UnsafeError(closed(path))
    free, disk = shutil.disk_usage(folder).free, os.statvfs(folder)
    if free < FREE_BYTES:
        raise WriteError(
            f"no space on {folder}: need {FREE_BYTES // MEGABYTE} MB, have {free / MEGABYTE:.1f} MB; free some, or set "
            "CARRYOVER_HOME to another disk"
        )
    if disk.f_files and disk.f_favail < FREE_FILES:
        raise WriteError(
            f"no space on {folder}: need {FREE_FILES} inodes, have {disk.f_favail}; delete files there, or set "
            "CARRYOVER_HOME to another disk"
        )
    check_limits()


def check_limits() -> None:
    """Raise WriteError (73) for limits of the shell under which no run can end; the one on open files is raised first
    as far as this process may."""
    size, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if size != resource.RLIM_INFINITY and size < FREE_BYTES:
        raise WriteError(
            f"files may have {size / MEGABYTE:.1f} MB at most (ulimit -f), need {FREE_BYTES // MEGABYTE} MB; raise it "
            "with ulimit -f unlimited"
        )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = MANY_FILES if hard == resource.RLIM_INFINITY else min(MANY_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
        raise WriteError(f"{soft} files may be open at once (ulimit -n), need {OPEN_FILES}; raise it: ulimit -n 1024")


def check_place(folder: Path) -> None:
    """Write and remove one byte in a folder, or in the nearest that is there. Raises UnsafeError or WriteError."""
    folder = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    probe = folder / f".carryover-{os.getpid()}.probe"
    try:
        handle = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(handle, b"\0")
            os.fsync(handle)
        finally:
            os.close(handle)
            probe.unlink()
    except OSError as error:
        error.filename = str(folder)  # not the probe in it, of which nobody knows
        raise disk_fault(error) or WriteError(
            f"{folder}: cannot be written to ({error.strerror}); choose another folder"
        ) from None


def disk_fault(error: BaseException, place: str = "") -> CarryoverError | None:
    """What is said of an error that comes from a full disk, a limit or a closed place; None: it comes from elsewhere.

    `place`: where it was written, for an error that does not say so itself.
    """
    for each in causes(error):
        where = str(getattr(each, "filename", None) or place or "the disk")
        number = each.errno if isinstance(each, OSError) else None
        if number in FULL or _says_full(each):
            return WriteError(f"no space on {where}{_free(where)}; free some, then run this again ({KEPT})")
        if number == errno.EFBIG:
            return WriteError(
                f"{where} is larger than files may be (ulimit -f); raise it, then run this again ({KEPT})"
            )
        if number in (errno.EMFILE, errno.ENFILE):
            return WriteError(f"no more files can be opened (ulimit -n); raise it: ulimit -n 1024 ({KEPT})")
        if number == errno.EIO:
            return WriteError(f"{where}: the disk failed (input/output error); check it, then run this again ({KEPT})")
        if number in CLOSED and not isinstance(each, ConnectionError):
            return UnsafeError(closed(where))
    return None


def closed(place: Path | str) -> str:
    """What is said of a place without permission."""
    return f"{place} is closed to this user (owner, rights or a read-only disk); choose a folder that is yours"


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = getattr(error, "orig", None)
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__


def _says_full(error: BaseException) -> bool:
    """Libraries without Python's own errors tell it in words: SQLite, and those written in Rust."""
    words = str(error).lower()
    written = isinstance(error, sqlite3.Error | RuntimeError | OSError) or type(error).__module__ != "builtins"
    return written and any(each in words for each in FULL_WORDS)


def _free(where: str) -> str:
    path = Path(where)
    if not path.is_absolute():
        return ""
    there = next(place for place in (path, *path.parents) if place.exists())
    return f" ({shutil.disk_usage(there).free / MEGABYTE:.1f} MB free)"
