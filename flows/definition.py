"""What every flow here has in common, in the place of Prefect's own decorator."""

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

import prefect

from tasks.killed import take_over

P = ParamSpec("P")
R = TypeVar("R")


class Decorator(Protocol):
    """Turns a function into a flow of the same parameters."""

    def __call__(self, function: Callable[P, R], /) -> "prefect.Flow[P, R]": ...


def flow(*, name: str) -> Decorator:
    """A flow that says which process runs it, closes what killed processes left open, and stores no pickle.

    Prefect stores the exception of every failed flow, as a pickle unless a serializer is named; and a named one would
    store results too, unless that is refused.
    """
    made: Decorator = prefect.flow(name=name, persist_result=False, result_serializer="json", on_running=[take_over])
    return made
