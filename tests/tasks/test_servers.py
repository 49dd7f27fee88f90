"""Servers are known again by more than their number, and a port that is taken is named."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rnn_model.errors import ServiceError
from tasks import servers
from tasks.servers import Server, check_port, end, launch, record, recorded, store_behind, wait_for

SLEEP = (sys.executable, "-c", "import time; time.sleep(300)")


@pytest.fixture
def sleeper() -> Iterator[Server]:
    """A process that does nothing, and is gone after the test."""
    server = launch("Sleeper", SLEEP, {}, {"url": "http://127.0.0.1:9", "store": "sqlite:////mlflow.db"})
    yield server
    end(server)


def test_a_server_is_ended_once(sleeper: Server) -> None:
    assert [end(sleeper), end(sleeper)] == [True, False]


def test_a_server_that_goes_by_itself_while_it_is_ended_stops_nothing(
    sleeper: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(process: psutil.Process, *_: object) -> None:
        os.kill(process.pid, 9)
        raise psutil.NoSuchProcess(process.pid)

    monkeypatch.setattr(psutil.Process, "send_signal", gone)
    assert end(sleeper)
    assert sleeper.process is None


@pytest.mark.parametrize("change", [{"command": ("another",)}, {"started": 1e9}])
def test_a_process_that_got_the_number_of_a_dead_server_is_left_alone(
    sleeper: Server, change: dict[str, object]
) -> None:
    assert not end(sleeper.model_copy(update=change))
    assert sleeper.process is not None


def test_what_was_written_down_is_found_again(sleeper: Server) -> None:
    record([sleeper])
    assert recorded() == (sleeper,)


def test_the_store_behind_a_server_of_the_data_folder_is_known(sleeper: Server) -> None:
    record([sleeper])
    assert store_behind("http://127.0.0.1:9/") == store_behind("http://localhost:9") == "sqlite:////mlflow.db"
    assert store_behind("http://127.0.0.1:10") == "http://127.0.0.1:10"


def test_behind_the_address_of_a_server_that_is_no_more_nothing_is_known(sleeper: Server) -> None:
    record([sleeper])
    end(sleeper)
    assert store_behind("http://127.0.0.1:9") == "http://127.0.0.1:9"


def test_a_port_in_use_is_named_with_its_option() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=rf"port {port} .*--mlflow_port") as raised:
            check_port(port, "mlflow_port")
    assert raised.value.exit_code == 69


def test_a_server_that_ends_by_itself_is_told_with_its_log() -> None:
    server = launch("Short", (sys.executable, "-c", ""), {}, {})
    with pytest.raises(ServiceError, match=r"Short ended by itself; see .*short\.log"):
        wait_for({"Short": lambda: False}, [server], lambda _: None)


def test_a_server_that_does_not_answer_in_time_is_told(sleeper: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "START_SECONDS", 0.1)
    with pytest.raises(ServiceError, match="Sleeper does not answer"):
        wait_for({"Sleeper": lambda: False}, [sleeper], lambda _: None)


def test_a_log_is_closed_to_others(sleeper: Server, data_folder: Path) -> None:
    assert (data_folder / "services" / "sleeper.log").stat().st_mode & 0o077 == 0
