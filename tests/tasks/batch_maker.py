"""Daily series from 2024-01-01 on, and the card of a tiny model: what the tests of forecasts forecast."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from rnn_model.checkpoint import ModelCard
from rnn_model.config import ModelConfig
from tasks.handles import Forecast

HORIZON, CONTEXT = 4, 16
DAY = datetime(2024, 1, 1)
WAVE = [float(5 + y) for y in (0, 3, 1, -4, 2, 2, -1)] * 6
INFINITY = float("inf")
GOOD: dict[str, list[float | None]] = {"a": [*WAVE], "b": [7.0], "c": [3.0, None, 5.0]}
Make = Callable[..., Forecast]


def rows(**series: list[float | None]) -> pl.DataFrame:
    points = [(name, DAY + timedelta(days=n), y) for name, values in series.items() for n, y in enumerate(values)]
    schema = {"unique_id": pl.String, "ds": pl.Datetime("us"), "y": pl.Float64}
    return pl.DataFrame(points, schema=schema, orient="row")


def card(**fields: Any) -> ModelCard:
    config = ModelConfig(width=8, num_layers=1, patch=4, context=CONTEXT)
    usual = {"model": config, "freq": "D", "periods": (7, 364), "horizon": HORIZON, "strategy": "full"}
    return ModelCard.model_validate(usual | fields)
