"""Prefect's and MLflow's servers for a person or a team: started by one command, ended by another. No flows: these
are what flows may talk to."""

import os
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy.engine import URL, make_url

from rnn_model.artefact import held, write_file
from rnn_model.errors import ConfigError, ServiceError
from tasks import servers
from tasks.config import home
from tasks.connection import masked
from tasks.postgres import NAME as POSTGRES
from tasks.postgres import cluster_url, create_databases, start_cluster
from tasks.progress import bar
from tasks.schema import make_ready, migration_lock
from tasks.servers import HOST, Server, answers, check_port, end, finish, launch, python, record, recorded, run_once
from tasks.team import VARIABLE, connection, database_url, is_shared, locked

Database = Literal["sqlite", "postgres"]
Port = Annotated[int, Field(ge=1, le=65535)]
Ports = dict[str, tuple[int, str]]  # of each server that is to run: its port, and the option that names another
DATABASES = ("carryover", "prefect", "mlflow")
MIGRATION_SECONDS = 600.0
UPGRADE = "import os; from mlflow.db import commands; commands(['upgrade', os.environ['MLFLOW_BACKEND_STORE_URI']])"
OWN = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", VARIABLE)  # not for the servers themselves
QUIET = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 1.3 GB of processes that nothing here asks for
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


def services(
    db: Database | None = None, prefect_port: Port = 4200, mlflow_port: Port = 5000, postgres_port: Port = 5433
) -> None:
    """Start Prefect's and MLflow's servers on this machine, and print where their pages are.

    Args:
        db: sqlite, or postgres: $CARRYOVER_DATABASE, else one of the data folder's own; none: postgres if that is set
        prefect_port: of Prefect
        mlflow_port: of MLflow
        postgres_port: of the data folder's own PostgreSQL
    """
    db = db or ("postgres" if is_shared() else "sqlite")
    with held(servers.folder() / "servers"):
        known = {server.name: server for server in recorded() if server.process is not None}
        _check_same(known, db)
        wanted = {"Prefect": (prefect_port, "prefect_port"), "MLflow": (mlflow_port, "mlflow_port")}
        if db == "postgres" and (port := _own_port(known, postgres_port)):
            wanted[POSTGRES] = (port, "postgres_port")
        if set(wanted) <= set(known):
            print("the servers run already")
        else:
            with _started(known):
                _start(known, db, wanted)
        _tell(known, db)


def down() -> None:
    """End the servers that `carryover services` started."""
    with held(servers.folder() / "servers"):
        known = recorded()
        for server in reversed(known):
            print(f"{server.name}: {'ended' if end(server) else 'was no more'}")
        record(())
        if not known:
            print("no servers were started here")


@contextmanager
def _started(known: dict[str, Server]) -> Iterator[None]:
    """What is started within the block, and then fails, is ended again."""
    before, running = recorded(), set(known)
    try:
        yield
    except BaseException:
        for name in reversed([name for name in known if name not in running]):
            end(known.pop(name))
        record(before)  # with what was dead before: its port is wanted again
        raise


def _own_port(known: dict[str, Server], asked: int) -> int | None:
    """Of the data folder's own PostgreSQL, where it is to run; None where another server is declared.

    Servers that run on it know it by the port it had, and so does a shell that has its address in $CARRYOVER_DATABASE.
    """
    had = {server.name: server.url for server in recorded()}.get(POSTGRES) if known else None
    if had is not None:
        return int(had.rpartition(":")[2])
    if not is_shared():
        return asked
    kept, declared = _address_file(), os.environ[VARIABLE]
    if not kept.exists() or kept.read_text().strip() != declared.strip():
        return None
    return make_url(declared.strip()).port


def _start(known: dict[str, Server], db: Database, wanted: Ports) -> None:
    """Start what is missing of the servers, PostgreSQL first, and wait until all answer."""
    for name, (port, option) in wanted.items():
        if name not in known:
            check_port(port, option)
    with bar(len(wanted), "servers", "server") as shown:

        def tell(words: str) -> None:
            shown.set_postfix_str(words, refresh=False)
            shown.update(0)

        url = _database(known, wanted, tell) if db == "postgres" else None
        _migrate(url, tell)
        for name in ("Prefect", "MLflow"):
            if name not in known:
                known[name] = _launch(name, wanted[name][0], url)
                record(tuple(known.values()))
        checks = {name: (lambda page=_health(known[name]): answers(page)) for name in ("Prefect", "MLflow")}
        servers.wait_for(checks, tuple(known.values()), tell)
        shown.update(len(wanted))


