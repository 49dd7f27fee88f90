"""Why MLflow refused, in one line with the remedy: every known cause has its own words and its own exit code.

MLflow and its libraries wrap one error in another and tell the cause in prose, so a cause is known by the words of the
whole chain. What they print (SQL, addresses with credentials, whole pages) is never repeated.
"""

import errno
import re
import sqlite3
from collections.abc import Iterator

from mlflow.exceptions import MlflowException

from rnn_model.errors import (
    BusyError,
    CarryoverError,
    ConfigError,
    IntegrityError,
    ServiceError,
    UnsafeError,
    WriteError,
)
from tasks.schema import outdated

OTHER = "or name another store with --tracking.uri"
START = "start it (carryover services starts one here), or unset MLFLOW_TRACKING_URI"
DENIED = {"UNAUTHENTICATED": 401, "CUSTOMER_UNAUTHORIZED": 401, "PERMISSION_DENIED": 403}
OVERLOADED = ("REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED")
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
REVISION = re.compile(r"found version (\w+)|locate revision identified by '(\w+)'")
STATUS = re.compile(r"error code (\d{3}) !=|too many (\d{3}) error responses|\b(\d{3}) (?:client|server) error")

Kind = type[CarryoverError]
STORE: tuple[tuple[str, Kind, str], ...] = (  # words in lower case, the error's class, and what is said of the store
    (
        r"database or disk is full|no space left|disk quota",
        WriteError,
        "has no space left on its disk; free some, then run it again",
    ),
    (
        r"(database|table) is locked|database schema is locked",
        BusyError,
        "is locked by another process that writes to it; wait for its end, then run it again",
    ),
    (
        r"readonly database|read-only file system|permission denied: ",
        UnsafeError,
        f"is closed to this user; give the file and its folder to this user, {OTHER}",
    ),
    (
        r"not a database|disk image is malformed|file is encrypted",
        IntegrityError,
        f"is damaged, or no SQLite database; put a backup in its place, {OTHER}",
    ),
    (
        r"unable to open database file",
        WriteError,
        f"cannot be opened or made (folder missing or closed to this user, or disk full); see to its folder, {OTHER}",
    ),
    (r"disk i/o error", WriteError, f"cannot be read or written (disk error, or a limit on file sizes); {OTHER}"),
    (
        r"(password|peer|ident) authentication failed|role .* does not exist|no pg_hba.conf entry",
        UnsafeError,
        "refuses this user or password; correct MLFLOW_TRACKING_URI",
    ),
    (r"database \S+ does not exist", ConfigError, "has no database of that name; make it, or correct the address"),
    (r"no module named '?psycopg2", ConfigError, "needs the driver for PostgreSQL; pip install 'carryover[team]'"),
)
SERVER: tuple[tuple[str, Kind, str], ...] = (
    (
        r"invalid host header|dns rebinding",
        UnsafeError,
        "refuses this host name; start it with --allowed-hosts and that name",
    ),
    (
        r"certificate.verify.failed|certificate_verify|hostname mismatch|self.signed",
        ServiceError,
        "shows a certificate that is not trusted here; name its authority in MLFLOW_TRACKING_SERVER_CERT_PATH "
        "and REQUESTS_CA_BUNDLE",
    ),
    (
        r"wrong.version.number|record layer failure|unknown.protocol|\[ssl: http_request|packet length too long",
        ServiceError,
        "speaks no TLS; write http:// in its address",
    ),
    (r"sslerror|\[ssl", ServiceError, "failed to set up TLS; check its certificate, or whether it is http://"),
    (
        r"name or service not known|name resolution|failed to resolve|nodename nor servname|could not translate host"
        r"|no address associated|label (empty or )?too long",
        ServiceError,
        "is at a host whose name leads nowhere; correct MLFLOW_TRACKING_URI, or look at the network",
    ),
    (r"connection refused", ServiceError, f"does not answer, nothing listens there; {START}"),
    (
        r"no route to host|network is unreachable",
        ServiceError,
        "does not answer, no network leads there; look at the network, or correct MLFLOW_TRACKING_URI",
    ),
    (r"proxyerror|unable to connect to proxy", ServiceError, "is not reached through the proxy; see NO_PROXY"),
    (r"timed? ?out|timeout", ServiceError, "does not answer in time; see its log, or try again"),
    (
        r"remotedisconnected|connection aborted|connection reset|incompleteread|broken pipe|connection broken",
        ServiceError,
        "broke off the connection; see its log, then run it again",
    ),
    (
        r"endpoint_not_found|error code 404 !=|404 client error",
        ServiceError,
        "answers, but not as MLflow does (404); correct the address, with its path",
    ),
    (
        r"not in a valid json format|<!doctype html|<html|expecting value|jsondecodeerror|unterminated string",
        ServiceError,
        "answers something that is no answer of MLflow; correct the address (a proxy or a login page?)",
    ),
)
REQUEST: tuple[tuple[str, Kind, str], ...] = (
    (
        r"unsupported uri|unsupportedmodelregistry|scheme .* is not supported|filesystem (tracking )?(backend|store)"
        r"|file store|no connection adapters|invalid url|invalidurl|could not parse .*url|can't load plugin",
        ConfigError,
        "is no address of a store; name http://HOST:PORT, sqlite:///PATH or postgresql://...",
    ),
    (
        r"experiment .*(must be in the 'active' state|deleted)|deleted experiment",
        ConfigError,
        "has the experiment among the deleted ones; mlflow experiments search --view deleted_only names it, "
        "mlflow experiments restore --experiment-id ID brings it back",
    ),
    (
        r"run .*must be in the 'active' state|run .*(is|was) deleted",
        ConfigError,
        "has the run among the deleted ones; mlflow runs restore --run-id ID brings it back",
    ),
)


