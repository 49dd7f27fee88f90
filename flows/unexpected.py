"""An error that no part had a word for: its cause, where that is known, and the exit code; the log has the rest."""

import logging
from pathlib import Path

import requests

from rnn_model.errors import CarryoverError, ServiceError, TrainingError, WriteError
from tasks.config import home
from tasks.connection import unanswered
from tasks.prefect_api import prefect_reason
from tasks.room import causes, disk_fault


def explain(error: Exception, log: Path | None) -> tuple[str, int]:
    """One line for the last on stderr, and the exit code. `log`: where details go; None: it could not be opened."""
    if log is not None:
        logging.getLogger("carryover").error("unexpected failure", exc_info=error)
    known = _cause(error)
    if known is not None:
        return str(known), known.exit_code
    lines = str(error).splitlines()
    details = f" (details: {log})" if log is not None else ""
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}{details}", 1


def _cause(error: Exception) -> CarryoverError | None:
    """The first of the known causes, the most certain first."""
    chain = tuple(causes(error))
    if wrapped := next((each for each in chain if isinstance(each, CarryoverError)), None):
        return wrapped
    if isinstance(error, requests.RequestException):  # an OSError without a file
        return unanswered(error)
    if isinstance(error, BrokenPipeError) and error.filename is None:
        return WriteError("nobody reads this output any more (a closed pipe); what was finished is kept")
    if fault := disk_fault(error, str(home())):
        return fault
    if known := prefect_reason(error):
        return known
    if isinstance(error, MemoryError):
        return TrainingError("out of memory; finished stages are kept: give fewer or shorter series, or more memory")
    if isinstance(error, OSError):
        return _of_the_system(error)
    return None


def _of_the_system(error: OSError) -> CarryoverError:
    cause = error.strerror or str(error) or type(error).__name__
    if error.filename is not None:
        return WriteError(f"{error.filename}: {cause}; choose a place that can be read and written")
    if isinstance(error, ConnectionError | TimeoutError) or type(error).__module__ in ("socket", "ssl"):
        return ServiceError(f"a server does not answer ({cause}); see whether MLflow and Prefect run, then try again")
    return WriteError(f"the system refused ({cause}); see to the place {home()}, then run this again")
