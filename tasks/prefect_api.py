"""Whether Prefect can be had, before a flow asks it, and why it refused: every known cause has its line and exit code.

Prefect wraps one error in another and tells the cause in prose, so a cause is known by the words of the whole chain.
"""

import re
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from rnn_model.errors import BusyError, CarryoverError, IntegrityError, ServiceError, UnsafeError
from rnn_model.masking import mask
from tasks.room import MEGABYTE, causes, check_place, disk_fault
from tasks.servers import EMBEDDED, embedded_log, log_path, shield_embedded

ANSWER_SECONDS = 3.0  # a server that does not answer by then is down
LOCK_SECONDS = 10.0  # other processes write for moments; one that holds the database longer is stuck
CHECKED_BYTES = 64 * MEGABYTE  # of a database that is checked whole: under half a second
UNSET = "or unset PREFECT_API_URL to run without a server"
CLOUD = "prefect.cloud"
NO_LOGIN = (
    "Prefect Cloud is named, but nobody is logged in; run prefect cloud login, or set PREFECT_PROFILE=ephemeral to run "
    "without a server"
)
SCHEME = "sqlite+aiosqlite:///"
Kind = type[CarryoverError]
REASONS: tuple[tuple[str, Kind, str], ...] = (  # words in lower case, the error's class, and what is said of Prefect
    (
        r"unauthorized|\b401\b",
        UnsafeError,
        "wants to know who asks (401); set PREFECT_API_AUTH_STRING, for Prefect Cloud PREFECT_API_KEY, or correct it",
    ),
    (r"forbidden|\b403\b", UnsafeError, "does not permit this (403); ask its keeper for the right"),
    (r"incompatible versions", ServiceError, "is of another major version; install the same on both sides"),
    (
        r"certificate.verify.failed|certificate_verify|self.signed|hostname mismatch",
        ServiceError,
        "shows a certificate that is not trusted here; name its authority in PREFECT_API_SSL_CERT_FILE",
    ),
    (r"wrong.version.number|record layer failure", ServiceError, "speaks no TLS; write http:// in PREFECT_API_URL"),
    (
        r"name or service not known|name resolution|nodename nor servname|no address associated",
        ServiceError,
        f"is at a host whose name leads nowhere; correct PREFECT_API_URL, {UNSET}",
    ),
    (
        r"no route to host|network is unreachable",
        ServiceError,
        f"does not answer, no network leads there; look at the network, {UNSET}",
    ),
    (
        r"connecttimeout|readtimeout|timed out",
        ServiceError,
        f"does not answer in time; look at its log, {UNSET}",
    ),
    (r"proxyerror", ServiceError, "is not reached through the proxy; see NO_PROXY"),
    (r"\b404\b", ServiceError, "answers, but not as Prefect does (404); write PREFECT_API_URL with its /api"),
    (
        r"jsondecodeerror|expecting value",
        ServiceError,
        "answers, but not as Prefect does; correct PREFECT_API_URL",
    ),
    (r"\b5\d\d\b|server error", ServiceError, "failed itself; look at its log, then run this again"),
)
PROXY: tuple[tuple[str, str], ...] = (
    (
        r"socks proxy.*socksio",
        "a SOCKS proxy is set (ALL_PROXY), for which the package socksio is missing; pip install 'httpx[socks]', or "
        "unset ALL_PROXY",
    ),
    (r"unknown scheme for proxy", "a proxy is set whose address cannot be read; write it as http://HOST:PORT"),
)
DATABASE: tuple[tuple[str, Kind, str], ...] = (
    (
        r"not a database|disk image is malformed|file is encrypted|quick_check",
        IntegrityError,
        "is damaged; move it away (it holds the history of flow runs, no results), then run this again",
    ),
    (
        r"is locked",
        BusyError,
        "is locked by another process that writes to it; wait for its end, then run this again",
    ),
    (r"can't locate revision", ServiceError, "was made by a newer Prefect; install that one, or set PREFECT_HOME"),
    (r"no such table|no such column", ServiceError, "has an older schema; run prefect server database upgrade -y"),
    (
        r"readonly database|unable to open database",
        UnsafeError,
        "is closed to this user; give it and its folder to this user, or set PREFECT_HOME",
    ),
)


def ready_prefect() -> None:
    """Return where a flow can reach Prefect: a declared server that answers, or what the embedded one needs.

    Raises within 10 seconds what keeps it from that: ServiceError (69), UnsafeError (77), BusyError (75),
    IntegrityError (76) or WriteError (73).
    """
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url:
        if urlsplit(str(settings.api.url)).netloc.endswith(CLOUD) and settings.api.key is None:
            raise ServiceError(NO_LOGIN)
        _check_server(_shown(settings.api.url))
        return
    if not settings.server.ephemeral.enabled:
        raise ServiceError(_not_allowed())
    check_place(settings.home)
    address = settings.server.database.connection_url
    text = address.get_secret_value() if address is not None else ""
    if text.startswith(SCHEME):
        check_database(Path(text.removeprefix(SCHEME).partition("?")[0]))
    shield_embedded()


