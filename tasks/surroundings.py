"""The machine around the program: its folders, disk, threads, limits, time zone and proxies."""

import os
import resource
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

from tasks.finding import DENIED, FULL, SETTING, Finding, ok, warning, wrong
from tasks.proxies import LOOPBACK

MIB = 2**20
LEAST_BYTES, FEW_BYTES = 100 * MIB, 2048 * MIB  # free: a run writes tens of MiB; a champion's history needs more
LEAST_INODES, FEW_INODES = 200, 10_000  # a run writes about a hundred files
FEW_FILES = 256  # open files; a run with its embedded server has about a hundred
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
NAMED = 3


def nearest(path: Path) -> Path:
    """A path, or what is there of the way to it."""
    return next(place for place in (path, *path.parents) if place.exists())


def check_folder(part: str, folder: Path, option: str) -> Finding:
    """A folder that commands write to: there or to be made, writable, nobody else's, closed to strangers."""
    place = nearest(folder)
    remedy = f"give it to {os.geteuid()} (chown), or name another place with {option}"
    if not place.is_dir():
        return wrong(part, f"{place} is no folder", f"name another place with {option}", DENIED)
    if not os.access(place, os.W_OK | os.X_OK | os.R_OK):
        return wrong(part, f"{place} cannot be read and written by user {os.geteuid()}", remedy, DENIED)
    if place != folder:
        return ok(part, f"{folder} is not there yet; the first command makes it")
    about = folder.stat()
    found = f"{folder}, mode {stat.S_IMODE(about.st_mode):04o}"
    if about.st_mode & stat.S_IWOTH:
        remedy = f"look at what is in it, then chmod 700 {folder}"
        return wrong(part, f"{found}: everybody may change what is in it", remedy, DENIED)
    closed = [inner.name for inner in folder.iterdir() if inner.is_dir() and not os.access(inner, os.W_OK)]
    if closed:
        return wrong(part, f"{found}: not writable in it: {', '.join(sorted(closed)[:NAMED])}", remedy, DENIED)
    if about.st_uid != os.geteuid():
        return warning(part, f"{found}, of user {about.st_uid}, not of {os.geteuid()}", remedy)
    return ok(part, found)


def is_open(mode: int) -> bool:
    """Whether everybody may change what others write to a folder; in one like /tmp each his own."""
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def check_temporary() -> Finding:
    """The folder of temporary files."""
    try:
        with tempfile.TemporaryFile():
            folder = Path(tempfile.gettempdir())
            if is_open(folder.stat().st_mode):
                remedy = f"chmod +t {folder}, or name a folder of yours with TMPDIR"
                return wrong("temporary", f"{folder}: everybody may change what others write there", remedy, DENIED)
            return ok("temporary", str(folder))
    except OSError as error:
        code = FULL if not isinstance(error, PermissionError) else DENIED
        return wrong("temporary", f"no file can be made: {error.strerror}", "name a folder with TMPDIR", code)


def check_space(folder: Path) -> list[Finding]:
    """Free space and inodes where the folder is, or will be."""
    place = nearest(folder)
    free, inodes = shutil.disk_usage(place).free, os.statvfs(place)
    found, remedy = f"{free // MIB} MiB free at {place}", "free some, or set CARRYOVER_HOME to a larger disk"
    lines = [ok("disk", found)]
    if free < FEW_BYTES:
        few = wrong("disk", found, remedy, FULL) if free < LEAST_BYTES else warning("disk", found, remedy)
        lines = [few]
    left = inodes.f_favail
    if not inodes.f_files or left >= FEW_INODES:  # a file system without a table of inodes says 0
        return [*lines, ok("inodes", f"{left} free" if inodes.f_files else "without a limit")]
    found = f"{left} files more can be made at {place}"
    return [*lines, wrong("inodes", found, remedy, FULL) if left < LEAST_INODES else warning("inodes", found, remedy)]


