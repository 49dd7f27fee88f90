"""This machine's own addresses are reached without the proxy, all others through it."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.request import proxy_bypass_environment

import httpx
import pytest
import requests

from tasks.proxies import spare_loopback

DEAD = "http://127.0.0.1:9"  # nothing listens there
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
OURS = "127.0.0.1,localhost,::1"


@pytest.mark.parametrize(
    ("before", "lower", "upper"),
    [
        ({}, OURS, OURS),
        ({"NO_PROXY": ""}, OURS, OURS),
        ({"NO_PROXY": "intra.corp"}, f"intra.corp,{OURS}", f"intra.corp,{OURS}"),
        ({"no_proxy": "a, localhost "}, "a,localhost,127.0.0.1,::1", "a,localhost,127.0.0.1,::1"),
        ({"no_proxy": "a", "NO_PROXY": "b"}, f"a,{OURS}", f"b,{OURS}"),
        ({"no_proxy": "*"}, "*", "*"),
        ({"no_proxy": OURS, "NO_PROXY": OURS}, OURS, OURS),
    ],
)
def test_loopback_is_added_to_what_stands_there(before: dict[str, str], lower: str, upper: str) -> None:
    environment = dict(before)
    spare_loopback(environment)
    assert (environment["no_proxy"], environment["NO_PROXY"]) == (lower, upper)


@pytest.mark.parametrize("declared", [{}, {"NO_PROXY": "intra.corp"}, {"no_proxy": "intra.corp"}])
def test_every_client_goes_to_this_machine_directly_and_elsewhere_through_the_proxy(
    declared: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (dict.fromkeys(VARIABLES, DEAD) | declared).items():
        monkeypatch.setenv(name, value)
    spare_loopback(os.environ)
    client = httpx.Client()
    for host in ("127.0.0.1", "localhost", "[::1]"):
        assert client._transport_for_url(httpx.URL(f"http://{host}:4200/api")) is client._transport
        assert not requests.utils.get_environ_proxies(f"http://{host}:5000/health")
    assert proxy_bypass_environment("127.0.0.1:4200")
    assert client._transport_for_url(httpx.URL("http://mlflow.corp:5000")) is not client._transport
    assert requests.utils.get_environ_proxies("https://mlflow.corp")["https"] == DEAD


@pytest.mark.slow
def test_a_flow_on_the_embedded_server_runs_behind_a_dead_proxy(tmp_path: Path) -> None:
    """Called from Python, without the command line."""
    script = (
        "from flows.definition import flow\n"
        "@flow(name='nothing')\n"
        "def nothing() -> int:\n"
        "    return 7\n"
        "print('got', nothing())\n"
    )
    environment = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"}
    environment |= dict.fromkeys(VARIABLES, DEAD)
    environment |= {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
    environment |= {"PYTHONPATH": os.pathsep.join(["", *sys.path]), "CARRYOVER_HOME": str(tmp_path / "data")}
    program = tmp_path / "program.py"
    program.write_text(script)
    done = subprocess.run(
        [sys.executable, str(program)], env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert (done.returncode, done.stdout) == (0, "got 7\n"), done.stderr
