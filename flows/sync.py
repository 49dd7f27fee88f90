"""What MLflow could not be given while it was away, sent. No flow: it needs no Prefect."""

from tasks.config import TrackingConfig
from tasks.sync import Synced, send_all


def sync(tracking: TrackingConfig = TrackingConfig()) -> Synced:
    """Send to MLflow what was kept while it was away, and say what is left.

    Args:
        tracking: where runs are logged; other stores of which something waits are tried without credentials
    """
    return send_all(tracking)
