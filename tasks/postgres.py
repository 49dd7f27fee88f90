"""A PostgreSQL cluster of the data folder's own, and the databases on it or on a server that is there.

PostgreSQL refuses to run as root; for root it runs as the user postgres, in a folder of that one's.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ProgrammingError

from rnn_model.artefact import write_file
from rnn_model.errors import ConfigError, ServiceError, UnsafeError
from tasks.config import home
from tasks.servers import HOST, Server, folder, launch, log_file, log_path
from tasks.settling import open_passage
from tasks.team import connection

NAME = "PostgreSQL"
USER = "carryover"
PLACES = "/usr/lib/postgresql/*/bin"  # where Debian keeps them, off the PATH
ACCOUNTS = ("postgres", "nobody")  # the first of them that there is runs it for root


def cluster_url(port: int) -> URL:
    """Address of the cluster, its password made at the first call and kept in a file that is closed to others."""
    path = folder() / "postgres.password"
    if not path.exists():
        before = os.umask(0o077)
        try:
            write_file(path, secrets.token_urlsafe(24).encode())
        finally:
            os.umask(before)
    return URL.create("postgresql+psycopg2", USER, path.read_text(), HOST, port, "postgres")


def start_cluster(port: int, password: str) -> Server:
    """Start the cluster, made at the first start. Raises ConfigError without PostgreSQL."""
    binaries = find_binaries()
    account = None if os.getuid() else account_for_root()
    place = folder() / "postgres"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if account:
        shutil.chown(place, account, pwd.getpwnam(account).pw_gid)
        for way in (home(), folder()):
            open_passage(way)
        _check_reachable(place, account)
    if not (place / "cluster").exists():
        _make_cluster(binaries, place, account, password)
    options = {"port": str(port), "listen_addresses": HOST, "unix_socket_directories": ""}
    command = [str(binaries / "postgres"), "-D", str(place / "cluster")]
    command += [f"--{name}={value}" for name, value in options.items()]
    started = {"url": f"postgresql://{HOST}:{port}", "signal": signal.SIGINT}  # ends connections, then itself
    return launch(NAME, command, os.environ, started, **as_account(account))


def find_binaries() -> Path:
    """The folder of initdb and postgres: on the PATH, else the newest of Debian's. Raises ConfigError."""
    on_path = shutil.which("initdb")
    debian = sorted(Path("/").glob(PLACES.removeprefix("/")), key=lambda p: _number(p.parent.name), reverse=True)
    for place in [*([Path(on_path).parent] if on_path else []), *debian]:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise ConfigError(
        f"PostgreSQL is neither on the PATH nor in {PLACES}; install it, or name a server in CARRYOVER_DATABASE"
    )


def create_databases(url: URL, names: Sequence[str]) -> None:
    """Make sure that databases are there. Raises ConfigError where this user may not make them."""
    with connection(url) as session:
        for name in names:
            if session.scalar(text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name}):
                continue
            try:
                session.execute(text(f'CREATE DATABASE "{name}"'))
            except ProgrammingError as error:
                raise ConfigError(
                    f"database {name} is not on {url.host}, and cannot be made ({type(error.orig).__name__}); "
                    "have it made, owned by this user"
                ) from None


def _number(version: str) -> float:
    try:
        return float(version)
    except ValueError:
        return 0.0


def account_for_root() -> str:
    """Who runs PostgreSQL for root. Raises ConfigError where there is nobody."""
    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in ACCOUNTS:
        if name in known:
            return name
    raise ConfigError(f"PostgreSQL does not run as root, and there is no user {' or '.join(ACCOUNTS)}; be another user")


def as_account(account: str | None) -> dict[str, Any]:
    """Arguments of Popen that start a program as `account`, in a folder that is open to everybody."""
    if account is None:
        return {"cwd": "/"}
    return {"cwd": "/", "user": account, "group": pwd.getpwnam(account).pw_gid, "extra_groups": []}


def _check_reachable(place: Path, account: str) -> None:
    tried = subprocess.run(["test", "-x", str(place)], check=False, **as_account(account))
    if tried.returncode:
        raise UnsafeError(
            f"{place}: user {account}, as whom PostgreSQL runs for root, may not enter; "
            "set CARRYOVER_HOME to a folder that others may enter, or be another user"
        )


def _make_cluster(binaries: Path, place: Path, account: str | None, password: str) -> None:
    """initdb beside the place, then one rename: a cluster is whole or not there."""
    made, words = place / "cluster.part", place / "password"
    shutil.rmtree(made, ignore_errors=True)
    words.touch(mode=0o600)
    words.write_text(password)
    if account:
        shutil.chown(words, account)
    command = [str(binaries / "initdb"), "-D", str(made), "-U", USER, "-E", "UTF8", "--no-locale"]
    command += ["--auth=scram-sha-256", f"--pwfile={words}"]
    how = {"stdin": subprocess.DEVNULL, **as_account(account)}
    try:
        with log_file(NAME) as log:
            done = subprocess.run(command, stdout=log, stderr=log, check=False, **how)
    finally:
        words.unlink()
    if done.returncode:
        raise ServiceError(f"initdb failed (code {done.returncode}); see {log_path(NAME)}")
    made.rename(place / "cluster")
