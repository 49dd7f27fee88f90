"""Forecasting: every series of a target continued from its end by one model, published and logged."""

from pathlib import Path

from flows.definition import flow
from tasks.checks import check_output
from tasks.config import BASE, ForecastConfig, StepsConfig, TrackingConfig
from tasks.forecast import copy_forecast, pin_model, publish_forecasts
from tasks.handles import Forecast
from tasks.ingest import ingest
from tasks.series_config import TargetConfig


@flow(name="forecast")
def forecast(
    model: str = BASE,
    target: TargetConfig = TargetConfig(),
    window: StepsConfig = StepsConfig(),
    forecast: ForecastConfig = ForecastConfig(),
    tracking: TrackingConfig = TrackingConfig(),
    output: Path | None = None,
    force: bool = False,
) -> Forecast:
    """Forecast every series of a target with a model and publish unique_id, ds, cutoff, y_hat, the deciles and path.

    Args:
        model: base, champion (the target's), a model folder, an MLflow address (models:/, runs:/) or a run id
        target: your series
        window: how far ahead to forecast
        forecast: how odd series are answered, and in which files
        tracking: where models are looked up
        output: a copy of the published forecasts, .parquet or .csv
        force: publish again what was published already
    """
    check_output(output)
    target = target.resolved()
    pinned = pin_model(model, target.title, tracking)
    made = publish_forecasts(ingest(target, target.name), target, pinned, window, forecast, force)
    return copy_forecast(made, output) if output else made