def check_database(path: Path) -> None:
    """Raise what is wrong with the database of the embedded server, which would only say that it does not start."""
    if not path.is_file() or not path.stat().st_size:
        return
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=LOCK_SECONDS)) as database:
            database.isolation_level = None
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
            if path.stat().st_size < CHECKED_BYTES and database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("quick_check")
            with suppress(sqlite3.OperationalError):  # nothing was made in it yet
                (found,) = database.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
                if found and not _is_known(found):
                    raise sqlite3.DatabaseError("can't locate revision")
    except sqlite3.Error as error:
        raise database_reason(str(error), path) or _other(error, str(path)) from None


def prefect_reason(error: BaseException) -> CarryoverError | None:
    """What is said of an error of Prefect's client or of its embedded server; None: it comes from elsewhere."""
    chain = tuple(causes(error))
    words = " ".join(f"{type(each).__name__}: {each}" for each in chain)
    for pattern, said in PROXY:
        if re.search(pattern, words.lower()):
            return ServiceError(said)
    if "No Prefect API URL provided" in words:
        return ServiceError(_not_allowed())
    if "ephemeral Prefect API" in words:
        return embedded_reason()
    if "Unable to find an available port" in words:
        return ServiceError(
            "Prefect's embedded server found no free port from 8000 to 8999; end what listens there, or set "
            "PREFECT_API_URL"
        )
    asked = re.search(r"Failed to reach API at (\S+)", words)
    ours = asked or any(base.__module__.startswith("httpx") for each in chain for base in type(each).__mro__)
    if not ours and "incompatible versions" not in words:
        return None
    where = _shown(asked[1].rstrip(".")) if asked else _declared()
    if known := _first(REASONS, f"Prefect at {where}", words):
        return known
    if asked:
        return ServiceError(f"Prefect at {where} does not answer; start it, or unset PREFECT_API_URL")
    if re.search(r"connecterror|readerror|writeerror|remoteprotocolerror|connection", words.lower()):
        return ServiceError(
            f"Prefect at {where} went away; finished stages are kept and used again: start it, then run the same "
            "command again"
        )
    return None


def embedded_reason() -> CarryoverError:
    """Why the embedded server did not come up, by the end of its log."""
    tail = embedded_log()
    if found := disk_fault(sqlite3.OperationalError(tail)):
        return found
    if known := database_reason(tail, None):
        return known
    from prefect.settings import get_current_settings

    seconds = get_current_settings().server.ephemeral.startup_timeout_seconds
    return ServiceError(
        f"Prefect's embedded server did not start within {seconds} s; see {log_path(EMBEDDED)}, then run this again "
        "(PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS gives it more time)"
    )


def database_reason(words: str, path: Path | None) -> CarryoverError | None:
    """What is said of the embedded server's database by the words of an error."""
    return _first(DATABASE, f"Prefect's database{f' {path}' if path else ''}", words)


def _check_server(where: str) -> None:
    from prefect import get_client
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(httpx_settings={"timeout": ANSWER_SECONDS}, sync_client=True) as client,
        ):
            client._client.get("/health")
            client.raise_for_api_version_mismatch()
    except Exception as error:  # noqa: BLE001  (every layer of the client raises its own kinds)
        refused = f"Prefect at {where} does not answer; start it, or unset PREFECT_API_URL"
        words = " ".join(f"{type(each).__name__}: {each}" for each in causes(error))
        proxy = next((said for pattern, said in PROXY if re.search(pattern, words.lower())), None)
        if proxy or "refused" in words.lower():
            raise ServiceError(proxy or refused) from None
        raise _first(REASONS, f"Prefect at {where}", words) or ServiceError(refused) from None


def _not_allowed() -> str:
    from prefect.context import get_settings_context

    profile = get_settings_context().profile.name
    if profile == "cloud":
        return NO_LOGIN
    return (
        f"no Prefect server is named, and the embedded one is switched off (profile {profile}); set PREFECT_API_URL, "
        "or PREFECT_SERVER_EPHEMERAL_ENABLED=true"
    )


def _declared() -> str:
    from prefect.settings import get_current_settings

    return _shown(get_current_settings().api.url or "127.0.0.1 (embedded)")


def _shown(address: Any) -> str:
    """An address as Prefect has it, without user and password."""
    return mask(re.sub(r"//[^/@]*@", "//", str(address)).rstrip("/") + "/") if "//" in str(address) else str(address)


def _is_known(revision: str) -> bool:
    """Whether this Prefect made the schema with that name, or knows how to bring it up to date."""
    import prefect

    folder = Path(prefect.__file__).parent / "server" / "database" / "_migrations" / "versions" / "sqlite"
    return any(revision in path.read_text(errors="replace") for path in folder.glob("*.py"))


def _first(reasons: tuple[tuple[str, Kind, str], ...], title: str, words: str) -> CarryoverError | None:
    for pattern, kind, said in reasons:
        if re.search(pattern, words.lower(), re.DOTALL):
            return kind(f"{title} {said}")
    return None


def _other(error: sqlite3.Error, where: str) -> CarryoverError:
    return disk_fault(error, where) or ServiceError(
        f"Prefect's database {where} cannot be used ({type(error).__name__})"
    )
