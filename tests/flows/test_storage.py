"""What Prefect stores of a flow, one that fails or one that ends, is no pickle."""

import json
import pickletools
from base64 import b64decode
from pathlib import Path

import prefect
import pytest
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, PREFECT_RESULTS_PERSIST_BY_DEFAULT, temporary_settings

from flows.commands import COMMANDS, Plain
from flows.definition import flow
from rnn_model.errors import DataError

pytestmark = pytest.mark.usefixtures("prefect_server")


@flow(name="fails")
def fails() -> None:
    """Fails."""
    raise DataError("sales.csv: no such file")


@flow(name="ends")
def ends() -> dict[str, str]:
    """Ends."""
    return {"path": "forecast.parquet"}


def is_pickle(data: bytes) -> bool:
    """Whether all of it is the opcodes of a pickle, as it is or in base64."""
    for given in (data, b64decode(data + b"===", validate=False)):
        try:
            list(pickletools.genops(given))
        except Exception:  # noqa: BLE001  (it raises what it meets)
            continue
        return True
    return False


@pytest.mark.parametrize("persist", [False, True])
def test_no_pickle_is_stored(tmp_path: Path, persist: bool) -> None:
    changes = {PREFECT_LOCAL_STORAGE_PATH: tmp_path, PREFECT_RESULTS_PERSIST_BY_DEFAULT: persist}
    with temporary_settings(changes):
        with pytest.raises(DataError, match="no such file"):
            fails()
        assert ends() == {"path": "forecast.parquet"}
    stored = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(is_pickle(data) for data in stored)
    assert [json.loads(data) for data in stored] == [
        {"__exc_type__": "rnn_model.errors.DataError", "message": "sales.csv: no such file"}
    ]


def test_what_prefect_stores_by_itself_is_a_pickle(tmp_path: Path) -> None:
    """Else the test above would find none in any case."""

    @prefect.flow
    def plain() -> None:
        raise DataError("sales.csv: no such file")

    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path}), pytest.raises(DataError):
        plain()
    assert [is_pickle(path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()] == [True]


@pytest.mark.parametrize("name", [name for name, made in COMMANDS.items() if not isinstance(made, Plain)])
def test_every_flow_is_made_the_same_way(name: str) -> None:
    made = COMMANDS[name]
    assert not isinstance(made, Plain)
    assert (made.persist_result, made.result_serializer) == (False, "json")
    assert [hook.__name__ for hook in made.on_running_hooks] == ["take_over"]
