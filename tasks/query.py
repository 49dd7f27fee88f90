"""Rows of a SQL query on PostgreSQL, whose address comes from the environment or a Prefect block and is never shown.

psycopg2 logs in and asks for the names and kinds of the columns: it gives up within seconds where connectorx, which
reads the rows, tries for half a minute. Only columns that are used are read, in kinds that connectorx has a word for.
"""

import os
import re
from contextlib import closing
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import polars as pl

from rnn_model.errors import CarryoverError, ConfigError, DataError, ServiceError, UnsafeError
from rnn_model.masking import declare
from tasks.columns import map_columns
from tasks.config import HOST
from tasks.ids import Part
from tasks.prefect_api import ready_prefect
from tasks.series_config import BLOCK, SeriesConfig
from tasks.values import rows_of

if TYPE_CHECKING:
    import psycopg2

SECONDS = 4  # that a server has for its answer to the login
SCHEMES = ("postgresql", "postgres")
KINDS = """SELECT oid, format_type(oid, NULL), typcategory FROM pg_type WHERE oid = ANY(%s)"""
TEXT = "SE"  # categories of types in PostgreSQL: strings and enums; N are numbers, B is boolean, D are times
PLAIN = ("smallint", "integer", "bigint", "real", "double precision")  # numbers that are the same in Polars
LOGIN = ("password", "authentication", "role ", "pg_hba.conf", "permission denied")


class Column(NamedTuple):
    """A column of the query's result."""

    name: str
    kind: str  # as SQL writes it
    category: str  # one letter, of pg_type.typcategory


def read_query(config: SeriesConfig) -> Part:
    """The rows of the config's query, columns mapped and typed as those of a file.

    Raises ConfigError (2) for a query that the database does not understand or an address that is not there, DataError
    (65) for rows that cannot be used, ServiceError (69) for a server that does not answer, UnsafeError (77) for a login
    that is refused.
    """
    require_drivers()
    uri = connection_string(config)
    statement = projection(describe(uri, config), config)
    try:
        frame = pl.read_database_uri(statement, uri, engine="connectorx")
    except (RuntimeError, pl.exceptions.PolarsError) as error:  # the former is connectorx', with the database's words
        raise failed(error, config, uri) from None
    return rows_of(frame, 1, config.where, config)


def require_drivers() -> None:
    """Raise ConfigError where the extra `sql` was not installed."""
    missing = [name for name in ("connectorx", "psycopg2") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"a query needs {' and '.join(missing)}, not installed here; pip install 'carryover[sql]'")


def connection_string(config: SeriesConfig) -> str:
    """The address, from where the config says. Raises ConfigError where there is none, or one of another kind."""
    where = str(config.connection)
    found = from_block(where.removeprefix(BLOCK)) if where.startswith(BLOCK) else os.environ.get(where, "")
    if not found and not where.startswith(BLOCK):
        raise ConfigError(
            f"{config.section}.connection: environment variable {where} is not set; set it to postgresql://..."
        )
    check_address(found, where)
    declare(found)
    return found


