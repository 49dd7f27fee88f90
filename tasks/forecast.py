"""The forecast stage: a model and fresh series in, a Parquet file of deciles out, atomically."""

import io
from pathlib import Path

import polars as pl
from prefect import task
from prefect.artifacts import create_table_artifact

from rnn_model.artefact import open_checked, write_file
from rnn_model.checkpoint import load_model
from rnn_model.errors import ConfigError
from rnn_model.forecasting import check_horizon
from tasks.forecaster import check_freq, forecast_frame, usable_series
from tasks.handles import Dataset, Forecast


@task
def write_forecast(dataset: Dataset, model: Path, horizon: int, output: Path) -> Forecast:
    """Continue every series of a data set and write unique_id, ds, cutoff, y_hat and the deciles to `output`."""
    made = forecast_dataset(dataset, model, horizon, output)
    rows = [{"series": made.series, "rows": made.rows, "left out": len(made.left_out), "file": str(made.output)}]
    create_table_artifact(
        table=rows, key="forecast", description=f"{dataset.name}, {horizon} steps from each series' end"
    )
    return made


def forecast_dataset(dataset: Dataset, model: Path, horizon: int, output: Path) -> Forecast:
    """As `write_forecast`. Series that cannot be forecast are named in the result; `output` is whole or untouched."""
    if output.suffix.lower() != ".parquet":
        raise ConfigError(f"output {output} does not end in .parquet; forecasts are written as Parquet")
    network, card = load_model(model)
    check_freq(card, dataset.freq)
    check_horizon(card.horizon, horizon)
    open_checked(dataset.folder)
    used, quarantine = usable_series(pl.read_parquet(dataset.data), card)
    frame = forecast_frame(network, card, used, horizon)
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    write_file(output, buffer.getvalue())
    left_out = dict(quarantine.select("unique_id", "rule").iter_rows())
    return Forecast(output=output, rows=frame.height, series=used["unique_id"].n_unique(), left_out=left_out)
