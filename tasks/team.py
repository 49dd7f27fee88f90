"""What machines share that promote the same models: a lock and the ledger's lines, in one PostgreSQL database.

$CARRYOVER_DATABASE names it (postgresql://...); it holds a password, so it is shown nowhere. Without it, both are files
of this machine.
"""

import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from rnn_model.errors import BusyError, CarryoverError, ConfigError, ServiceError, UnsafeError

VARIABLE = "CARRYOVER_DATABASE"
CONNECT_SECONDS = 5  # a database that does not answer by then is down
# a host that went dark holds its lock for these 25 s; the system's own default is two hours
KEEPALIVE = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
TABLE = "carryover_ledger"
CREATE = f"CREATE TABLE IF NOT EXISTS {TABLE} (ledger text, seq integer, line text NOT NULL, PRIMARY KEY (ledger, seq))"
READ = f"SELECT line FROM {TABLE} WHERE ledger = :ledger ORDER BY seq"
ADD = f"INSERT INTO {TABLE} VALUES (:ledger, :seq, :line)"
GRANTED = "locktype = 'advisory' AND granted AND objsubid = 1 AND (classid::bigint << 32 | objid::bigint) = :key"
HOLDER = f"SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE {GRANTED}"
MINE = f"SELECT 1 FROM pg_locks WHERE pid = pg_backend_pid() AND {GRANTED}"
REFUSALS = ("42501", "28P01", "28000")  # no such right, wrong password, no such user
REFUSED = ("password authentication failed", "permission denied", "not permitted to log in", "no pg_hba.conf entry")


def is_shared() -> bool:
    """Whether $CARRYOVER_DATABASE is set."""
    return bool(os.environ.get(VARIABLE))


def database_url() -> URL:
    """The declared database. Raises ConfigError, without the address, for what is none."""
    try:
        url = make_url(os.environ.get(VARIABLE, ""))
    except ArgumentError:
        url = None
    if url is None or url.get_backend_name() != "postgresql" or not (url.host and url.database):
        raise ConfigError(f"{VARIABLE} is not an address such as postgresql://user:password@host:5432/carryover")
    return url.set(drivername="postgresql+psycopg2")


@contextmanager
def connection(url: URL) -> Iterator[Connection]:
    """A connection of its own for a `with` block, closed at its end; each statement is a transaction.

    Raises ServiceError (69) when the server does not answer or goes away, UnsafeError (77) when it refuses this user,
    ConfigError without the driver.
    """
    who = f"carryover process {os.getpid()} on {socket.gethostname()}"[:63]
    about = {"connect_timeout": CONNECT_SECONDS, "options": KEEPALIVE, "application_name": who}
    try:
        engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=about)
    except ImportError:
        raise ConfigError(f"{VARIABLE} needs psycopg2; install carryover with its extra: team") from None
    try:
        with engine.connect() as open_connection:
            yield open_connection
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise _failure(error, url) from None


def _failure(error: DBAPIError, url: URL) -> CarryoverError:
    """What a person can act on; the error's own text may hold the address."""
    where, kind = f"{url.host}:{url.port or 5432}/{url.database}", type(error.orig).__name__
    code = getattr(error.orig, "pgcode", None)  # while it connects, the driver has but words
    if code in REFUSALS or (code is None and any(words in str(error.orig) for words in REFUSED)):
        return UnsafeError(
            f"PostgreSQL at {where} refuses the user of {VARIABLE} ({kind}); check user and password, and that it may "
            f"connect and either create tables or select and insert in {TABLE}"
        )
    return ServiceError(f"PostgreSQL at {where} failed ({kind}); start it, or check {VARIABLE}")


@contextmanager
def locked(name: str, until: float, url: URL | None = None) -> Iterator[Callable[[], None]]:
    """An advisory lock of the database for a `with` block; waits for others until `until` (time.monotonic()).

    It ends with its connection, however the process ends. As a connection may be lost within the block, the block gets
    a check, to be called right before what only the holder may do: it raises ServiceError where the lock is lost.
    Raises BusyError that names the holder.
    """
    key = int.from_bytes(hashlib.sha256(f"carryover {name}".encode()).digest()[:8], "big") >> 1  # 63 bits
    with connection(url or database_url()) as session:
        while not session.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}):
            if time.monotonic() > until:
                holder = session.scalar(text(HOLDER), {"key": key}) or "another process"
                raise BusyError(f"{name}: {holder} is changing it; wait for its end, then run this again")
            time.sleep(0.05)

        def check() -> None:
            if session.scalar(text(MINE), {"key": key}) is None:  # a connection that is gone raises by itself
                raise ServiceError(f"{name}: the lock in the database was lost meanwhile; run it again")

        yield check


def read_lines(ledger: str) -> bytes:
    """The lines of a ledger, each with its end; none are there before the first."""
    with connection(database_url()) as session:
        if session.scalar(text("SELECT to_regclass(:table)"), {"table": TABLE}) is None:
            return b""
        lines = session.scalars(text(READ), {"ledger": ledger}).all()
    return "".join(f"{line}\n" for line in lines).encode()


def add_line(ledger: str, seq: int, line: str) -> None:
    """Add line `seq`; the database keeps each number once. Raises BusyError where another process was first."""
    url = database_url()
    with connection(url) as session:
        if session.scalar(text("SELECT to_regclass(:table)"), {"table": TABLE}) is None:
            with locked(TABLE, time.monotonic() + CONNECT_SECONDS, url):
                session.execute(text(CREATE))
        try:
            session.execute(text(ADD), {"ledger": ledger, "seq": seq, "line": line})
        except IntegrityError:
            raise BusyError(f"{ledger}: another process added line {seq} meanwhile; run it again") from None
