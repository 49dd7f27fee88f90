"""What a probe of `carryover doctor` found: a part of the installation, its state, and what to do about it.

The probes import nothing but Python, so that they work where a library does not.
"""

from typing import Literal, NamedTuple

from rnn_model.errors import ConfigError, IntegrityError, ServiceError, UnsafeError, WriteError

State = Literal["ok", "warning", "wrong"]
SETTING, DENIED, FULL = ConfigError.exit_code, UnsafeError.exit_code, WriteError.exit_code
DAMAGED, AWAY = IntegrityError.exit_code, ServiceError.exit_code
FIRST = (SETTING, DENIED, FULL, DAMAGED, AWAY)  # codes in the order in which faults are mended: a server comes last


class Finding(NamedTuple):
    """One line of the table."""

    part: str
    state: State
    found: str
    remedy: str = ""
    code: int = 0  # exit code of what is wrong, as in rnn_model/errors.py


def ok(part: str, found: str) -> Finding:
    """As it should be."""
    return Finding(part, "ok", found)


def warning(part: str, found: str, remedy: str) -> Finding:
    """Works, but not as well as it might, or was not looked at to the end."""
    return Finding(part, "warning", found, remedy)


def wrong(part: str, found: str, remedy: str, code: int) -> Finding:
    """Commands fail because of it."""
    return Finding(part, "wrong", found, remedy, code)


def worst_code(findings: list[Finding]) -> int:
    """The exit code of what has to be mended first; 0 where nothing is wrong."""
    codes = {finding.code for finding in findings if finding.state == "wrong"}
    return next((code for code in FIRST if code in codes), 0)
