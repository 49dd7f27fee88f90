"""A past run made again from its receipt, and compared with what it gave."""

from pathlib import Path

from flows.definition import flow
from tasks.config import TrackingConfig
from tasks.replay import Replay, Tolerance, fetch_receipt, find_changes, give_verdict, run_again
from tasks.tracking import tracked


@flow(name="replay")
def replay(
    run: str,
    tolerance: Tolerance = 1e-6,
    folder: Path | None = None,
    tracking: TrackingConfig = TrackingConfig(),
) -> Replay:
    """Run a past run again from its receipt, in an empty place of its own, and say whether it comes out the same.

    Args:
        run: id of the MLflow run to repeat, whole or its first 6 digits
        tolerance: relative difference that losses and metrics may have
        folder: a new folder to keep the repeated run in; none: it is removed
        tracking: where the run is, and where the replay is logged
    """
    receipt = fetch_receipt(run, tracking)
    changed = find_changes(receipt)
    sections = {"run": run, "tolerance": tolerance, "tracking": tracking}
    with tracked(tracking, "replay", f"replay of {run}", sections) as own:
        return give_verdict(receipt, run_again(receipt, folder, tracking), changed, tolerance, own)
