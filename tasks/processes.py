"""Whether a process of this machine that wrote its number down is still there."""

import psutil

SLACK_SECONDS = 60.0  # the clock may have been set since a process started


def is_gone(pid: int, since: float) -> bool:
    """Whether a process is no more that ran at `since` (seconds since 1970).

    Its number is given again, but then to a process that began later.
    """
    try:
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_ZOMBIE or process.create_time() > since + SLACK_SECONDS
    except psutil.NoSuchProcess:
        return True
