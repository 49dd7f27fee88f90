"""Whether the servers that are set answer, let us in, and have the version of their clients. Nothing is changed there.

Python's own HTTP: the libraries' clients may be what is broken. An address is shown as scheme, host and port alone.
"""

import base64
import json
import re
import socket
import ssl
import tomllib
import urllib.error
import urllib.request
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from tasks.finding import AWAY, DENIED, SETTING, Finding, ok, warning, wrong

SECONDS = 4.0  # for each answer
LONGEST = 65_536  # bytes of an answer that are read
PORTS = {"postgresql": 5432, "postgres": 5432, "mysql": 3306, "mssql": 1433}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
VERSION = re.compile(r"\d+\.\d+[\w.+]*")


class Answer(NamedTuple):
    """What a server said, or why it said nothing."""

    status: int  # 0: nothing
    text: str

    @property
    def well(self) -> bool:
        """Whether it did what it was asked for."""
        return 200 <= self.status < 300


def get(url: str, headers: Mapping[str, str]) -> Answer:
    """One GET; servers of this machine are asked without a proxy. Raises nothing."""
    proxies = urllib.request.ProxyHandler({} if urlsplit(url).hostname in LOOPBACK else None)
    request = urllib.request.Request(url, headers={"Accept": "application/json", **headers})
    try:
        with urllib.request.build_opener(proxies).open(request, timeout=SECONDS) as answer:
            return Answer(answer.status, answer.read(LONGEST).decode(errors="replace").strip())
    except urllib.error.HTTPError as error:
        return Answer(error.code, "")
    except urllib.error.URLError as error:
        return Answer(0, reason(error.reason))
    except (OSError, ValueError) as error:
        return Answer(0, reason(error))
    except Exception as error:  # noqa: BLE001  (http.client has many kinds; none of them may end the doctor)
        return Answer(0, f"no HTTP ({type(error).__name__})")


def reason(error: object) -> str:
    """Why there was no answer, without the address."""
    if isinstance(error, TimeoutError):
        return f"no answer within {SECONDS:g} s"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or 'failed'}"
    if isinstance(error, socket.gaierror):
        return "its host name is not known"
    return str(error.strerror or type(error).__name__) if isinstance(error, OSError) else type(error).__name__


def shown(url: str) -> str:
    """Scheme, host and port: nothing else of an address is free of secrets for certain."""
    parts = urlsplit(url)
    if not parts.hostname or "@" in parts.path + parts.query + parts.fragment:
        return f"{parts.scheme}://..." if "://" in url else "an address"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{f':{port(parts)}' if port(parts) else ''}"


def without_user(url: str) -> str:
    """An address as it is asked for: a user and a password go into a header."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def port(parts: SplitResult) -> int | None:
    """The port of an address; None where there is none, or no number."""
    try:
        return parts.port
    except ValueError:
        return None


def basic(user: str, password: str) -> dict[str, str]:
    """The header of a user with a password."""
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


# ---- Prefect


def prefect_folder(environment: Mapping[str, str]) -> Path:
    """Where Prefect keeps its profiles and its own server's file."""
    return Path(environment.get("PREFECT_HOME") or "~/.prefect").expanduser()


