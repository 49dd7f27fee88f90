"""The database that a team shares: its address is never shown, and a server that is not there is named."""

import socket
import time
from pathlib import Path

import pytest

from rnn_model.errors import ConfigError, ServiceError
from tasks.ledger import read_ledger
from tasks.team import VARIABLE, database_url, is_shared


@pytest.mark.parametrize(
    "address",
    ["canary", "mysql://me:canary@host/db", "postgresql://me:canary@host", "postgresql:///db?password=canary"],
)
def test_an_address_that_is_none_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv(VARIABLE, address)
    with pytest.raises(ConfigError, match=f"{VARIABLE} is not an address") as raised:
        database_url()
    assert "canary" not in str(raised.value)


def test_without_the_variable_nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert not is_shared()


def test_a_database_that_is_down_is_named_within_ten_seconds_and_without_the_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    monkeypatch.setenv(VARIABLE, f"postgresql://me:canary@127.0.0.1:{port}/carryover")
    started = time.monotonic()
    with pytest.raises(ServiceError, match=rf"PostgreSQL at 127\.0\.0\.1:{port}/carryover failed") as raised:
        read_ledger(tmp_path / "store" / "sales.ledger.jsonl")
    assert time.monotonic() - started < 10
    assert raised.value.exit_code == 69
    assert "canary" not in str(raised.value)
