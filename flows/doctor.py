"""`carryover doctor`: what is wrong with this installation and its servers, and what to do about it.

It imports neither Prefect nor MLflow nor PyTorch, starts nothing, changes nothing, and prints no secret.
"""

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tasks.finding import DENIED, FULL, Finding, warning, worst_code, wrong
from tasks.installation import IMPORT_SECONDS, check_imports, check_python, check_versions, installed, pins
from tasks.local_store import MLFLOW, PREFECT, check_store
from tasks.places import PROJECT, home
from tasks.reachable import check_database, check_mlflow, check_prefect, prefect_settings, prefect_store
from tasks.surroundings import (
    check_folder,
    check_limits,
    check_proxies,
    check_space,
    check_temporary,
    check_threads,
    check_zone,
    cpu_quota,
    given_environment,
)

PROBE_SECONDS = 15.0  # for one probe: a few answers of a slow server
WIDTH = 15  # characters of the column of parts
Result = Finding | list[Finding]


class Probe(NamedTuple):
    """One question, and how long it may take."""

    part: str
    ask: Callable[[], Result]
    seconds: float = PROBE_SECONDS


def doctor(summary: Path | None = None) -> int:
    """Say what is wrong with this installation, its folders and its servers, and what to do about it.

    Args:
        summary: JSON file for the findings
    """
    findings = list[Finding]()
    for found in examine(probes()):
        findings += found
        print("\n".join(line for finding in found for line in in_words(finding)), flush=True)
    print(verdict(findings))
    code = worst_code(findings)
    if summary is not None:
        lines = [finding._asdict() for finding in findings]
        try:
            summary.write_text(json.dumps({"exit_code": code, "findings": lines}, indent=1) + "\n")
        except OSError as error:
            print(f"carryover: {summary}: {error.strerror}; choose a place that can be written", file=sys.stderr)
            return code or FULL
    return code


def probes() -> list[Probe]:
    """All questions, in the order of the table."""
    environment, settings = os.environ, prefect_settings(os.environ)
    pinned = pins(PROJECT / "constraints.txt")
    uri = environment.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow.db'}"
    cores = os.cpu_count() or 1
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    asked = [
        Probe("Python", check_python),
        Probe("versions", lambda: check_versions(pinned, installed(pinned))),
        Probe("data folder", lambda: check_folder("data folder", home(), "CARRYOVER_HOME")),
        Probe("temporary", check_temporary),
        Probe("disk", lambda: check_space(home())),
        Probe("limits", check_limits),
        Probe("threads", lambda: check_threads(environment, cores, affinity, cpu_quota())),
        Probe("time zone", lambda: check_zone(environment, time.time())),
        Probe("proxies", lambda: check_proxies(given_environment())),
        Probe("Prefect", lambda: check_prefect(settings)),
        Probe("MLflow", lambda: check_mlflow(uri, environment)),
    ]
    if uri.startswith("sqlite:///"):
        store = Path(uri.removeprefix("sqlite:///"))
        asked.append(Probe(MLFLOW.part, lambda: check_store(store, MLFLOW)))
    if own := prefect_store(settings):
        asked.append(Probe(PREFECT.part, lambda: check_store(own, PREFECT)))
    if shared := environment.get("CARRYOVER_DATABASE"):
        asked.append(Probe("database", lambda: check_database("database", shared, "CARRYOVER_DATABASE")))
    return [*asked, Probe("imports", lambda: check_imports(pinned), IMPORT_SECONDS + PROBE_SECONDS)]


def examine(asked: Sequence[Probe]) -> Iterator[list[Finding]]:
    """Every probe at once, each in a thread that is left behind when its time is over; findings in their order."""
    answers: dict[int, list[Finding]] = {}

    def answer(number: int, probe: Probe) -> None:
        try:
            found = probe.ask()
        except PermissionError as error:
            found = wrong(probe.part, f"{error.filename}: {error.strerror}", "give it to this user", DENIED)
        except Exception as error:  # noqa: BLE001  (a probe that breaks must not take the others with it)
            found = warning(probe.part, f"could not be looked at ({type(error).__name__})", "please report this")
        answers[number] = [found] if isinstance(found, Finding) else found

    begun, threads = time.monotonic(), list[threading.Thread]()
    for number, probe in enumerate(asked):
        threads.append(threading.Thread(target=answer, args=(number, probe), daemon=True))
        threads[-1].start()
    for number, probe in enumerate(asked):
        threads[number].join(max(0.0, begun + probe.seconds - time.monotonic()))
        late = warning(probe.part, f"no answer within {probe.seconds:g} s", "see what it waits for, then try again")
        yield answers.get(number, [late])


def in_words(finding: Finding) -> list[str]:
    """Its line, and one below it for what to do. A library for tables may be what is broken."""
    lines = [f"{finding.state:<8}{finding.part:<{WIDTH}}{' '.join(finding.found.split())}"]
    return [*lines, f"{'':<{8 + WIDTH}}do: {finding.remedy}"] if finding.remedy else lines


def verdict(findings: Sequence[Finding]) -> str:
    """The last line."""
    wrongs, warnings = (sum(f.state == state for f in findings) for state in ("wrong", "warning"))
    if not wrongs:
        return f"Nothing is wrong{f'; {warnings} to be looked at' if warnings else ''}."
    return f"{wrongs} wrong, {warnings} to be looked at; exit code {worst_code(list(findings))}."


def main(arguments: Sequence[str]) -> int:
    """The command line of `carryover doctor`; the exit code."""
    parser = argparse.ArgumentParser(
        prog="carryover doctor",
        description=(doctor.__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--summary", type=Path, help="JSON file for the findings")
    with suppress(BrokenPipeError):
        return doctor(parser.parse_args(list(arguments)).summary)
    return 0