def prefect_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Prefect's settings: the active profile's, under those of the environment."""
    folder = prefect_folder(environment)
    try:
        profiles = tomllib.loads((folder / "profiles.toml").read_text())
        name = environment.get("PREFECT_PROFILE") or profiles.get("active", "")
        own = profiles.get("profiles", {}).get(name, {})
        profile = {str(key): str(value) for key, value in own.items()}
    except (OSError, ValueError, AttributeError):
        profile = {}
    return profile | {name: value for name, value in environment.items() if name.startswith("PREFECT_")}


def check_prefect(settings: Mapping[str, str]) -> Finding:
    """Prefect's server, where one is set."""
    part, url = "Prefect", settings.get("PREFECT_API_URL", "").rstrip("/")
    if not url:
        if settings.get("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "true").lower() in ("false", "0"):
            remedy = "export PREFECT_API_URL=http://HOST:4200/api, or PREFECT_SERVER_ALLOW_EPHEMERAL_MODE=true"
            return wrong(part, "no server is set, and commands may start none of their own", remedy, SETTING)
        return ok(part, "no PREFECT_API_URL: each command starts a server of its own")
    where, host = shown(url), urlsplit(url).hostname or ""
    if not url.startswith(("http://", "https://")):
        remedy = "export PREFECT_API_URL=http://HOST:4200/api"
        return wrong(part, f"PREFECT_API_URL is {where}, no http address", remedy, SETTING)
    cloud = host.endswith("prefect.cloud")
    if cloud and not settings.get("PREFECT_API_KEY"):
        return wrong(part, f"{where} asks for a key, and none is set", "prefect cloud login", DENIED)
    address = f"https://{host}/api" if cloud else without_user(url)
    return check_prefect_server(where, address, prefect_headers(settings), cloud)


def check_prefect_server(where: str, url: str, headers: Mapping[str, str], cloud: bool) -> Finding:
    """It answers, lets us in, and has the client's version; the cloud has none."""
    part, letting = "Prefect", "set PREFECT_API_KEY or PREFECT_API_AUTH_STRING"
    health = get(f"{url}/health", headers)
    if health.status in (401, 403):
        return refused(part, where, health, letting)
    if not health.well or health.text.lower() != "true":
        if not url.endswith("/api") and get(f"{url}/api/health", headers).text.lower() == "true":
            remedy = "export PREFECT_API_URL=http://HOST:PORT/api"
            return wrong(part, f"{where} answers, but PREFECT_API_URL lacks its /api", remedy, SETTING)
        return away(part, where, health, "start it (carryover services), or unset PREFECT_API_URL")
    if cloud:
        return ok(part, f"{where} answers")
    version = get(f"{url}/admin/version", headers)
    if version.status in (401, 403):
        return refused(part, where, version, letting)
    return compared(part, where, version, "prefect")


def prefect_headers(settings: Mapping[str, str]) -> dict[str, str]:
    """How Prefect's client shows who it is."""
    if key := settings.get("PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    parts = urlsplit(settings.get("PREFECT_API_URL", ""))
    if parts.username:
        return basic(unquote(parts.username), unquote(parts.password or ""))
    auth = settings.get("PREFECT_API_AUTH_STRING")
    return basic(*auth.partition(":")[::2]) if auth else {}


# ---- MLflow


def check_mlflow(uri: str, environment: Mapping[str, str]) -> list[Finding]:
    """MLflow's server and its registry, or the database that is set in its place. A SQLite file is another probe's."""
    part, scheme = "MLflow", urlsplit(uri).scheme
    if scheme.startswith("sqlite"):
        return [ok(part, "no server: runs and models are kept in a SQLite file")]
    if scheme in ("http", "https"):
        return check_mlflow_server(uri, environment)
    if scheme.partition("+")[0] in PORTS:
        return [check_database(part, uri, "MLFLOW_TRACKING_URI")]
    if scheme in ("", "file"):
        remedy = "unset MLFLOW_TRACKING_URI, or name a server"
        return [warning(part, "runs are kept in a folder of files, which MLflow gives up", remedy)]
    return [warning(part, f"{scheme}: an address of this kind is not looked at", "see whether a run is logged there")]


def check_mlflow_server(uri: str, environment: Mapping[str, str]) -> list[Finding]:
    """An MLflow server: it answers, lets us in, keeps a registry, and has the client's version."""
    part, where, parts = "MLflow", shown(uri), urlsplit(uri)
    if "@" in parts.path + parts.query + parts.fragment:
        remedy = "in a user, password or path write @ as %40"
        return [wrong(part, "MLFLOW_TRACKING_URI has an @ past its host", remedy, SETTING)]
    base = without_user(uri).rstrip("/")
    headers = mlflow_headers(parts, environment)
    health = get(f"{base}/health", headers)
    letting = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if health.status in (401, 403):
        return [refused(part, where, health, letting)]
    if not health.well or health.text != "OK":
        return [away(part, where, health, "start it (carryover services), or unset MLFLOW_TRACKING_URI")]
    lines = [compared(part, where, get(f"{base}/version", headers), "mlflow")]
    found = get(f"{base}/api/2.0/mlflow/registered-models/search?max_results=1", headers)
    if found.status in (401, 403):
        return [*lines, refused("registry", where, found, letting)]
    if not found.well or not is_json(found.text):
        remedy = "see the server's log; after an update its database needs: mlflow db upgrade ADDRESS"
        return [*lines, away("registry", where, found, remedy)]
    return [*lines, ok("registry", f"{where} answers")]


def mlflow_headers(parts: SplitResult, environment: Mapping[str, str]) -> dict[str, str]:
    """How MLflow's client shows who it is."""
    user = unquote(parts.username or "") or environment.get("MLFLOW_TRACKING_USERNAME", "")
    password = unquote(parts.password or "") or environment.get("MLFLOW_TRACKING_PASSWORD", "")
    if user:
        return basic(user, password)
    token = environment.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def is_json(text: str) -> bool:
    """Whether an answer is what the server of an API says."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


# ---- both, and the database


def check_database(part: str, uri: str, variable: str) -> Finding:
    """A database takes connections; nobody logs in."""
    parts = urlsplit(uri)
    if not parts.hostname:
        return warning(part, f"{variable} names no host, so it was not looked at", "see whether a command reaches it")
    place = (parts.hostname, port(parts) or PORTS.get(parts.scheme.partition("+")[0], 5432))
    try:
        with socket.create_connection(place, timeout=SECONDS):
            return ok(part, f"{shown(uri)} takes connections")
    except OSError as error:
        return wrong(part, f"{shown(uri)}: {reason(error)}", f"start it, or change {variable}", AWAY)


def refused(part: str, where: str, answer: Answer, remedy: str) -> Finding:
    """A server that answers and does not let us in."""
    return wrong(part, f"{where} refuses this user (status {answer.status})", remedy, DENIED)


def away(part: str, where: str, answer: Answer, remedy: str) -> Finding:
    """A server that does not answer, or something else at its address."""
    said = answer.text if not answer.status else f"status {answer.status}"
    if answer.well:
        said = "something else answers at this address"
    return wrong(part, f"{where}: {said}", remedy, AWAY)


def compared(part: str, where: str, answer: Answer, package: str) -> Finding:
    """The version of a server against that of the package here."""
    found = VERSION.fullmatch(answer.text.strip('"')) if answer.well else None
    try:
        own = metadata.version(package)
    except metadata.PackageNotFoundError:
        return warning(part, f"{where} answers; {package} is not installed here", f"pip install {package}")
    if found is None:
        return warning(part, f"{where} answers, but does not tell its version", f"see that it runs {package} {own}")
    if found[0].partition("+")[0] != own:
        remedy = f"on the server: pip install -c constraints.txt {package}=={own}"
        return wrong(part, f"{where} runs {package} {found[0]}, here is {own}", remedy, AWAY)
    return ok(part, f"{where} answers, {package} {own} as here")


def prefect_store(settings: Mapping[str, str]) -> Path | None:
    """The SQLite file of the server that commands start by themselves; None: there is none."""
    address = settings.get("PREFECT_SERVER_DATABASE_CONNECTION_URL") or settings.get(
        "PREFECT_API_DATABASE_CONNECTION_URL"
    )
    if settings.get("PREFECT_API_URL"):
        return None
    if address:
        path = address.partition(":///")[2]
        return Path(path) if address.startswith("sqlite") and path and ":memory:" not in path else None
    return prefect_folder(settings) / "prefect.db"
