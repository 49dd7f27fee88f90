"""The model as MLflow loads it: safetensors and JSON from its artifacts, no pickle. Logged by `tracking` as code."""

from numbers import Integral
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from rnn_model.checkpoint import CARD, content_digest, load_model
from rnn_model.errors import CarryoverError, ConfigError, DataError, IntegrityError
from tasks.forecaster import forecast_frame, usable_series

COLUMNS = ["unique_id", "ds", "y"]
SHOWN = 5  # faulty series named in a refusal


class ServedForecaster(PythonModel):  # type: ignore[misc]
    """Long frame (unique_id, ds, y) in, forecast frame (unique_id, ds, cutoff, y_hat, deciles) out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the model folder, and check that it is what was logged; of models logged before, its manifest alone."""
        folder = Path(context.artifacts["model"])
        self.network, self.card = load_model(folder)
        logged = (context.model_config or {}).get("content")
        if logged is not None and content_digest(folder) != logged:
            raise IntegrityError(f"{folder}: its weights or its {CARD} are not those that were logged; log it anew")

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Continue every series by `params["horizon"]` steps.

        A request is answered whole or refused whole, with the reason (HTTP 400): a forecast from values that were
        left out in silence would be believed.
        """
        try:
            horizon = asked_horizon(params, self.card.horizon)
            used, quarantine = usable_series(asked_rows(model_input), self.card)
            if quarantine.height:
                lines = quarantine.head(SHOWN).iter_rows(named=True)
                reasons = ", ".join(f"{line['unique_id']}: {line['rule']} at {line['at']}" for line in lines)
                raise DataError(f"{quarantine.height} series cannot be forecast: {reasons}")
            return forecast_frame(self.network, self.card, used, horizon).to_pandas()
        except CarryoverError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


def asked_horizon(params: dict[str, Any] | None, trained: int) -> int:
    """The horizon of a request; none asked: the trained one. Raises ConfigError for what is no whole number."""
    horizon = (params or {}).get("horizon", trained)
    if isinstance(horizon, bool) or not isinstance(horizon, Integral):
        raise ConfigError(f"horizon {horizon!r} is no whole number; leave it out for the trained one, {trained}")
    return int(horizon)


def asked_rows(frame: pd.DataFrame) -> pl.DataFrame:
    """The rows of a request, sorted by series and time. Raises DataError for the first thing that is wrong with them.

    A time without a value is a time without a row: a null or NaN may as well be a mistake of the sender's.
    """
    absent = [name for name in COLUMNS if list(frame.columns).count(name) != 1]
    if absent:
        raise DataError(f"column {absent[0]} is missing or there twice; expected unique_id, ds, y")
    if frame.empty:
        raise DataError("no rows; expected at least one of unique_id, ds, y")
    if pd.api.types.infer_dtype(frame["unique_id"], skipna=True) != "string" or frame["unique_id"].isna().any():
        raise DataError("unique_id is not text in every row; expected the name of a series")
    if isinstance(frame["ds"].dtype, pd.DatetimeTZDtype):
        raise DataError(
            f"ds has the zone {frame['ds'].dt.tz}; expected times without one: for days and longer steps the wall "
            "clock (ds.dt.tz_localize(None)), for finer ones UTC (ds.dt.tz_convert('UTC').dt.tz_localize(None))"
        )
    rows = pl.from_pandas(frame[COLUMNS]).select(
        pl.col("unique_id").cast(pl.String),
        pl.col("ds").cast(pl.Datetime("us")),
        pl.col("y").cast(pl.Float64).fill_nan(None),
    )
    faults = {
        "has no ds": pl.col("ds").is_null(),
        "has no y (null or NaN); leave rows without a value out": pl.col("y").is_null(),
        "has an infinite y": pl.col("y").is_infinite(),
        "stands there twice": pl.struct("unique_id", "ds").is_duplicated(),
    }
    for words, fault in faults.items():
        if (found := rows.filter(fault)).height:
            name, time, _ = found.row(0)
            raise DataError(f"the row of {name} at {time} {words}")
    return rows.sort("unique_id", "ds")


set_model(ServedForecaster())
