"""The champion before the present one, back in its place."""

from typing import Annotated

from pydantic import Field

from flows.definition import flow
from tasks.champion import roll_back
from tasks.config import TrackingConfig
from tasks.handles import Promotion


@flow(name="rollback")
def rollback(
    name: Annotated[str, Field(min_length=1)],
    version: Annotated[int, Field(ge=1)] | None = None,
    reason: Annotated[str, Field(max_length=500)] = "asked for by hand",
    tracking: TrackingConfig = TrackingConfig(),
) -> Promotion:
    """Move @champion of a registered model back to the version that was champion before, or to one by number.

    Args:
        name: the registered model, named after its target
        version: number of the version; none: the champion before the present one
        reason: what the ledger says about it
        tracking: where models are registered
    """
    return roll_back(name, version, reason, tracking)