def check_address(uri: str, where: str) -> None:
    """Refuse what is no address of PostgreSQL, or may be one in which a sign of the password was not quoted."""
    if urlsplit(uri).scheme not in SCHEMES:
        raise ConfigError(
            f"{where} holds no address of PostgreSQL; set it to postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        )
    if "@" in uri.partition("://")[2].removeprefix(urlsplit(uri).netloc):
        raise ConfigError(f"{where} holds an @ past its host; in a user or password write / as %2F, ? as %3F, # as %23")


def from_block(name: str) -> str:
    """The value of a Prefect Secret block. Raises ConfigError where there is none of that name."""
    from prefect.blocks.system import Secret

    ready_prefect()  # asked before a flow, the block starts the server
    try:
        value = Secret.load(name).get()  # type: ignore[union-attr]
    except ValueError:
        raise ConfigError(
            f"Prefect has no Secret block {name!r}; make it in Prefect's pages, or name an environment variable"
        ) from None
    return str(value)


def describe(uri: str, config: SeriesConfig) -> list[Column]:
    """Names and kinds of the query's columns; nothing is read yet."""
    import psycopg2

    with closing(log_in(uri, config)) as connection, connection.cursor() as cursor:
        try:
            cursor.execute(f"SELECT * FROM (\n{bare(config)}\n) AS asked LIMIT 0")
            described = [(column.name, column.type_code) for column in cursor.description]
            cursor.execute(KINDS, ([kind for _, kind in described],))
            kinds = {oid: (kind, category) for oid, kind, category in cursor.fetchall()}
        except psycopg2.Error as error:
            raise failed(error, config, uri) from None
    return [Column(name, *kinds[oid]) for name, oid in described]


def log_in(uri: str, config: SeriesConfig) -> "psycopg2.extensions.connection":
    """A session to ask in. Raises ServiceError, UnsafeError or ConfigError."""
    import psycopg2

    try:
        connection = psycopg2.connect(uri, connect_timeout=SECONDS, application_name="carryover")
    except psycopg2.OperationalError as error:
        raise no_login(uri, str(error), config) from None
    except psycopg2.Error:  # its words repeat parts of the address
        raise ConfigError(f"{config.connection} holds an address that PostgreSQL cannot read; write it anew") from None
    connection.set_session(readonly=True)
    return connection


def no_login(uri: str, words: str, config: SeriesConfig) -> CarryoverError:
    """Why there is no session, with the host and without credentials."""
    refused = "FATAL: " in words
    reason = scrubbed(words.splitlines()[0].rpartition("FATAL: " if refused else ": ")[2].strip(), uri)
    host = f"PostgreSQL at {host_of(uri)} ({config.connection})"
    if (refused and any(sign in reason for sign in LOGIN)) or "no password supplied" in words:
        return UnsafeError(f"{host} refuses the login; check user and password in the address")
    if refused:
        return ServiceError(f"{host} gives no session: {reason}; check the address, or try again")
    return ServiceError(f"{host} does not answer ({reason}); start it, or check the address")


def host_of(uri: str) -> str:
    """Host and port of an address, where it has one of each."""
    host = urlsplit(uri).netloc.rpartition("@")[2]
    return host if host and HOST.fullmatch(host) else "its host"


def bare(config: SeriesConfig) -> str:
    """The query without the semicolon at its end."""
    return str(config.query).strip().rstrip(";").rstrip()


def projection(columns: list[Column], config: SeriesConfig) -> str:
    """A statement for unique_id, ds, y and perhaps a label, out of the query's columns. Raises DataError."""
    names = [column.name for column in columns]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise DataError(f"{config.where}: column {double[0]!r} occurs {names.count(double[0])} times; rename one")
    known = {column.name: column for column in columns}
    wanted = map_columns(config.where, names, config)
    parts = [f"{expression(known[old], new, config)} AS {new}" for new, old in wanted.items()]
    return f"SELECT {', '.join(parts)} FROM (\n{bare(config)}\n) AS asked"


def expression(column: Column, role: str, config: SeriesConfig) -> str:
    """SQL for a column in a kind that connectorx knows: it has none for money or intervals, and rounds numeric ones."""
    quoted = '"' + column.name.replace('"', '""') + '"'
    if column.category in TEXT:
        return f"{quoted}::text"
    if role == "ds" and column.kind in ("date", "timestamp without time zone", "timestamp with time zone"):
        return quoted
    if role == "y" and column.category == "N":
        return quoted if column.kind in PLAIN else f"{quoted}::numeric::double precision"
    if role in ("unique_id", "label") and (column.category in "NBDI" or column.kind == "uuid"):
        return quoted if column.kind in PLAIN else f"{quoted}::text"
    expected = {"ds": "dates such as 2024-01-31", "y": "numbers"}.get(role, "names")
    option = {"unique_id": "id", "label": "segment"}.get(role, role)
    raise DataError(
        f"{config.where}: column {column.name!r} holds {column.kind}, expected {expected}; map another with "
        f"--{config.section}.columns.{option}"
    )


def failed(error: Exception, config: SeriesConfig, uri: str) -> CarryoverError:
    """What a database says about a query, in one line, with nothing of its address."""
    state = getattr(error, "pgcode", None) or ""
    said = getattr(getattr(error, "diag", None), "message_primary", None) or str(error)
    words = scrubbed(re.sub(r"^db error: (ERROR|FATAL): ", "", " ".join(said.split())), uri)[:200]
    if state == "42501":
        return UnsafeError(f"{config.where}: {words}; give the role of {config.connection} the right to read it")
    if state.startswith("42"):
        return ConfigError(f"{config.where}: {words}; correct the query")
    if state.startswith(("08", "57", "53")) or "connect" in words:
        return ServiceError(f"{config.where}: {words}; try again")
    return DataError(f"{config.where}: {words}; correct the query or the rows it reads")


def scrubbed(words: str, uri: str) -> str:
    """Words without the address, its user and its passwords, as they are and as they are written in it."""
    user, _, password = uri.partition("://")[2].rpartition("@")[0].partition(":")
    asked = parse_qs(urlsplit(uri).query)
    secrets = [uri, password, user, *asked.get("password", []), *asked.get("user", [])]
    for secret in sorted(filter(None, {*secrets, *map(unquote, secrets)}), key=len, reverse=True):
        words = words.replace(secret, "...")
    return words
