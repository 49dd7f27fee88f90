"""Probes of servers, against small ones of the tests' own: answers, refusals, versions, and no secret in any word."""

import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from threading import Thread

import pytest

from tasks import reachable
from tasks.finding import AWAY, DENIED, SETTING, Finding
from tasks.reachable import check_database, check_mlflow, check_prefect, prefect_settings, prefect_store, shown

Pages = dict[str, tuple[int, str]]
Serve = Callable[[Pages], str]
ASKED: list[str | None] = []  # the Authorization of each request
OWN = {name: metadata.version(name) for name in ("mlflow", "prefect")}
REGISTRY = "/api/2.0/mlflow/registered-models/search?max_results=1"
MLFLOW: Pages = {"/health": (200, "OK"), "/version": (200, OWN["mlflow"]), REGISTRY: (200, "{}")}
PREFECT: Pages = {"/api/health": (200, "true"), "/api/admin/version": (200, f'"{OWN["prefect"]}"')}


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """A server of some pages on this machine, though a proxy is set that leads nowhere."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    servers: list[ThreadingHTTPServer] = []
    ASKED.clear()

    def call(pages: Pages) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                ASKED.append(self.headers.get("Authorization"))
                status, text = pages.get(self.path, (404, "<html>"))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield call
    for server in servers:
        server.shutdown()
        server.server_close()


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def prefect(url: str, **settings: str) -> Finding:
    return check_prefect({"PREFECT_API_URL": url} | settings)


def mlflow(uri: str, **environment: str) -> Finding:
    """The first finding that is not as it should be, else the last."""
    lines = check_mlflow(uri, environment)
    return next((line for line in lines if line.state != "ok"), lines[-1])


def test_servers_that_answer_in_the_clients_version_are_as_they_should_be(serve: Serve) -> None:
    url = serve(PREFECT)
    assert prefect(f"{url}/api").found == f"{url} answers, prefect {OWN['prefect']} as here"
    url = serve(MLFLOW)
    assert [line.part for line in check_mlflow(url, {})] == ["MLflow", "registry"]
    assert mlflow(url).found == f"{url} answers"


def test_a_server_of_another_version_is_named_with_both(serve: Serve) -> None:
    url = serve(PREFECT | {"/api/admin/version": (200, '"3.0.1"')})
    found = prefect(f"{url}/api")
    assert (found.state, found.found) == ("wrong", f"{url} runs prefect 3.0.1, here is {OWN['prefect']}")
    assert found.remedy == f"on the server: pip install -c constraints.txt prefect=={OWN['prefect']}"
    assert mlflow(serve(MLFLOW | {"/version": (200, "2.9.2")})).code == AWAY
    assert mlflow(serve(MLFLOW | {"/version": (404, "")})).state == "warning"


def test_a_server_that_is_away_is_told_with_what_to_do() -> None:
    port = closed_port()
    found = prefect(f"http://127.0.0.1:{port}/api")
    assert (found.code, found.found) == (AWAY, f"http://127.0.0.1:{port}: Connection refused")
    assert "unset PREFECT_API_URL" in found.remedy
    assert mlflow(f"http://127.0.0.1:{port}").code == AWAY
    assert mlflow("http://no-such-host.invalid").found.endswith(": its host name is not known")


def test_a_server_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachable, "SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert prefect(f"{url}/api").found == f"{url}: no answer within 0.3 s"
        assert mlflow(url).code == AWAY


@pytest.mark.parametrize("page", [(200, "<html>welcome"), (500, ""), (200, "")])
def test_something_else_at_the_address_is_no_server(serve: Serve, page: tuple[int, str]) -> None:
    assert prefect(f"{serve({'/api/health': page})}/api").code == AWAY
    assert mlflow(serve({"/health": page})).code == AWAY


def test_an_address_without_its_api_is_told(serve: Serve) -> None:
    found = prefect(serve(PREFECT))
    assert (found.code, found.remedy) == (SETTING, "export PREFECT_API_URL=http://HOST:PORT/api")
    assert prefect("127.0.0.1:4200/api").code == SETTING


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_refuses_the_user_is_no_permission(serve: Serve, status: int) -> None:
    assert prefect(f"{serve({'/api/health': (status, '')})}/api").code == DENIED
    assert prefect(f"{serve(PREFECT | {'/api/admin/version': (status, '')})}/api").code == DENIED
    assert mlflow(serve({"/health": (status, "")})).code == DENIED
    found = mlflow(serve(MLFLOW | {REGISTRY: (status, "")}))
    assert (found.part, found.code) == ("registry", DENIED)


@pytest.mark.parametrize("page", [(500, ""), (200, "<html>")])
def test_a_registry_that_fails_may_have_an_older_schema(serve: Serve, page: tuple[int, str]) -> None:
    found = mlflow(serve(MLFLOW | {REGISTRY: page}))
    assert (found.part, found.code) == ("registry", AWAY)
    assert "mlflow db upgrade" in found.remedy


def test_credentials_are_sent_and_never_shown(serve: Serve) -> None:
    with_user = serve(MLFLOW).replace("://", "://me:SE%40CRET@")
    basic = reachable.basic("me", "SE@CRET")["Authorization"]
    assert "CRET" not in str(check_mlflow(with_user, {}))
    assert set(ASKED) == {basic}
    ASKED.clear()
    assert "CRET" not in str(prefect(f"{serve(PREFECT).replace('://', '://me:SE%40CRET@')}/api"))
    assert "CRET" not in str(prefect(f"{serve(PREFECT)}/api", PREFECT_API_AUTH_STRING="me:SE@CRET"))
    assert set(ASKED) == {basic}
    ASKED.clear()
    assert mlflow(serve(MLFLOW), MLFLOW_TRACKING_TOKEN="SECRET").state == "ok"
    assert prefect(f"{serve(PREFECT)}/api", PREFECT_API_KEY="SECRET").state == "ok"
    assert set(ASKED) == {"Bearer SECRET"}


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://me:SECRET@host:5000/SECRET?SECRET", "http://host:5000"),
        ("http://me:SEC/RET@host", "http://..."),
        ("postgresql://me:SECRET@[::1]:5432/x", "postgresql://[::1]:5432"),
        ("http://host:SECRET", "http://host"),
        ("SECRET", "an address"),
    ],
)
def test_an_address_is_shown_as_scheme_host_and_port_alone(address: str, words: str) -> None:
    assert shown(address) == words


def test_a_database_is_asked_for_a_connection_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"postgresql+psycopg2://me:SECRET@127.0.0.1:{server.getsockname()[1]}/mlflow"
        found = check_database("database", uri, "CARRYOVER_DATABASE")
    assert found.state == "ok"
    assert "SECRET" not in str(found)
    assert mlflow(f"postgresql://me:SECRET@127.0.0.1:{closed_port()}/mlflow").code == AWAY


@pytest.mark.parametrize(
    ("uri", "state"),
    [("sqlite:////a.db", "ok"), ("mlruns", "warning"), ("file:///a", "warning"), ("ftp://a", "warning")],
)
def test_a_store_without_a_server_is_told_as_what_it_is(uri: str, state: str) -> None:
    assert mlflow(uri).state == state


def test_prefects_settings_are_the_active_profiles_under_the_environment(tmp_path: Path) -> None:
    home = {"PREFECT_HOME": str(tmp_path)}
    assert prefect_settings(home) == home
    profiles = (
        'active = "team"\n[profiles.team]\nPREFECT_API_URL = "http://a/api"\n[profiles.other]\nPREFECT_API_KEY = "k"\n'
    )
    (tmp_path / "profiles.toml").write_text(profiles)
    assert prefect_settings(home)["PREFECT_API_URL"] == "http://a/api"
    assert prefect_settings(home | {"PREFECT_API_URL": "http://b/api"})["PREFECT_API_URL"] == "http://b/api"
    assert prefect_settings(home | {"PREFECT_PROFILE": "other"})["PREFECT_API_KEY"] == "k"
    (tmp_path / "profiles.toml").write_text("not [ toml")
    assert prefect_settings(home) == home


def test_without_a_server_prefects_own_is_used_unless_that_is_forbidden() -> None:
    assert check_prefect({}).state == "ok"
    assert check_prefect({"PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false"}).code == SETTING
    assert check_prefect({"PREFECT_API_URL": "https://api.prefect.cloud/api/accounts/1"}).code == DENIED


def test_the_file_of_prefects_own_server_is_found(tmp_path: Path) -> None:
    variable = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
    assert prefect_store({"PREFECT_HOME": str(tmp_path)}) == tmp_path / "prefect.db"
    assert prefect_store({variable: "sqlite+aiosqlite:////a/b.db"}) == Path("/a/b.db")
    assert prefect_store({variable: "postgresql+asyncpg://me:SECRET@host/p"}) is None
    assert prefect_store({"PREFECT_API_URL": "http://a/api"}) is None
