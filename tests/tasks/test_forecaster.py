"""Every usable series continued on its own calendar, the others named, and the output file whole or untouched."""

import errno
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from rnn_model.checkpoint import ModelCard, save_model
from rnn_model.config import ModelConfig
from rnn_model.errors import CarryoverError, ConfigError, DataError, IntegrityError, WriteError
from rnn_model.network import Network, build_network
from tasks.contract import frame_windows
from tasks.forecast import forecast_dataset
from tasks.forecaster import COLUMNS, check_freq, forecast_frame, forecast_windows, usable_series
from tasks.frequency import parse_frequency
from tasks.handles import Dataset
from tasks.ingest import ingest_files
from tasks.series_config import SeriesConfig, TargetConfig

DECILES = ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"]
HORIZON, CONTEXT = 4, 16
DAY = datetime(2024, 1, 1)
Ingested = Callable[..., Dataset]


@pytest.fixture(scope="module")
def network() -> Network:
    """A tiny network as it is born."""
    config = ModelConfig(width=8, num_layers=1, patch=4, context=CONTEXT)
    return build_network(config, HORIZON, seed=1)


def card(network: Network, freq: str) -> ModelCard:
    periods = parse_frequency(freq).periods
    return ModelCard(model=network.config, freq=freq, periods=periods, horizon=HORIZON, strategy="pretrain")


@pytest.fixture
def model(network: Network, tmp_path: Path) -> Path:
    """The tiny network as a folder, for daily series."""
    return save_model(network, card(network, "D"), tmp_path / "model")


@pytest.fixture
def ingested(tmp_path: Path) -> Ingested:
    """Daily series from 2024-01-01 on as an ingested data set."""

    def call(freq: str = "D", **series: list[float | None]) -> Dataset:
        path = tmp_path / "rows.parquet"
        rows(**series).write_parquet(path)
        return ingest_files(SeriesConfig(path=str(path), freq=freq), "rows", tmp_path / "raw")

    return call


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


# the file


def test_the_file_holds_the_forecast_of_every_usable_series(
    network: Network, ingested: Ingested, model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out" / "forecast.parquet"
    made = forecast_dataset(
        ingested(**GOOD, bad=[float("inf")]), TargetConfig(max_quarantined=0.25), model, HORIZON, output
    )
    expected = forecast_frame(network, card(network, "D"), rows(**GOOD), HORIZON)
    assert pl.read_parquet(output).equals(expected)
    assert (made.rows, made.series, made.left_out) == (3 * HORIZON, 3, {"bad": "infinite value"})


def test_the_same_forecast_twice_gives_the_same_bytes(ingested: Ingested, model: Path, tmp_path: Path) -> None:
    dataset, output = ingested(**GOOD), tmp_path / "forecast.parquet"
    forecast_dataset(dataset, TargetConfig(), model, HORIZON, output)
    first = output.read_bytes()
    forecast_dataset(dataset, TargetConfig(), model, HORIZON, output)
    assert output.read_bytes() == first


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def damage_data(dataset: Dataset, model: Path, patch: pytest.MonkeyPatch) -> None:
    dataset.data.write_bytes(b"PAR1")


def damage_model(dataset: Dataset, model: Path, patch: pytest.MonkeyPatch) -> None:
    (model / "weights.safetensors").write_bytes(b"")


def fill_disk(dataset: Dataset, model: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Path, "write_bytes", full_disk)


def fail_rename(dataset: Dataset, model: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Path, "replace", full_disk)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (damage_data, IntegrityError),
        (damage_model, IntegrityError),
        (fill_disk, WriteError),
        (fail_rename, WriteError),
    ],
)
def test_a_run_that_fails_leaves_the_old_file_and_nothing_else(
    ingested: Ingested,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Dataset, Path, pytest.MonkeyPatch], None],
    error: type[CarryoverError],
) -> None:
    dataset, output = ingested(**GOOD), tmp_path / "out" / "forecast.parquet"
    output.parent.mkdir()
    output.write_bytes(b"yesterday")
    fault(dataset, model, monkeypatch)
    with pytest.raises(error):
        forecast_dataset(dataset, TargetConfig(), model, HORIZON, output)
    assert output.read_bytes() == b"yesterday"
    assert list(output.parent.iterdir()) == [output]


def test_a_horizon_past_what_the_model_answers_is_refused_with_its_limit(
    ingested: Ingested, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="horizon 7: this model answers 1 to 6 steps"):
        forecast_dataset(ingested(**GOOD), TargetConfig(), model, 7, tmp_path / "forecast.parquet")


def test_a_target_of_another_frequency_is_refused(ingested: Ingested, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="made for freq D, the target has h"):
        forecast_dataset(ingested(freq="h", **GOOD), TargetConfig(), model, HORIZON, tmp_path / "forecast.parquet")


def test_more_series_left_out_than_allowed_stop_the_run_with_share_and_rule(
    ingested: Ingested, model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "forecast.parquet"
    with pytest.raises(
        DataError, match=r"1 series cannot be forecast, a share of 25% \(allowed: 20%\): infinite value"
    ):
        forecast_dataset(ingested(**GOOD, bad=[float("inf")]), TargetConfig(), model, HORIZON, output)
    assert not output.exists()


def test_a_target_whose_gaps_mean_something_else_is_refused_with_both(
    ingested: Ingested, model: Path, tmp_path: Path
) -> None:
    dataset = ingested(**GOOD).model_copy(update={"gaps": "zero"})
    with pytest.raises(ConfigError, match=r"made with gaps missing, the target has zero; use --target\.gaps missing"):
        forecast_dataset(dataset, TargetConfig(), model, HORIZON, tmp_path / "forecast.parquet")


def test_a_target_of_another_season_is_refused_with_both(ingested: Ingested, model: Path, tmp_path: Path) -> None:
    dataset = ingested(**GOOD).model_copy(update={"periods": (5, 5)})
    with pytest.raises(ConfigError, match=r"made with season 7, the target has 5; use --target\.season 7"):
        forecast_dataset(dataset, TargetConfig(), model, HORIZON, tmp_path / "forecast.parquet")
