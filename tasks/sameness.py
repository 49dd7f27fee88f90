"""Two receipts side by side: what is different about the circumstances, and what about the results."""

import math
from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from rnn_model.config import Section
from rnn_model.errors import DataError
from tasks.handles import DataFile
from tasks.machine import Environment
from tasks.receipt import Receipt, Stage
from tasks.terminal import counted

ROUNDING = 1e-12  # relative: figures are sums over rows, and Polars' threads add them up in an order of chance
SHOWN = 12  # characters of a digest

Word = Literal["equal", "within tolerance", "different"]


class StageVerdict(Section):
    """One stage, then and now."""

    stage: str
    verdict: Word
    words: str = Field(description="what was got and what it was; for equal ones, the digests")


def same_receipt(was: Receipt, got: Receipt, tolerance: float) -> tuple[StageVerdict, ...]:
    """Every stage of either receipt, in the order of the first."""
    now = {stage.name: stage for stage in got.stages}
    then = {stage.name: stage for stage in was.stages}
    names = [*then, *(name for name in now if name not in then)]
    return tuple(same_stage(name, then.get(name), now.get(name), tolerance) for name in names)


def in_one_line(stages: tuple[StageVerdict, ...]) -> str:
    """One line for all stages: equal, within tolerance, or the first that is different."""
    first = next((s for s in stages if s.verdict == "different"), None)
    if first is not None:
        return f"different at {first.stage}: {first.words}"
    return "within tolerance" if any(s.verdict == "within tolerance" for s in stages) else "equal"


def same_stage(name: str, was: Stage | None, got: Stage | None, tolerance: float) -> StageVerdict:
    """One stage: equal to the bit (figures to rounding), within the tolerance by its figures, or different."""
    if was is None or got is None:
        words = "got this stage, was without it" if was is None else "got no such stage, was there"
        return StageVerdict(stage=name, verdict="different", words=words)
    unlike = differing(was.same, got.same)
    moved, far = (differing_figures(was, got, limit) for limit in (ROUNDING, max(tolerance, ROUNDING)))
    bits = differing(was.bits, got.bits)
    if unlike or far or (bits and not was.figures):
        return StageVerdict(stage=name, verdict="different", words=difference(was, got, [*unlike, *far, *bits]))
    if bits or moved:
        largest = max((gap(was.figures[key], got.figures[key]) for key in was.figures), default=0.0)
        words = f"{', '.join(bits) or 'figures'} differ in bits; figures by {largest:.1e} at most, relative"
        return StageVerdict(stage=name, verdict="within tolerance", words=words)
    return StageVerdict(stage=name, verdict="equal", words=summary(was))


def differing(was: Mapping[str, str], got: Mapping[str, str]) -> list[str]:
    """Keys whose values differ, or that only one of them has."""
    return [key for key in {**was, **got} if was.get(key) != got.get(key)]


def differing_figures(was: Stage, got: Stage, tolerance: float) -> list[str]:
    """Figures that differ by more than a relative tolerance, or that only one of them has."""
    keys = {**was.figures, **got.figures}
    return [key for key in keys if not near(was.figures.get(key), got.figures.get(key), tolerance)]


def near(was: float | None, got: float | None, tolerance: float) -> bool:
    """Whether two figures are equal up to a relative tolerance."""
    if was is None or got is None:
        return was is got
    return math.isclose(was, got, rel_tol=tolerance, abs_tol=ROUNDING)


def gap(was: float | None, got: float | None) -> float:
    """Relative difference of two figures; 0 where both are equal or unknown."""
    if was == got or was is None or got is None:
        return 0.0
    return abs(was - got) / max(abs(was), abs(got))


def difference(was: Stage, got: Stage, keys: list[str]) -> str:
    """The first that differs, now and then; how many more there are."""
    key = keys[0]
    shown = [
        shortened(str(values.get(key)))
        for values in (got.same | got.bits | got.figures, was.same | was.bits | was.figures)
    ]
    more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
    return f"{key} got {shown[0]}, was {shown[1]}{more}"


def shortened(value: str) -> str:
    """A digest cut short; any other text as it is."""
    return value[:SHOWN] if len(value) == 64 else value


def summary(stage: Stage) -> str:
    """Its values, digests cut short."""
    return ", ".join(f"{key} {shortened(value)}" for key, value in (stage.same | stage.bits).items())


def changes(was: Receipt, files: Mapping[str, tuple[DataFile, ...]], now: Environment) -> tuple[str, ...]:
    """What is different now, data first, as lines. Raises DataError for a file that is gone."""
    lines = [line for section, then in was.files.items() for line in file_changes(then, files.get(section, ()))]
    return (*lines, *environment_changes(was.environment, now))


def file_changes(was: tuple[DataFile, ...], now: tuple[DataFile, ...]) -> list[str]:
    """Files whose bytes changed, and files that came on top. Raises DataError for one that is gone."""
    gone = sorted({file.name for file in was} - {file.name for file in now})
    if gone:
        raise DataError(f"{', '.join(gone)}: read by that run and gone since; put the file back where it was")
    known = {file.sha256 for file in was}
    changed = [file for file in now if file.sha256 not in known]
    lines = [f"data file {file.name}: other content ({file.size} bytes)" for file in changed]
    return lines + ([f"{len(now)} data files (was {len(was)})"] if len(now) != len(was) else [])


def environment_changes(was: Environment, now: Environment) -> list[str]:
    """Code, versions and machine that differ. Threads are set as they were, so they are no change; cores may lack."""
    other = [package for package in was.code if was.code[package] != now.code.get(package)]
    commits = f" (commit {str(now.commit)[:SHOWN]}, was {str(was.commit)[:SHOWN]})"
    lines = [f"code of {', '.join(other)}{commits if was.commit != now.commit else ''}"] if other else []
    lines += ["constraints.txt"] if was.constraints != now.constraints else []
    lines += [f"{name} {now.versions.get(name)} (was {old})" for name, old in was.versions.items()
              if now.versions.get(name) != old]  # fmt: skip
    for name in ("platform", "instructions", "gpu"):
        old, new = getattr(was, name), getattr(now, name)
        lines += [f"{name} {new} (was {old})"] if old != new else []
    lines += [f"1 process (was {was.processes} of torchrun)"] if was.processes > 1 else []
    fewer = f"{counted(now.cores, 'core')} for {counted(was.threads, 'thread')}, which are set all the same"
    return lines + ([fewer] if now.cores < was.threads else [])
