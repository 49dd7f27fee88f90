"""A PostgreSQL cluster of the tests' own, from the machine's binaries: a free port, a password, gone at the end.

PostgreSQL refuses to run as root, so root starts it as another user, in a folder that belongs to that one.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
import pytest

from rnn_model.errors import ConfigError
from tasks import postgres

OPTIONS = ("fsync=off", "max_connections=60", "listen_addresses=127.0.0.1")
SECONDS = 60  # for one command of PostgreSQL, its start among them


@dataclass(frozen=True)
class Cluster:
    """Where it listens, and who may do everything there."""

    host: str
    port: int
    user: str
    password: str

    def uri(self, database: str, scheme: str = "postgresql") -> str:
        """Address of a database, with the password in it."""
        return f"{scheme}://{self.user}:{quote(self.password, safe='')}@{self.host}:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """An empty database; its address. `name` is a plain word."""
        self.execute("postgres", f'CREATE DATABASE "{name}"')
        return self.uri(name)

    def execute(self, database: str, statement: str, rows: list[tuple[Any, ...]] | None = None) -> None:
        """One statement outside a transaction; with `rows`, once for each of them."""
        with closing(psycopg2.connect(self.uri(database))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                if rows is None:
                    cursor.execute(statement)
                else:
                    cursor.executemany(statement, rows)


@contextmanager
def postgres_cluster(password: str = "open-sesame", user: str = "carry") -> Iterator[Cluster]:
    """A running cluster in a temporary folder; the test is skipped where there are no binaries."""
    binaries = find_binaries()
    owner = account()
    folder = Path(tempfile.mkdtemp(prefix="carryover-postgres-"))
    try:
        if owner:
            shutil.chown(folder, owner, pwd.getpwnam(owner).pw_gid)
        (folder / "password").write_text(password)
        (folder / "password").chmod(0o644)  # inside a folder that is closed to others
        database = folder / "cluster"
        secure = ["--auth=scram-sha-256", f"--pwfile={folder / 'password'}"]
        run(binaries / "initdb", owner, "-D", database, "-U", user, "-E", "UTF8", "--no-locale", "--no-sync", *secure)
        cluster = Cluster("127.0.0.1", free_port(), user, password)
        options = [f"-c{option}" for option in (*OPTIONS, f"port={cluster.port}", f"unix_socket_directories={folder}")]
        with (folder / "log").open("wb") as log:
            command = [str(binaries / "postgres"), "-D", str(database), *options]
            server = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **postgres.as_account(owner)
            )
        try:
            wait_until_ready(server, cluster, folder / "log")
            yield cluster
        finally:
            server.send_signal(signal.SIGQUIT)  # at once: nothing in it is to be kept
            server.wait(SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def find_binaries() -> Path:
    """As the product finds them; the test is skipped where there are none."""
    try:
        return postgres.find_binaries()
    except ConfigError as missing:
        pytest.skip(str(missing))


def account() -> str | None:
    """As the product: whom root runs it as; the test is skipped where there is nobody. None for who is not root."""
    try:
        return None if os.getuid() else postgres.account_for_root()
    except ConfigError as missing:
        pytest.skip(str(missing))


def run(program: Path, owner: str | None, *arguments: object) -> None:
    """One command, as `owner` where there is one; what it says is shown when it fails."""
    command = [str(part) for part in (program, *arguments)]
    how = {"stdin": subprocess.DEVNULL, **postgres.as_account(owner)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, **how)
    assert done.returncode == 0, f"{program.name}: {(done.stdout + done.stderr)[-2000:]}"


def wait_until_ready(server: "subprocess.Popen[bytes]", cluster: Cluster, log: Path) -> None:
    """Return once it takes connections; a server that ended shows its log."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert server.poll() is None, f"PostgreSQL ended: {log.read_text(errors='replace')[-2000:]}"
        try:
            psycopg2.connect(cluster.uri("postgres")).close()
        except psycopg2.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"PostgreSQL took no connections in {SECONDS} s: {log.read_text(errors='replace')[-2000:]}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
