"""What a command does before its work: it closes its files to others, and lets no secret out or in."""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO, cast

from pydantic import BaseModel, ValidationError

from rnn_model.errors import ConfigError
from rnn_model.masking import MaskedStream, holds_login, holds_secret, mask_log_records
from rnn_model.private import open_private
from tasks.checks import ADDRESS, check_name
from tasks.settling import settle
from tasks.terminal import is_control

SECRET = (
    "tracking.uri",
    *(f"{s}.{f}" for s in ("target", "source") for f in ("path", "query", "connection")),
)  # refused values that may hold one are not repeated
MISPLACED = ("extra_forbidden", "model_type", "dict_type", "model_attributes_type")  # nobody knows what it is
QUERY, NULLS = ".query", ".null_values"  # fields that hold what they like, line breaks too
MODELS = (
    "model",
    "pretrain.from_",
    "gate.champion",
    "first",
    "second",
)  # parameters that name a model, a folder among others
NAMES = ("name", "run")  # and those that name a registered model or a run


class PrivateLog(logging.FileHandler):
    """A log for its owner alone, which follows no link."""

    def _open(self) -> Any:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        return os.fdopen(open_private(Path(self.baseFilename), flags), "a", encoding="utf-8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:
        """Leave out what a full disk does not take: the library would print a traceback for each line."""


def mask_streams() -> None:
    """Write nothing on this process's stdout and stderr with a secret in it."""
    sys.stdout, sys.stderr = (
        stream if isinstance(stream, MaskedStream) else cast(TextIO, MaskedStream(stream))
        for stream in (sys.stdout, sys.stderr)
    )


def log_to_file() -> Path:
    """Tracebacks and Prefect's own log go to a file in the data folder, which is closed to others first."""
    path = settle() / "logs" / "carryover.log"
    mask_log_records()
    handler = PrivateLog(path, delay=True)
    if path.is_symlink() or path.exists():
        handler._open().close()  # a log that leads elsewhere is refused before the work, not in it
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("carryover", "prefect"):
        logger = logging.getLogger(name)
        if not any(isinstance(h, logging.FileHandler) for h in logger.handlers):
            logger.addHandler(handler)
    logging.getLogger("carryover").propagate = False
    return path


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Refuse what would be stored and must not be: Prefect, MLflow and the receipt keep every parameter.

    Raises ConfigError for a secret, and for control characters, with the name of the option and not its value.
    """
    for name, text in texts_of(parameters):
        holds = holds_login if name.endswith(QUERY) else holds_secret
        if holds(text):
            raise ConfigError(
                f"{name} holds a user, password or token; Prefect and MLflow would store it. Set it in the environment "
                "(docs/team.md: secrets), and give the address without it"
            )
        if name in NAMES or (name in MODELS and text.startswith(ADDRESS)):
            check_name(text)
        if is_control(text) and not name.endswith((QUERY, NULLS)):
            raise ConfigError(f"{name} holds a control character; write it without")


def texts_of(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text in nested parameters, names of fields included, each with the option that it was given as."""
    if isinstance(value, BaseModel):
        value = {field: getattr(value, field) for field in type(value).model_fields}
    if isinstance(value, Mapping):
        for key, inner in value.items():
            own = f"{name}.{key}" if name else str(key)
            yield (name or "a name"), str(key)
            yield from texts_of(inner, own)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            yield from texts_of(inner, name)
    elif isinstance(value, (str, Path)):
        yield name, str(value)


def validation_words(error: ValidationError) -> str:
    """Every refused field in one line: where, what was given, what is allowed."""
    parts = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"]) or "options"
        hidden = where in SECRET or isinstance(item["input"], dict) or item["type"] in MISPLACED
        given = "" if hidden or repr(item["input"]) in item["msg"] else f" (got {item['input']!r})"
        parts.append(f"{where}: {item['msg'].removeprefix('Value error, ')}{given}")
    return "; ".join(parts)
