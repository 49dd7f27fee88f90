"""Every usable series continued on its own calendar, the others named."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest

from rnn_model.checkpoint import ModelCard
from rnn_model.config import ModelConfig
from rnn_model.errors import ConfigError, DataError
from rnn_model.network import Network, build_network
from tasks.contract import frame_windows
from tasks.forecaster import COLUMNS, check_freq, forecast_frame, forecast_windows, usable_series
from tasks.frequency import parse_frequency

DECILES = ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"]
HORIZON, CONTEXT = 4, 16
DAY = datetime(2024, 1, 1)


@pytest.fixture(scope="module")
def network() -> Network:
    """A tiny network as it is born."""
    config = ModelConfig(width=8, num_layers=1, patch=4, context=CONTEXT)
    return build_network(config, HORIZON, seed=1)


def card(network: Network, freq: str) -> ModelCard:
    periods = parse_frequency(freq).periods
    return ModelCard(model=network.config, freq=freq, periods=periods, horizon=HORIZON, strategy="pretrain")


def rows(**series: list[float | None]) -> pl.DataFrame:
    points = [(name, DAY + timedelta(days=n), y) for name, values in series.items() for n, y in enumerate(values)]
    schema = {"unique_id": pl.String, "ds": pl.Datetime("us"), "y": pl.Float64}
    return pl.DataFrame(points, schema=schema, orient="row")


RISING = [float(n) for n in range(1, 21)]
GOOD = {"a": RISING, "b": [7.0], "c": [3.0, None, 5.0]}


# the frame


@pytest.mark.parametrize(
    ("freq", "pandas_name", "first"),
    [
        ("ME", "ME", "2023-10-31"),
        ("MS", "MS", "2023-10-01"),
        ("h", "h", "2024-02-28 12:00"),
        ("15min", "15min", "2023-12-31 21:00"),
        ("B", "B", "2024-02-20"),
        ("W-MON", "W-MON", "2023-12-04"),
        ("QE", "QE", "2022-06-30"),
        ("YS", "YS", "2010-01-01"),
        ("YE", "YE", "2010-12-31"),
    ],
)
def test_the_forecast_continues_the_calendar_of_its_series(
    network: Network, freq: str, pandas_name: str, first: str
) -> None:
    stamps = [stamp.to_pydatetime() for stamp in pd.date_range(first, periods=10 + HORIZON, freq=pandas_name)]
    past = pl.DataFrame({"unique_id": "a", "ds": stamps[:10], "y": np.arange(10.0)}).cast({"ds": pl.Datetime("us")})
    out = forecast_frame(network, card(network, freq), past, HORIZON)
    assert out["ds"].to_list() == stamps[10:]
    assert out["cutoff"].to_list() == [stamps[9]] * HORIZON


def test_every_series_has_a_row_for_every_step(network: Network) -> None:
    out = forecast_frame(network, card(network, "D"), rows(**GOOD), HORIZON)
    assert out["unique_id"].to_list() == [name for name in GOOD for _ in range(HORIZON)]


def test_every_series_starts_after_its_own_end(network: Network) -> None:
    out = forecast_frame(network, card(network, "D"), rows(**GOOD), HORIZON)
    first = out.group_by("unique_id", maintain_order=True).first()
    assert first["ds"].to_list() == [DAY + timedelta(days=len(values)) for values in GOOD.values()]


def test_a_forecast_holds_exactly_the_declared_columns(network: Network) -> None:
    out = forecast_frame(network, card(network, "D"), rows(**GOOD), HORIZON)
    assert out.columns == COLUMNS == ["unique_id", "ds", "cutoff", "y_hat", *DECILES]
    assert out.schema["ds"] == out.schema["cutoff"] == pl.Datetime("us")


@pytest.mark.parametrize("horizon", [1, HORIZON, HORIZON + 2])
def test_a_forecast_is_finite_in_order_and_its_point_is_the_median(network: Network, horizon: int) -> None:
    series = GOOD | {"flat": [5.0] * 20, "zero": [0.0] * 20, "huge": [1e12, -1e12] * 10}
    out = forecast_frame(network, card(network, "D"), rows(**series), horizon)
    deciles = out.select(DECILES).to_numpy()
    assert out.height == len(series) * horizon
    assert np.isfinite(deciles).all()
    assert (np.diff(deciles, axis=1) >= 0).all()
    assert out["y_hat"].to_list() == out["0.5"].to_list()


def test_a_constant_series_is_forecast_as_that_constant(network: Network) -> None:
    out = forecast_frame(network, card(network, "D"), rows(a=[5.0] * 20), HORIZON)
    assert out["y_hat"].to_list() == pytest.approx([5.0] * HORIZON, abs=1e-3)


def test_other_series_do_not_move_a_forecast(network: Network) -> None:
    alone = forecast_frame(network, card(network, "D"), rows(a=RISING), HORIZON)
    beside = forecast_frame(network, card(network, "D"), rows(a=RISING, z=[1e9] * 20), HORIZON)
    difference = (alone["y_hat"] - beside.filter(pl.col("unique_id") == "a")["y_hat"]).abs().max()
    assert difference < 1e-4


def test_nothing_at_or_after_the_origin_moves_a_forecast(network: Network) -> None:
    deciles = []
    for future in ([21.0, 22.0], [1e9, None]):
        windows = frame_windows(rows(a=[*RISING, *future]), (7, 364))
        deciles.append(forecast_windows(network, windows, windows.at(np.array([len(RISING)])), HORIZON))
    np.testing.assert_array_equal(*deciles)


# what can be forecast


@pytest.mark.parametrize(
    ("made", "wanted"), [("MS", "ME"), ("W-MON", "W-SUN"), ("QS", "QS-FEB"), ("YS", "A"), ("15min", "15T")]
)
def test_a_model_serves_every_anchor_of_its_frequency(network: Network, made: str, wanted: str) -> None:
    check_freq(card(network, made), wanted)


@pytest.mark.parametrize(("made", "wanted"), [("h", "D"), ("MS", "QS"), ("15min", "30min"), ("D", "B")])
def test_a_model_made_for_another_frequency_is_refused_with_both(network: Network, made: str, wanted: str) -> None:
    with pytest.raises(ConfigError, match=f"made for freq {made}, the target has {wanted}"):
        check_freq(card(network, made), wanted)


def test_series_that_cannot_be_forecast_are_named_with_their_rule(network: Network) -> None:
    frame = rows(a=RISING, b=[1.0, float("inf")], c=[None, None])
    used, left_out = usable_series(frame, card(network, "D"))
    assert used["unique_id"].unique().to_list() == ["a"]
    assert left_out.select("unique_id", "rule").rows() == [("b", "infinite value"), ("c", "no value at all")]


def test_one_observed_value_within_the_context_is_enough(network: Network) -> None:
    used, left_out = usable_series(rows(a=[9.0] + [None] * (CONTEXT - 1)), card(network, "D"))
    assert used.height == CONTEXT
    assert left_out.is_empty()


def test_a_series_unseen_for_a_whole_context_is_left_out_rather_than_forecast_as_zero(network: Network) -> None:
    silent: list[float | None] = [50.0] * 10 + [None] * CONTEXT
    used, left_out = usable_series(rows(a=RISING, b=silent), card(network, "D"))
    assert used["unique_id"].unique().to_list() == ["a"]
    assert left_out.select("unique_id", "rule", "rows", "observed").rows() == [
        ("b", f"no value in the last {CONTEXT} steps", 26, 10)
    ]


def test_a_gap_before_the_end_is_laid_on_the_grid(network: Network) -> None:
    used, _ = usable_series(rows(a=RISING).filter(pl.col("y") != 7), card(network, "D"))
    assert used["y"].to_list() == [*RISING[:6], None, *RISING[7:]]


def test_with_no_series_left_the_reasons_are_given(network: Network) -> None:
    with pytest.raises(DataError, match=r"no series can be forecast \(infinite value, no value at all\)"):
        usable_series(rows(a=[float("inf")], b=[None]), card(network, "D"))
