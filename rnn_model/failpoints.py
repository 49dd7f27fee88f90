"""Named places in the code at which a test ends the process or makes a write fail; off unless one variable is set.

`CARRYOVER_FAILPOINT=NAME[@N]=ACTION`: at the N-th time (1 by default) that a process passes the place NAME, ACTION
happens: `kill` (SIGKILL), `term` (SIGTERM), `full` (no space left on the device) or `broken` (an input/output error).
"""

import errno
import os
import signal
from collections import Counter

from rnn_model.errors import ConfigError

VARIABLE = "CARRYOVER_FAILPOINT"
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM}
DISK_ERRORS = {"full": errno.ENOSPC, "broken": errno.EIO}

_passed: Counter[str] = Counter()  # place -> times this process has passed it


def failpoint(name: str) -> None:
    """Do what the environment asks for at this place: mostly nothing. Raises OSError for `full` and `broken`."""
    asked = os.environ.get(VARIABLE)
    if asked is None or not asked.startswith(name):
        return
    place, count, action = _parsed(asked)
    if place != name:
        return
    _passed[name] += 1
    if _passed[name] != count:
        return
    if action in SIGNALS:
        os.kill(os.getpid(), SIGNALS[action])
    else:
        raise OSError(DISK_ERRORS[action], f"{os.strerror(DISK_ERRORS[action])} (failpoint {name})")


def _parsed(asked: str) -> tuple[str, int, str]:
    """Place, count and action of a failpoint. Raises ConfigError for another form."""
    where, _, action = asked.rpartition("=")
    place, _, count = where.partition("@")
    if action not in (*SIGNALS, *DISK_ERRORS) or not (count or "1").isdigit():
        raise ConfigError(
            f"{VARIABLE} is {asked!r}; allowed is NAME[@N]=ACTION with ACTION one of "
            f"{', '.join((*SIGNALS, *DISK_ERRORS))}; unset it outside of tests"
        )
    return place, int(count or 1), action
