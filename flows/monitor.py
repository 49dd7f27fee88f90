"""Monitoring: published forecasts held against the truth that has come in since."""

from flows.definition import flow
from tasks.config import MonitorConfig, TrackingConfig
from tasks.ingest import ingest
from tasks.monitor import monitor_forecasts
from tasks.series_config import TargetConfig
from tasks.tracking import tracked
from tasks.validate import validate
from tasks.watch import Monitored


@flow(name="monitor")
def monitor(
    target: TargetConfig = TargetConfig(),
    monitor: MonitorConfig = MonitorConfig(),
    tracking: TrackingConfig = TrackingConfig(),
) -> Monitored:
    """Hold the published forecasts of a target against the truth that has come since, and against what was promised.

    Args:
        target: your series, with the truth in them
        monitor: when accuracy counts as worse than promised
        tracking: where runs are logged and models are registered
    """
    target = target.resolved()
    sections = {"target": target, "monitor": monitor, "tracking": tracking}
    with tracked(tracking, target.name, f"{target.name} monitor", sections) as run:
        raw = ingest(target, target.name)
        # a series that ended since is judged by what was forecast before its end
        truth = validate(raw, target.model_copy(update={"ended": "keep"}), 1, 1)
        return monitor_forecasts(raw, truth, target, monitor, tracking, run)