def _database(known: dict[str, Server], wanted: Ports, tell: Callable[[str], None]) -> URL:
    """The PostgreSQL server with the databases on it, started where none is declared."""
    if POSTGRES not in wanted:
        url = database_url()
        with _one_machine(url):
            create_databases(url, DATABASES[1:])
        return url
    port = wanted[POSTGRES][0]
    url = cluster_url(port)
    if POSTGRES not in known:
        known[POSTGRES] = start_cluster(port, str(url.password))
        record(tuple(known.values()))
    servers.wait_for({POSTGRES: lambda: _takes_connections(url)}, tuple(known.values()), tell)
    create_databases(url, DATABASES)
    url = url.set(database=DATABASES[0])
    before = os.umask(0o077)
    try:
        write_file(_address_file(), url.set(drivername="postgresql").render_as_string(hide_password=False).encode())
    finally:
        os.umask(before)
    return url


def _takes_connections(url: URL) -> bool:
    with suppress(ServiceError), connection(url):
        return True
    return False


def _migrate(url: URL | None, tell: Callable[[str], None]) -> None:
    """Bring the databases to what these versions expect, one process at a time: two that do it at once break them."""
    tell("migrating the databases")
    upgrades = {"MLflow": python("-c", UPGRADE)}
    if url is not None:
        upgrades["Prefect"] = python("-m", "prefect", "server", "database", "upgrade", "-y")
    with _one_machine(url) if url else nullcontext(), migration_lock(_mlflow_store(url)), ExitStack() as ended:
        make_ready(_mlflow_store(url), upgrades=True)
        running = {}
        for name, command in upgrades.items():
            running[name] = run_once(name, command, _environment(url))
            ended.callback(running[name].wait)  # whatever happens: the locks are held for as long as it works
        for name, process in running.items():
            finish(name, process, f"migrating the database of {name}")


@contextmanager
def _one_machine(url: URL) -> Iterator[None]:
    """The right to change what databases there are, and their tables; waits for others."""
    with locked("migrations", time.monotonic() + MIGRATION_SECONDS, url):
        yield


def _launch(name: str, port: int, url: URL | None) -> Server:
    page = f"http://{HOST}:{port}"
    place = ["--host", HOST, "--port", str(port)]
    if name == "Prefect":
        return launch(name, python("-m", "prefect", "server", "start", *place), _environment(url), {"url": page})
    artifacts = os.environ.get("CARRYOVER_ARTIFACTS") or str(home() / "mlartifacts")
    command = python("-m", "mlflow", "server", *place, "--workers", "1", "--serve-artifacts")
    command += ("--artifacts-destination", artifacts)
    started = {"url": page, "store": masked(_mlflow_store(url))}
    return launch(name, command, _environment(url), started)


def _environment(url: URL | None) -> dict[str, str]:
    """For the servers. Addresses with a password stand here, as everybody may read a command line."""
    mine = {name: value for name, value in os.environ.items() if name not in OWN}
    mine |= QUIET | {"MLFLOW_BACKEND_STORE_URI": _mlflow_store(url)}
    if url is not None:
        ssl = {"ssl" if name == "sslmode" else name: value for name, value in url.query.items()}
        address = url.set(drivername="postgresql+asyncpg", database="prefect", query=ssl)
        mine["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = address.render_as_string(hide_password=False)
    return mine


def _mlflow_store(url: URL | None) -> str:
    if url is None:
        return f"sqlite:///{home() / 'mlflow.db'}"
    return url.set(drivername="postgresql", database="mlflow").render_as_string(hide_password=False)


def _health(server: Server) -> str:
    return f"{server.url}/api/health" if server.name == "Prefect" else f"{server.url}/health"


def _check_same(known: dict[str, Server], db: Database) -> None:
    """Raise ConfigError where servers run on another kind of database than is asked for."""
    mlflow = known.get("MLflow")
    if mlflow is not None and mlflow.store.startswith("sqlite") != (db == "sqlite"):
        raise ConfigError(f"MLflow runs already, on {mlflow.store}, not on {db}; carryover down ends it")


def _address_file() -> Path:
    return servers.folder() / "database.url"


def _tell(known: dict[str, Server], db: Database) -> None:
    prefect, mlflow = known["Prefect"].url, known["MLflow"].url
    print(f"Prefect  {prefect}\nMLflow   {mlflow}\nfor a shell that is to use them:")
    print(f"export PREFECT_API_URL={prefect}/api MLFLOW_TRACKING_URI={mlflow}")
    if db == "postgres" and POSTGRES in known:
        print(f'export CARRYOVER_DATABASE="$(cat {shlex.quote(str(_address_file()))})"')
    print("they run until: carryover down")
