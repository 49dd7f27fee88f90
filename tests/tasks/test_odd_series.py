"""The table "Odd series, and what is forecast" of docs/data.md, from a CSV file to the file of forecasts."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from rnn_model.checkpoint import ModelCard, save_model
from rnn_model.config import DECILES, ModelConfig
from rnn_model.network import build_network
from tasks.config import ForecastConfig, StepsConfig, TrackingConfig
from tasks.forecast import forecast_dataset, pin
from tasks.frequency import ANY
from tasks.handles import Dataset, Forecast
from tasks.series_config import TargetConfig

HORIZON, CONTEXT = 4, 32
STEPS = HORIZON + 2  # one and a half times what is decoded at once
WAVE = [str(5 + y) for y in (0, 3, 1, -4, 2, 2, -1)] * 6
SERIES = {  # days from 2024-01-01 on, as a CSV would have them
    "one value": ["3"],
    "constant": ["7.5"] * 40,
    "late": [""] * 9 + ["5", "6", "5", "7"],
    "ended": WAVE + [""] * 7,
    "not ended": WAVE,
    "long silent": ["8"] * 20 + [""] * (CONTEXT - 1) + ["8"],
    "huge": [f"{y}e30" for y in WAVE],
    "tiny": [f"{y}e-30" for y in WAVE],
    "spike": [*WAVE[:20], "1e30", *WAVE[20:]],
    "no value": [""] * 40,
    "silent": ["8"] * 20 + [""] * CONTEXT,
    "infinite": ["1", "inf", "2"],
    "beyond": ["1", "-2e300", "2"],
}
LEFT_OUT = {
    "no value": "none: no value at all, at 2024-01-01 00:00, 0 values in 40 rows",
    "silent": f"none: no value in the last {CONTEXT} steps, at 2024-02-21 00:00, 20 values in 52 rows",
    "infinite": "none: infinite value; over 10% of its rows are faulty, at 2024-01-02 00:00, 3 values in 3 rows",
    "beyond": "none: beyond 1e300; over 10% of its rows are faulty, at 2024-01-02 00:00, 3 values in 3 rows",
}


class Made(NamedTuple):
    """What the forecast stage says, and series -> its rows of the file."""

    result: Forecast
    rows: dict[str, pl.DataFrame]


@pytest.fixture(params=["residual", "plain"])
def made(request: pytest.FixtureRequest, read: Callable[..., Dataset], tmp_path: Path) -> Made:
    config = ModelConfig(spine=request.param, width=8, num_layers=1, patch=4, context=CONTEXT)
    card = ModelCard(model=config, freq=ANY, periods=(1, 1), horizon=HORIZON, strategy="pretrain")
    model = save_model(build_network(config, HORIZON, seed=1), card, tmp_path / "model")
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 12, 31), eager=True).cast(pl.String).to_list()
    lines = [f"{name},{day},{y}" for name, values in SERIES.items() for day, y in zip(days, values, strict=False)]
    dataset = read("\n".join(["unique_id,ds,y", *lines]))
    pinned, steps = pin(str(model), "odd", TrackingConfig()), StepsConfig(horizon=STEPS)
    config = TargetConfig(path="odd.csv", freq="D", max_quarantined=1.0)
    result = forecast_dataset(dataset, config, pinned, steps, ForecastConfig(), force=False)
    frame = pl.read_parquet(result.data)
    return Made(result, {str(name): own for (name,), own in frame.group_by("unique_id")})


def test_odd_series_are_forecast_or_named(made: Made) -> None:
    assert made.result.left_out == LEFT_OUT
    assert set(made.rows) == set(SERIES) - set(LEFT_OUT)
    every = np.stack([own.select(DECILES).to_numpy() for own in made.rows.values()])  # (N, H, Q)
    assert every.shape[1] == STEPS
    assert np.isfinite(every).all()
    assert (np.diff(every) >= 0).all()
    assert (every >= 0).all()  # as nothing observed is negative


@pytest.mark.parametrize(("name", "value"), [("one value", 3.0), ("constant", 7.5), ("long silent", 8.0)])
def test_what_never_changed_is_forecast_as_it_was(made: Made, name: str, value: float) -> None:
    np.testing.assert_allclose(made.rows[name].select(DECILES).to_numpy(), value, rtol=1e-4)


def test_a_forecast_follows_the_last_row_not_the_last_value(made: Made) -> None:
    first = {name: made.rows[name]["ds"].min() for name in ("ended", "not ended")}
    assert {name: f"{ds:%Y-%m-%d}" for name, ds in first.items()} == {"ended": "2024-02-19", "not ended": "2024-02-12"}


def test_forecasts_have_the_size_of_their_series(made: Made) -> None:
    huge, plain, tiny = (made.rows[name]["y_hat"].to_numpy() for name in ("huge", "not ended", "tiny"))
    np.testing.assert_allclose(huge / 1e30, plain, rtol=1e-4)
    np.testing.assert_allclose(tiny / 1e-30, plain, rtol=1e-4)
