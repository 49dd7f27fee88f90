"""A step: a Prefect task within a flow run, the plain function anywhere else."""

import subprocess
import sys

import httpx
import pytest
from prefect import flow
from prefect.context import TaskRunContext

from tasks import step as steps
from tasks.step import flow_name, in_flow_run, plainly, show_artifact, step


@step
def doubled(number: int) -> tuple[int, bool]:
    """Twice a number, and whether Prefect recorded that."""
    return 2 * number, TaskRunContext.get() is not None


@flow(name="twice")
def twice(number: int) -> tuple[int, bool, str | None]:
    """A flow of one step."""
    return *doubled(number), flow_name()


def test_outside_of_a_flow_run_it_is_the_function() -> None:
    assert doubled(2) == (4, False)
    assert not in_flow_run()
    assert doubled.__name__ == "doubled"


@pytest.mark.usefixtures("prefect_server")
def test_within_a_flow_run_it_is_a_task() -> None:
    assert twice(2) == (4, True, "twice")


@pytest.mark.usefixtures("prefect_server")
def test_a_flows_function_alone_is_no_flow_run() -> None:
    with plainly("twice"):
        assert twice.fn(2) == (4, False, "twice")
    assert flow_name() is None


def test_without_a_page_nothing_is_shown() -> None:
    show_artifact("table", "key", table=[{"a": 1}], description="words")


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    "error", [httpx.ConnectError("gone"), httpx.HTTPStatusError("503", request=None, response=None)]
)
def test_a_server_that_went_away_costs_one_wait_and_not_the_work(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def gone(**content: object) -> None:
        asked.append(str(content["key"]))
        raise error

    monkeypatch.setattr("prefect.artifacts.create_table_artifact", gone)
    monkeypatch.setattr(steps, "_pause", {"until": 0.0})

    @flow
    def shows() -> int:
        for key in ("first", "second", "third"):
            show_artifact("table", key, table=[{"a": 1}], description="words")
        return 7

    assert shows() == 7
    assert asked == ["first"]


def test_the_steps_import_nothing_of_prefect() -> None:
    heavy = "import tasks.ingest, tasks.validate, tasks.forecast, tasks.monitor, tasks.compare, sys"
    done = subprocess.run(
        [sys.executable, "-c", f"{heavy}; print('prefect' in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
