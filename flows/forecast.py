"""Forecasting alone: every series of a target continued from its end."""

from pathlib import Path

from prefect import flow

from tasks.checks import check_output
from tasks.config import BASE, HorizonConfig, TrackingConfig
from tasks.forecast import write_forecast
from tasks.handles import Forecast
from tasks.ingest import ingest
from tasks.pretrain import start_from
from tasks.series_config import TargetConfig


@flow(name="forecast")
def forecast(
    output: Path,
    model: str = BASE,
    target: TargetConfig = TargetConfig(),
    window: HorizonConfig = HorizonConfig(),
    tracking: TrackingConfig = TrackingConfig(),
) -> Forecast:
    """Forecast every series of a target with a model and write unique_id, ds, cutoff, y_hat and the deciles.

    Args:
        output: the Parquet file to write
        model: what forecasts: base, a model folder, an MLflow address (models:/, runs:/) or a run id
        target: your series
        window: how far ahead to forecast
        tracking: where models are looked up
    """
    check_output(output)
    target = target.resolved()
    chosen = start_from(model, tracking)
    return write_forecast(ingest(target, target.name), target, chosen.folder, window.horizon, output)
