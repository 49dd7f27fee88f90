"""Whether Python and the libraries are those that the project is pinned to, and can be imported."""

import re
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from tasks.finding import SETTING, Finding, ok, warning, wrong

LEAST_PYTHON = (3, 11)
IMPORTED = {  # what is imported -> its package; the servers import more than their clients
    "torch": "torch",
    "polars": "polars",
    "pandera.polars": "pandera",
    "statsforecast": "statsforecast",
    "mlflow.server": "mlflow",
    "prefect.server.api.server": "prefect",
}
IMPORT_SECONDS = 60.0  # for a cold disk and a busy machine; all of them run at once
SHOWN = 5  # packages named
SECRET = re.compile(r"(?<=://)[^\s/]*@")


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Python itself."""
    found = f"{'.'.join(map(str, version))} at {sys.executable}"
    if version[:2] < LEAST_PYTHON:
        return wrong("Python", found, "make the environment with Python 3.11 (make setup)", SETTING)
    return ok("Python", found)


def pins(constraints: Path) -> dict[str, str]:
    """Package -> pinned version, by the lines NAME==VERSION of a file; empty where there is none."""
    if not constraints.is_file():
        return {}
    lines = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", constraints.read_text(), re.MULTILINE)
    return {plain(name): version for name, version in lines}


def plain(name: str) -> str:
    """A package's name as all its spellings are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(names: Mapping[str, str]) -> dict[str, str]:
    """Package -> version, of those that are installed; a build of it (2.13.0+cpu) is that version."""
    found = {}
    for name in names:
        try:
            found[name] = str(metadata.version(name)).partition("+")[0]
        except metadata.PackageNotFoundError:
            continue
    return found


def check_versions(pinned: Mapping[str, str], present: Mapping[str, str]) -> Finding:
    """Installed versions against the pins; a package that only an extra asks for may be missing."""
    if not pinned:
        return warning("versions", "no constraints.txt to compare with", "run from a copy of the project")
    differing = [name for name in present if present[name] != pinned[name]]
    missing = [name for name in needed() if name in pinned and name not in present]
    other = [f"{name} {present[name]} (pinned: {pinned[name]})" for name in differing]
    gone = [f"{name} is missing (pinned: {pinned[name]})" for name in missing]
    if not other and not gone:
        return ok("versions", f"{len(present)} packages as pinned in constraints.txt")
    names = [f"'{name}=={pinned[name]}'" for name in (missing + differing)[:SHOWN]]
    return wrong("versions", some(gone + other), f"pip install -c constraints.txt {' '.join(names)}", SETTING)


def needed() -> list[str]:
    """The packages that the project itself asks for, without those of its extras."""
    try:
        asked = metadata.requires("carryover") or []
    except metadata.PackageNotFoundError:
        return sorted(set(IMPORTED.values()))
    return [plain(re.split(r"[^A-Za-z0-9._-]", line)[0]) for line in asked if "extra ==" not in line]


def check_imports(pinned: Mapping[str, str], seconds: float = IMPORT_SECONDS) -> list[Finding]:
    """Each library imported by a Python of its own: one that breaks, crashes or hangs stops no other."""
    running = {
        module: subprocess.Popen(
            [sys.executable, "-c", f"import {module}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        for module in IMPORTED
    }
    broken = []
    for module, process in running.items():
        try:
            _, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            remedy = "try again on a machine with less to do"
            broken.append(warning("imports", f"{module} was not imported within {seconds:g} s", remedy))
            continue
        if process.returncode:
            broken.append(broken_import(module, process.returncode, said, pinned))
    return broken or [ok("imports", f"{', '.join(sorted(set(IMPORTED.values())))} can be imported")]


def broken_import(module: str, code: int, said: str, pinned: Mapping[str, str]) -> Finding:
    """A library that cannot be imported, by its package and pin; a missing one that it asks for, by that one's."""
    last = SECRET.sub("***@", (said.strip().splitlines() or [f"ended with code {code}"])[-1])
    package = IMPORTED[module]
    missing = re.search(r"No module named '([A-Za-z0-9_]+)", last)
    if missing and plain(missing[1]) in pinned:
        package = plain(missing[1])
    pin = f"{package}=={pinned[package]}" if package in pinned else package
    found = f"{module} ({package}, pinned: {pinned.get(package, 'no')}) cannot be imported: {last[:300]}"
    return wrong("imports", found, f"pip install --force-reinstall -c constraints.txt {pin}", SETTING)


def some(lines: list[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return f"{', '.join(lines[:SHOWN])}{more}"
