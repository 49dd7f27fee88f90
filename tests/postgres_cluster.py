"""A PostgreSQL cluster of the tests' own, from the machine's binaries: a free port, a password, gone at the end.

PostgreSQL refuses to run as root, so root starts it as another user, in a folder that belongs to that one.
"""

import glob
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

PLACES = "/usr/lib/postgresql/*/bin"  # where Debian keeps them, off the PATH
USERS = ("postgres", "nobody")  # the first of them that there is runs it for root
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
    owner = None if os.getuid() else account()
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
            server = subprocess.Popen(command, stdout=log, stderr=log, **as_user(owner))
        try:
            wait_until_ready(server, cluster, folder / "log")
            yield cluster
        finally:
            server.send_signal(signal.SIGQUIT)  # at once: nothing in it is to be kept
            server.wait(SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def find_binaries() -> Path:
    """The folder of initdb and postgres: on the PATH, else the newest of Debian's."""
    on_path = shutil.which("initdb")
    places = [Path(on_path).parent] if on_path else []
    places += [Path(place) for place in sorted(glob.glob(PLACES), key=lambda p: int(p.split("/")[-2]), reverse=True)]
    for place in places:
        if all((place / name).exists() for name in ("initdb", "postgres")):
            return place
    pytest.skip(f"no PostgreSQL: neither initdb on the PATH nor {PLACES}; apt-get install postgresql brings it")


def account() -> str:
    """A user without rights, for root."""
    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in USERS:
        if name in known:
            return name
    pytest.skip(f"PostgreSQL does not run as root, and there is no user {' or '.join(USERS)}")


def as_user(owner: str | None) -> dict[str, Any]:
    """Arguments of subprocess that start a program as `owner`, in a folder that is open to everybody."""
    plain: dict[str, Any] = {"cwd": "/", "stdin": subprocess.DEVNULL}
    return plain | {"user": owner, "group": pwd.getpwnam(owner).pw_gid, "extra_groups": []} if owner else plain


def run(program: Path, owner: str | None, *arguments: object) -> None:
    """One command, as `owner` where there is one; what it says is shown when it fails."""
    command = [str(part) for part in (program, *arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, **as_user(owner))
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
