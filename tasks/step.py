"""A step of a flow: a Prefect task while a flow run is under way, the plain function everywhere else."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property, update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from rnn_model.masking import masks_errors

if TYPE_CHECKING:
    from prefect import Task

P = ParamSpec("P")
R = TypeVar("R")
SHOW_RETRIES = 3  # with pauses of 14 s together; Prefect's own five take a minute for each thing that is shown
PAUSE_SECONDS = 300.0  # in which nothing is shown, after a server was gone
_pause = {"until": 0.0}  # of this process, in time.monotonic()
_plain_flow: ContextVar[str | None] = ContextVar("plain flow", default=None)


class Step(Generic[P, R]):
    """A function that Prefect records where Prefect runs the flow; otherwise nothing of Prefect is imported."""

    def __init__(self, fn: Callable[P, R], options: dict[str, Any]) -> None:
        self.fn, self.options = fn, options
        update_wrapper(self, fn)

    @cached_property
    def task(self) -> "Task[P, R]":
        """The Prefect task."""
        from prefect import task

        made: Task[P, R] = task(**self.options)(masks_errors(self.fn))  # Prefect keeps the errors of its tasks
        return made

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call it, as a task where a flow run is under way."""
        return self.task(*args, **kwargs) if in_flow_run() else self.fn(*args, **kwargs)


@overload
def step(fn: Callable[P, R]) -> Step[P, R]: ...
@overload
def step(**options: Any) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(fn: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Make a step of a function; options are those of Prefect's `task`."""
    return Step(fn, {}) if fn is not None else lambda own: Step(own, options)


def in_flow_run() -> bool:
    """Whether Prefect runs the flow that called."""
    if "prefect" not in sys.modules:
        return False
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None


@contextmanager
def plainly(name: str) -> Iterator[None]:
    """Run a flow's function for a `with` block without Prefect; `name` is what the flow is called."""
    token = _plain_flow.set(name)
    try:
        yield
    finally:
        _plain_flow.reset(token)


def flow_name() -> str | None:
    """The name of the flow that is under way, with Prefect or without; None outside of one."""
    if not in_flow_run():
        return _plain_flow.get()
    from prefect.runtime import flow_run

    return str(flow_run.flow_name)


def show_artifact(kind: str, key: str, **content: Any) -> None:
    """A table, text or link on the flow run's page, where there is one.

    A server that went away costs what is shown, not the work.
    """
    if not in_flow_run():
        return
    import httpx
    from prefect import artifacts, get_run_logger
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    if time.monotonic() < _pause["until"]:
        return
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: SHOW_RETRIES}):
            getattr(artifacts, f"create_{kind}_artifact")(key=key, **content)
    except httpx.HTTPError as error:
        _pause["until"] = time.monotonic() + PAUSE_SECONDS
        get_run_logger().warning("artifact %s was not stored: %s", key, error)
