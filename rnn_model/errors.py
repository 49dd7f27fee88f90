"""The failures a person can act on; each class carries the exit code of its kind.

Messages are one line: what was found, what is allowed, what to do next. They hold no secrets.
"""

from rnn_model.masking import mask


class CarryoverError(Exception):
    """A failure with a known cause. `exit_code` follows sysexits where that has a word for it."""

    exit_code = 1

    def __init__(self, *words: object) -> None:
        super().__init__(*(mask(word) if isinstance(word, str) else word for word in words))


class ConfigError(CarryoverError):
    """The request itself cannot be carried out: an option, or a combination of options."""

    exit_code = 2


class DataError(CarryoverError):
    """The data cannot be used as it is."""

    exit_code = 65


class ServiceError(CarryoverError):
    """A server that is needed does not answer."""

    exit_code = 69


class TrainingError(CarryoverError):
    """Training left the finite numbers; no step was taken from there."""

    exit_code = 70


class WriteError(CarryoverError):
    """Something could not be written; what stood there before still stands."""

    exit_code = 73


class BusyError(CarryoverError):
    """Another process is at the same work."""

    exit_code = 75


class IntegrityError(CarryoverError):
    """A stored artefact is not what its manifest says."""

    exit_code = 76


class LeakError(CarryoverError):
    """Something before a cutoff depends on what came after it."""

    exit_code = 76


class UnsafeError(CarryoverError):
    """Content that could run code, or a place without permission."""

    exit_code = 77
