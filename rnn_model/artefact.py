"""A folder that appears whole or not at all, with the SHA-256 of every file beside it.

Everything the project stores goes through `publish` and comes back through `open_checked`.
"""

import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import psutil

from rnn_model.errors import BusyError, IntegrityError, UnsafeError, WriteError
from rnn_model.failpoints import failpoint
from rnn_model.json_file import read_json
from rnn_model.private import folder_mode, open_private

MANIFEST = "manifest.json"
MANIFEST_LIMIT = 4 * 2**20  # bytes: a few files with a digest each
SHOWN = 5  # files named in an error, of each kind
NAME_SHOWN = 80  # characters of a name that somebody else has made up


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, in hex: equal for equal configs, in every process."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def publish(folder: Path, write: Callable[[Path], None]) -> Path:
    """Fill a staging folder with `write`, then rename it to `folder` in one step.

    A folder that already stands and is intact is kept, which makes content-addressed folders idempotent;
    a damaged one is replaced. `write` gets the staging folder. Raises WriteError (no space, read-only
    file system) or UnsafeError (no permission); in both cases `folder` is as it was.
    """
    if _is_intact(folder):
        return folder
    staging = _staging(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        staging.mkdir(mode=folder_mode())
        write(staging)
        failpoint(f"written:{folder.parent.name}")
        _seal(staging)
        failpoint(f"sealed:{folder.parent.name}")
        _swap(staging, folder)
        failpoint(f"published:{folder.parent.name}")
    except OSError as error:
        raise _as_write_error(error, folder) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def open_checked(folder: Path) -> Path:
    """`folder`, after every file in its manifest was found and hashed, and nothing else was found in it.

    Raises IntegrityError, or UnsafeError (77) where something in it leads out of it: a link, or a name with "..".
    """
    try:
        listed = read_manifest(folder)
        present = _files(folder)
        found = {name: sha256_file(folder / name) for name in sorted(present & set(listed))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{folder}: no complete artefact here ({type(error).__name__}: {error}); "
            f"expected a folder written by carryover, with {MANIFEST}. Make it anew, or name another."
        ) from error
    broken = {
        "changed since it was written": [name for name, digest in found.items() if digest != listed[name]],
        "missing": sorted(set(listed) - present),
        "added since": sorted(present - set(listed)),
    }
    said = "; ".join(f"{', '.join(names[:SHOWN])} {words}" for words, names in broken.items() if names)
    if said:
        raise IntegrityError(f"{folder}: {said} (not what {MANIFEST} lists). Delete the folder and make it anew.")
    return folder


def read_manifest(folder: Path) -> dict[str, str]:
    """File -> its SHA-256, as a folder's manifest lists them; the files themselves are not looked at.

    Raises OSError, ValueError, KeyError or TypeError for what is no manifest, UnsafeError for a name that leads out of
    the folder.
    """
    path = folder / MANIFEST
    if path.is_symlink():
        _refuse_link(path)
    listed = read_json(path, MANIFEST_LIMIT)["sha256"]
    if not isinstance(listed, dict) or not all(isinstance(digest, str) for digest in listed.values()):
        raise ValueError("sha256 is not a digest for each file")
    outside = [name for name in listed if "\0" in name or name.startswith("/") or not _stays(name)]
    if outside:
        raise UnsafeError(
            f"{path}: lists {outside[0][:NAME_SHOWN]!r}, which is no file of that folder; it was not written by "
            "carryover. Make the folder anew, or name another."
        )
    return listed


def _stays(name: str) -> bool:
    """Whether a name is the plain path of a file below a folder."""
    return all(part not in ("", ".", "..") for part in name.split("/"))


def _files(folder: Path) -> set[str]:
    """The files of a folder but for its manifest. Raises UnsafeError for links and whatever else is no plain file.

    A second name of the same file (a hard link) cannot lead anywhere else, and is a file.
    """
    found = set()
    for path in folder.rglob("*"):
        if path.is_symlink():
            _refuse_link(path)
        if not path.is_dir():
            if not path.is_file():  # a pipe would be waited for
                raise UnsafeError(f"{path}: neither a file nor a folder; remove it, or make {folder} anew")
            found.add(str(path.relative_to(folder)))
    return found - {MANIFEST}


def _refuse_link(path: Path) -> NoReturn:
    raise UnsafeError(
        f"{path}: a link to {os.readlink(path)!r}; what carryover writes holds no links. Put the file itself there, or "
        "make the folder anew."
    )


@contextmanager
def held(path: Path) -> Iterator[None]:
    """The right to make `path`, for the length of a `with` block. Raises BusyError (75) while another process has it.

    The lock is the operating system's: it ends with its holder, however that ends.
    """
    lock = path.with_name(f"{path.name}.lock")
    with os.fdopen(open_private(lock, os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().strip() or "another process"
            raise BusyError(f"{path}: {holder} is making it; wait for its end, then run this again") from None
        handle.truncate(0)
        handle.write(f"process {os.getpid()} on {socket.gethostname()}")
        handle.flush()
        yield


def write_file(path: Path, data: bytes) -> None:
    """Write one file atomically: beside its place, flushed, then renamed over it. Raises WriteError."""
    staging = _staging(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        staging.write_bytes(data)
        _fsync(staging)
        failpoint("file written")
        staging.replace(path)
        _fsync(path.parent)
    except OSError as error:
        raise _as_write_error(error, path) from error
    finally:
        staging.unlink(missing_ok=True)


def _is_intact(folder: Path) -> bool:
    try:
        open_checked(folder)
    except (IntegrityError, UnsafeError):
        return False
    return True


def _seal(staging: Path) -> None:
    files = sorted(p for p in staging.rglob("*") if p.is_file())
    listed = {str(p.relative_to(staging)): sha256_file(p) for p in files}
    (staging / MANIFEST).write_text(json.dumps({"sha256": listed}, indent=1))
    for path in (*files, staging / MANIFEST, staging):
        _fsync(path)


def _swap(staging: Path, folder: Path) -> None:
    if folder.exists():  # damaged, or it would have been kept
        old = _staging(folder)
        folder.rename(old)
        staging.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    else:
        try:
            staging.rename(folder)
        except OSError:
            if not _is_intact(folder):  # else another process published the same content first
                raise
    _fsync(folder.parent)


def _staging(target: Path) -> Path:
    """A name beside the target (a rename across devices would not be atomic) that tells who is writing."""
    return target.parent / f".{target.name[:60]}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part"


def _sweep(target: Path) -> None:
    """Remove what earlier writers of this target left behind when they were killed."""
    for path in target.parent.glob(f".{glob.escape(target.name[:60])}.*.*.part"):
        pid = path.name.split(".")[-3]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _as_write_error(error: OSError, target: Path) -> Exception:
    if error.errno in (errno.EACCES, errno.EPERM):
        return UnsafeError(f"{target}: no permission to write here ({error.strerror}). Choose a folder that is yours.")
    free = shutil.disk_usage(next(p for p in target.absolute().parents if p.exists())).free
    hints = {
        errno.ENOSPC: f"{free / 1e6:.0f} MB free",
        errno.EFBIG: "ulimit -f is too low",
        errno.EMFILE: "ulimit -n is too low",
    }
    hint = hints.get(error.errno or 0, "nothing was replaced")
    remedy = "Raise that limit" if error.errno in (errno.EFBIG, errno.EMFILE) else "Free the place"
    return WriteError(f"{target}: cannot write: {error.strerror or error} ({hint}). {remedy}, then run it again.")
