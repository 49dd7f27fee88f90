"""The forecast stage: a model and fresh series in, a Parquet file of deciles out, atomically."""

import io
from pathlib import Path

import polars as pl
from prefect import task

from rnn_model.artefact import open_checked, write_file
from rnn_model.checkpoint import load_model
from rnn_model.errors import ConfigError, DataError
from rnn_model.forecasting import check_horizon
from tasks.forecaster import check_freq, forecast_frame, usable_series
from tasks.frequency import ANY
from tasks.handles import Dataset, Forecast
from tasks.progress import show_table
from tasks.series_config import TargetConfig


@task
def write_forecast(dataset: Dataset, config: TargetConfig, model: Path, horizon: int, output: Path) -> Forecast:
    """Continue every series of a data set and write unique_id, ds, cutoff, y_hat and the deciles to `output`."""
    made = forecast_dataset(dataset, config, model, horizon, output)
    rows = [{"series": made.series, "rows": made.rows, "left out": len(made.left_out), "file": str(made.output)}]
    show_table(table=rows, key="forecast", description=f"{dataset.name}, {horizon} steps from each series' end")
    return made


def forecast_dataset(dataset: Dataset, config: TargetConfig, model: Path, horizon: int, output: Path) -> Forecast:
    """As `write_forecast`. Series that cannot be forecast are named in the result; `output` is whole or untouched."""
    network, card = load_model(model)
    if card.freq == ANY:
        card = card.model_copy(update={"freq": dataset.freq, "periods": dataset.periods, "gaps": dataset.gaps})
    check_freq(card, dataset.freq)
    check_same("gaps", card.gaps, dataset.gaps)
    check_same("season", card.periods[0], dataset.periods[0])
    check_horizon(card.horizon, horizon)
    open_checked(dataset.folder)
    used, quarantine = usable_series(pl.read_parquet(dataset.data), card)
    share = quarantine.height / (quarantine.height + used["unique_id"].n_unique())
    if share > config.max_quarantined:
        raise DataError(
            f"{dataset.name}: {quarantine.height} series cannot be forecast, a share of {share:.0%} (allowed: "
            f"{config.max_quarantined:.0%}): {', '.join(sorted(set(quarantine['rule'])))}; mend the data, or raise "
            "--target.max_quarantined"
        )
    frame = forecast_frame(network, card, used, horizon)
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    write_file(output, buffer.getvalue())
    left_out = dict(quarantine.select("unique_id", "rule").iter_rows())
    return Forecast(output=output, rows=frame.height, series=used["unique_id"].n_unique(), left_out=left_out)


def check_same(option: str, made: object, given: object) -> None:
    """A model forecasts as it was trained; an option that says otherwise is refused, not ignored."""
    if made != given:
        raise ConfigError(
            f"the model was made with {option} {made}, the target has {given}; use --target.{option} {made}"
        )