def check_limits() -> Finding:
    """Limits of this shell (ulimit): open files, and the size of a file."""
    files, size = resource.getrlimit(resource.RLIMIT_NOFILE)[0], resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if size != resource.RLIM_INFINITY:
        return warning("limits", f"a file may have {size // MIB} MiB at most", "ulimit -f unlimited")
    if 0 <= files < FEW_FILES:
        return warning("limits", f"{files} files may be open at once", "ulimit -n 1024")
    return ok("limits", f"{files} open files" if files >= 0 else "none")


def check_threads(environment: Mapping[str, str], cores: int, affinity: int, quota: float | None) -> Finding:
    """Threads that PyTorch will use, against the cores this process may use. `quota`: of a container, in cores."""
    usable = min(affinity, quota) if quota else affinity
    found = f"{affinity} of {cores} cores" + (f", at most {quota:g} by the container" if quota else "")
    given = environment.get("OMP_NUM_THREADS")
    fitting = f"export OMP_NUM_THREADS={max(1, int(usable))}"
    if given is not None and not (given.isdecimal() and int(given)):
        return wrong("threads", f"OMP_NUM_THREADS is {given[:20]!r}, which is no number of threads", fitting, SETTING)
    if given is not None and int(given) > usable:
        return warning("threads", f"OMP_NUM_THREADS is {given} on {found}: threads wait for each other", fitting)
    if given is None and usable < affinity:
        return warning("threads", f"{found}, but OMP_NUM_THREADS is not set: one thread for each core", fitting)
    return ok("threads", f"{found}; OMP_NUM_THREADS is {given or 'not set'}")


def cpu_quota(limit: Path = Path("/sys/fs/cgroup/cpu.max")) -> float | None:
    """Cores that a container may use; None where it is not limited, or not known."""
    try:
        quota, _, period = limit.read_text().partition(" ")
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def check_zone(environment: Mapping[str, str], now: float) -> Finding:
    """The machine's time zone and clock: an unknown TZ is taken for UTC without a word."""
    given = environment.get("TZ", "").removeprefix(":")
    try:
        if given and "/" in given and not Path(given).is_absolute():
            ZoneInfo(given)
    except (KeyError, ValueError, OSError):
        return warning("time zone", f"TZ is {given!r}, which is not known, so UTC is used", "export TZ=Europe/Berlin")
    local = time.localtime(now)
    found = f"{time.strftime('%Y-%m-%d %H:%M %Z', local)} (UTC{time.strftime('%z', local)})"
    if local.tm_year < 2025:
        return warning("time zone", f"{found}: the clock is wrong", "set the clock; schedules and certificates need it")
    return ok("time zone", found)


def given_environment(source: Path = Path("/proc/self/environ")) -> Mapping[str, str]:
    """The environment as this process was given it, before it added anything; elsewhere than on Linux, as it is now."""
    try:
        pairs = [line.partition(b"=")[::2] for line in source.read_bytes().split(b"\0")]
    except OSError:
        return os.environ
    return {os.fsdecode(name): os.fsdecode(value) for name, value in pairs if name}


def check_proxies(environment: Mapping[str, str]) -> Finding:
    """Proxies that would also be asked for servers of this machine. Their addresses are not shown.

    Every command spares this machine by itself (`tasks/proxies.py`); other programs know nothing of that.
    """
    names = sorted(name for name in environment if name.lower() in PROXIES and environment[name])
    if not names:
        return ok("proxies", "none set")
    spared = {
        host.strip().lstrip(".")
        for name in environment
        if name.lower() == "no_proxy"
        for host in environment[name].split(",")
    }
    missing = [host for host in LOOPBACK if not spared & {host, "*"}]
    if missing:
        found = f"{', '.join(names)} set, and NO_PROXY does not name {', '.join(missing)}"
        remedy = f"export NO_PROXY={','.join([*sorted(spared - {''}), *missing])}"
        return warning("proxies", f"{found}: other programs (prefect worker) reach no server here", remedy)
    return ok("proxies", f"{', '.join(names)} set; this machine is left out of them")