def reason(error: BaseException, where: str, doing: str = "") -> CarryoverError:
    """What is said of an error of MLflow at `where`, an address without secrets, and its exit code.

    `doing`: what was tried, for a cause that is not known; the class or code of the error is then all that is told.
    """
    chain = tuple(_chain(error))
    for each in chain:
        if isinstance(each, CarryoverError):
            return each
    words = " ".join(f"{type(each).__name__}: {each}" for each in chain)
    if "out-of-date database schema" in words or "locate revision identified by" in words:
        found = REVISION.search(words)
        return outdated(where, next((part for part in (found.groups() if found else ()) if part), ""))
    title, codes = f"MLflow at {where}", {str(getattr(each, "error_code", "")) for each in chain}
    status = _status(words, chain)
    if denied := next((DENIED[code] for code in codes if code in DENIED), status if status in (401, 403) else 0):
        return _denied(title, denied, words)
    if _is_full(chain):
        return WriteError(f"{title} {STORE[0][2]}")
    if known := _first((*STORE, *REQUEST), title, words):
        return known
    if status == 429 or codes & set(OVERLOADED):
        return ServiceError(f"{title} takes no more requests at the moment (429); try again later")
    if status is not None and status >= 500:
        return ServiceError(f"{title} failed ({status}); see its log, then run it again")
    if known := _first(SERVER, title, words):
        return known
    code = next((code for code in codes if code), type(error).__name__)
    return ServiceError(f"{title} failed{' ' + doing if doing else ''} ({code}); see its log, then run it again")


def is_away(error: BaseException) -> bool:
    """Whether the store could not take what it was given for a cause that may pass, or that a person can end: the same
    may be sent again later. A request that is wrong in itself will be so for ever."""
    if isinstance(error, OSError | sqlite3.Error):
        return True
    known = reason(error, "")
    return not isinstance(known, ConfigError) and not is_wrong(error)


def is_wrong(error: BaseException) -> bool:
    """Whether the store says that the request itself is wrong."""
    return getattr(error, "error_code", "") in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS")


def is_absent(error: BaseException) -> bool:
    """Whether the store answers that it has no such thing."""
    return isinstance(error, MlflowException) and error.error_code in ABSENT


def is_gone(error: BaseException) -> bool:
    """Whether a file is no more where the store says that it is."""
    answer = getattr(error, "response", None)
    return isinstance(error, FileNotFoundError | NotADirectoryError) or getattr(answer, "status_code", 0) == 404


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = getattr(error, "orig", None)
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__


def _first(causes: tuple[tuple[str, Kind, str], ...], title: str, words: str) -> CarryoverError | None:
    for pattern, kind, said in causes:
        if re.search(pattern, words.lower(), re.DOTALL):
            return kind(f"{title} {said}")
    return None


def _status(words: str, chain: tuple[BaseException, ...]) -> int | None:
    for each in chain:
        answer = getattr(each, "response", None)
        if isinstance(getattr(answer, "status_code", None), int):
            return int(answer.status_code)  # type: ignore[union-attr]
    found = STATUS.search(words.lower())
    return int(next(part for part in found.groups() if part)) if found else None


def _is_full(chain: tuple[BaseException, ...]) -> bool:
    return any(isinstance(each, OSError) and each.errno in (errno.ENOSPC, errno.EDQUOT) for each in chain)


def _denied(title: str, status: int, words: str) -> CarryoverError:
    if known := _first(SERVER[:1], title, words):
        return known
    if status == 401:
        return UnsafeError(
            f"{title} wants to know who asks (401); set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN"
        )
    return UnsafeError(f"{title} does not permit this (403); ask its keeper for the right, or use another user")
