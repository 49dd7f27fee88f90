"""The model as MLflow loads it: safetensors and JSON from its artifacts, no pickle. Logged by `tracking` as code."""

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from rnn_model.checkpoint import load_model
from rnn_model.errors import CarryoverError
from tasks.forecaster import forecast_frame, usable_series


class ServedForecaster(PythonModel):  # type: ignore[misc]
    """Long frame (unique_id, ds, y) in, forecast frame (unique_id, ds, cutoff, y_hat, deciles) out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read and check the model folder."""
        self.network, self.card = load_model(Path(context.artifacts["model"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Continue every series by `params["horizon"]` steps. Bad input is refused whole, with the reason."""
        horizon = int((params or {}).get("horizon", self.card.horizon))
        rows = pl.from_pandas(model_input[["unique_id", "ds", "y"]]).with_columns(
            pl.col("unique_id").cast(pl.String),
            pl.col("ds").cast(pl.Datetime("us")),
            pl.col("y").cast(pl.Float64).fill_nan(None),
        )
        try:
            used, quarantine = usable_series(rows.sort("unique_id", "ds", "y"), self.card)
            if quarantine.height:
                reasons = ", ".join(f"{r['unique_id']}: {r['rule']}" for r in quarantine.head(5).iter_rows(named=True))
                raise MlflowException.invalid_parameter_value(
                    f"{quarantine.height} series cannot be forecast: {reasons}"
                )
            return forecast_frame(self.network, self.card, used, horizon).to_pandas()
        except CarryoverError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


set_model(ServedForecaster())
