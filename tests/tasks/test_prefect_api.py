"""Each of Prefect's refusals has its own line and exit code, and is known before the work."""

import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_SERVER_DATABASE_CONNECTION_URL,
    PREFECT_SERVER_EPHEMERAL_ENABLED,
    temporary_settings,
)

from rnn_model.errors import CarryoverError
from tasks import prefect_api, servers
from tasks.prefect_api import check_database, prefect_reason, ready_prefect


@contextmanager
def answering(status: int, body: bytes, version: bytes = b'"3.8.8"') -> Iterator[str]:
    """A server that answers /health like this, and /admin/version like that if the first is well."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_version = self.path.endswith("/version")
            code, said = (status, version) if is_version and status == 200 else (status, body)
            self.send_response(code)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://user:canary@127.0.0.1:{server.server_port}/api"
        server.shutdown()


def refused(url: str) -> CarryoverError:
    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(CarryoverError) as raised:
        ready_prefect()
    assert "canary" not in str(raised.value)
    assert "\n" not in str(raised.value)
    return raised.value


@pytest.mark.parametrize(
    ("status", "body", "version", "code", "words"),
    [
        (401, b"", b"", 77, "wants to know who asks (401)"),
        (403, b"", b"", 77, "does not permit this (403)"),
        (404, b"", b"", 69, "not as Prefect does (404)"),
        (500, b"", b"", 69, "failed itself"),
        (503, b"", b"", 69, "failed itself"),
        (200, b"true", b"<html>", 69, "not as Prefect does"),
        (200, b"true", b'"2.20.0"', 69, "another major version"),
    ],
)
def test_each_answer_of_a_server_has_its_line(status: int, body: bytes, version: bytes, code: int, words: str) -> None:
    with answering(status, body, version) as url:
        error = refused(url)
    assert (error.exit_code, words in str(error)) == (code, True), str(error)


def test_a_server_of_this_version_is_taken() -> None:
    with answering(200, b"true") as url, temporary_settings({PREFECT_API_URL: url}):
        ready_prefect()


def test_a_server_that_takes_connections_and_stays_silent_is_given_up_within_ten_seconds() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        began = time.monotonic()
        error = refused(f"http://127.0.0.1:{listener.getsockname()[1]}/api")
        assert time.monotonic() - began < 10
    assert (error.exit_code, "does not answer in time" in str(error)) == (69, True)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://user:canary@127.0.0.1:9/api", "Prefect at http://127.0.0.1:9/api/ does not answer; start it"),
        ("http://prefect.invalid:4200/api", "whose name leads nowhere"),
        ("https://api.prefect.cloud/api/accounts/a/workspaces/b", "run prefect cloud login"),
    ],
)
def test_an_address_with_nothing_there_is_told(url: str, words: str) -> None:
    error = refused(url)
    assert (error.exit_code, words in str(error)) == (69, True), str(error)


def test_without_server_and_without_embedded_one_the_switch_is_named() -> None:
    with temporary_settings({PREFECT_SERVER_EPHEMERAL_ENABLED: False}, restore_defaults=[PREFECT_API_URL]):
        with pytest.raises(CarryoverError, match="PREFECT_SERVER_EPHEMERAL_ENABLED=true") as raised:
            ready_prefect()
        assert raised.value.exit_code == 69


def test_the_profile_of_the_cloud_without_login_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.context import get_settings_context
    from prefect.settings import Profile

    context = get_settings_context()
    cloud = context.model_copy(update={"profile": Profile(name="cloud", settings={})})
    monkeypatch.setattr("prefect.context.get_settings_context", lambda: cloud)
    with temporary_settings({PREFECT_SERVER_EPHEMERAL_ENABLED: False}, restore_defaults=[PREFECT_API_URL]):
        with pytest.raises(CarryoverError, match="prefect cloud login") as raised:
            ready_prefect()
        assert raised.value.exit_code == 69


def made(path: Path, revision: str | None = None) -> Path:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.executemany("INSERT INTO alembic_version VALUES (?)", [(revision,)] if revision else [])
        database.execute(
            "CREATE TABLE run AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 9999)"
            " SELECT i, hex(randomblob(20)) FROM n"
        )
        database.commit()
    return path


def test_a_sound_database_is_taken_and_so_is_none(tmp_path: Path) -> None:
    check_database(made(tmp_path / "with # and ?.db"))
    check_database(tmp_path / "none.db")
    (tmp_path / "empty.db").touch()
    check_database(tmp_path / "empty.db")


@pytest.mark.parametrize("how", ["text", "cut", "page"])
def test_a_damaged_database_is_an_integrity_failure(tmp_path: Path, how: str) -> None:
    path = made(tmp_path / "prefect.db")
    data = bytearray(path.read_bytes())
    if how == "page":
        data[8192 : 8192 + 4096] = b"\xa5" * 4096
    path.write_bytes({"text": b"not a database, but long enough" * 40, "cut": data[: len(data) // 2]}.get(how, data))
    with pytest.raises(CarryoverError, match=r"prefect\.db is damaged; move it away") as raised:
        check_database(path)
    assert raised.value.exit_code == 76


def test_a_locked_database_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_api, "LOCK_SECONDS", 0.1)
    path = made(tmp_path / "prefect.db")
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(CarryoverError, match="is locked by another process") as raised:
            check_database(path)
    assert raised.value.exit_code == 75


def test_the_database_of_a_newer_prefect_is_told(tmp_path: Path) -> None:
    with pytest.raises(CarryoverError, match="made by a newer Prefect") as raised:
        check_database(made(tmp_path / "prefect.db", "f" * 12))
    assert raised.value.exit_code == 69


def test_the_home_that_is_used_is_checked(tmp_path: Path) -> None:
    (tmp_path / "prefect.db").write_bytes(b"not a database, but long enough" * 40)
    changes = {
        PREFECT_HOME: tmp_path,
        PREFECT_SERVER_EPHEMERAL_ENABLED: True,
        PREFECT_SERVER_DATABASE_CONNECTION_URL: f"sqlite+aiosqlite:///{tmp_path}/prefect.db",
    }
    with temporary_settings(changes, restore_defaults=[PREFECT_API_URL]):
        with pytest.raises(CarryoverError) as raised:
            ready_prefect()
        assert raised.value.exit_code == 76


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ConnectError("All connection attempts failed"), "went away; finished stages are kept"),
        (httpx.ReadError(""), "went away; finished stages are kept"),
        (RuntimeError("Unable to find an available port after multiple attempts"), "no free port from 8000 to 8999"),
        (
            RuntimeError("Timed out while attempting to connect to ephemeral Prefect API server."),
            "did not start within",
        ),
        (ValueError("No Prefect API URL provided. Please set"), "set PREFECT_API_URL"),
        (ImportError("Using SOCKS proxy, but the 'socksio' package is not installed."), "pip install 'httpx[socks]'"),
    ],
)
def test_what_a_flow_meets_later_has_its_line_too(error: Exception, words: str) -> None:
    found = prefect_reason(error)
    assert found is not None
    assert (found.exit_code, words in str(found)) == (69, True), str(found)


def test_an_error_of_something_else_is_left_to_others() -> None:
    assert prefect_reason(ValueError("series 401 of 500 timed out")) is None


def test_an_embedded_server_that_cannot_start_is_started_three_times_and_then_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    dead = [sys.executable, "-c", "import sys; print('database is locked'); sys.exit(3)"]
    monkeypatch.setattr(servers.EmbeddedServer, "started", 0)
    for attempt in range(servers.EMBEDDED_STARTS):
        process = servers.EmbeddedServer(dead)
        process.wait()
        if attempt + 1 < servers.EMBEDDED_STARTS:
            assert process.poll() == 3
    with pytest.raises(RuntimeError, match="ended by itself") as raised:
        process.poll()
    found = prefect_reason(raised.value)
    assert found is not None
    assert (found.exit_code, "is locked" in str(found)) == (75, True)


def test_an_embedded_server_that_is_ended_says_nothing() -> None:
    import sys

    process = servers.EmbeddedServer([sys.executable, "-c", "import time; time.sleep(300)"])
    process.terminate()
    process.wait()
    assert process.poll() == -15
