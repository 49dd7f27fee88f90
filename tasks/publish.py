"""The chosen model in MLflow: logged with signature and example, loadable without pickle."""

import polars as pl

from rnn_model.artefact import open_checked
from rnn_model.checkpoint import content_digest, load_known
from tasks.forecaster import forecast_frame
from tasks.handles import Dataset, Model, Run
from tasks.step import step
from tasks.tracking import log_folder, log_forecaster, log_metrics, set_tags

EXAMPLE_SERIES = 2
EXAMPLE_ROWS = 24


@step
def publish_model(dataset: Dataset, model: Model, horizon: int, metrics: dict[str, float], parent: Run) -> str:
    """Log a model folder to the parent run and return its MLflow address; its metrics become the parent's too."""
    network, card = load_known(model.folder, model.weights, model.content)
    frame = pl.read_parquet(open_checked(dataset.folder) / "data.parquet")
    some = frame["unique_id"].unique(maintain_order=True).head(EXAMPLE_SERIES)
    example = (
        frame.filter(pl.col("unique_id").is_in(some.to_list()))
        .group_by("unique_id", maintain_order=True)
        .tail(EXAMPLE_ROWS)
    )
    example = example.select("unique_id", "ds", "y").with_columns(
        pl.col("y").fill_null(strategy="forward").fill_null(0.0)
    )
    uri = log_forecaster(parent, model.folder, example, forecast_frame(network, card, example, horizon), horizon)
    log_folder(parent, model.folder, "model")
    log_metrics(parent, metrics)
    content = content_digest(model.folder)
    set_tags(parent, {"carryover.model": uri, "carryover.weights": model.weights, "carryover.content": content})
    return uri
