"""A calibrated model's deciles: made before the first test cutoff, and the same bits in every place that predicts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rnn_model.calibration import ENOUGH, LEAST, Calibration
from rnn_model.checkpoint import ModelCard, load_model, save_model, weights_digest
from rnn_model.config import DECILES, ModelConfig
from rnn_model.network import Network, build_network
from rnn_model.windows import Floats, from_arrays
from tasks.config import BacktestConfig, FinetuneConfig, WindowConfig
from tasks.evaluate import Bench, backtest_model, calibration_note
from tasks.finetune import target_card
from tasks.forecaster import calibrate_network, forecast_frame, forecast_windows
from tasks.handles import Dataset, Model
from tasks.metrics import calibration_effect, overall, per_series
from tasks.window import open_windows, window_dataset

Stored = Callable[..., Dataset]
POINTS, HORIZON = 40, 2
WIDER = Calibration(factors=((1.5,) * 4 + (1.0,) + (2.0,) * 4,), until=(HORIZON,), note="by hand")


@pytest.fixture(scope="module")
def network() -> Network:
    return build_network(ModelConfig(width=8, num_layers=1, patch=4, context=16), HORIZON, seed=1)


def card(network: Network, calibration: Calibration | None) -> ModelCard:
    return ModelCard(
        model=network.config, freq="D", periods=(7, 364), horizon=HORIZON, strategy="full", calibration=calibration
    )


def noise(series: int, spread: float = 1.0) -> list[Floats]:
    rng = np.random.default_rng(4)
    return [50 + spread * rng.normal(size=POINTS) for _ in range(series)]


def benched(dataset: Dataset, root: Path) -> Bench:
    handle = window_dataset(dataset, WindowConfig(horizon=HORIZON), BacktestConfig(cutoffs=2), root)
    return Bench(handle, *open_windows(handle), pl.read_parquet(dataset.data))


def calibrated(network: Network, arrays: list[Floats], root: Path, stored: Stored) -> Calibration:
    """As fine-tuning does it, with cutoffs 4 and 2 points before the end."""
    bench = benched(stored(**{f"s{n}": values.tolist() for n, values in enumerate(arrays)}), root)
    return calibrate_network(
        network, bench.split.tuning(bench.windows), bench.split.validation_index(), bench.handle.horizon
    )


# ---- what it rests on


def test_nothing_from_the_first_test_cutoff_on_moves_a_factor(network: Network, stored: Stored, tmp_path: Path) -> None:
    before, after = noise(ENOUGH), noise(ENOUGH)
    for values in after:
        values[-4:] = 1e6
    first, second = (calibrated(network, arrays, tmp_path, stored) for arrays in (before, after))
    assert first.factors
    assert first == second
    for values in after:
        values[-5] = 1e6  # the last point before it does
    assert calibrated(network, after, tmp_path, stored) != first


def test_it_rests_on_all_validation_windows(network: Network, stored: Stored, tmp_path: Path) -> None:
    made = calibrated(network, noise(ENOUGH), tmp_path, stored)
    assert (made.windows, made.series, made.parts) == (3 * ENOUGH, ENOUGH, 3)


def test_series_that_never_changed_say_nothing(network: Network, stored: Stored, tmp_path: Path) -> None:
    still = [np.full(POINTS, 5.0) for _ in range(LEAST)]
    alone, beside = noise(LEAST), [*noise(LEAST), *still]
    assert calibrated(network, beside, tmp_path, stored) == calibrated(network, alone, tmp_path, stored)


def test_of_many_windows_some_series_are_looked_at_whoever_else_there_is(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.forecaster.CALIBRATED", 40)
    many = noise(100)
    windows, beside = (from_arrays(arrays, np.full((len(arrays), 2), 7)) for arrays in (many, [many[0], *many]))
    index = windows.at(windows.end - HORIZON)
    made = calibrate_network(network, windows, index, HORIZON)
    assert made.windows == 34  # every third series of the hundred
    later = index._replace(series=index.series + 1)  # a series in front that has no window
    assert calibrate_network(network, beside, later, HORIZON) == made


# ---- where it is applied


def test_backtest_forecast_and_windows_give_the_same_bits(network: Network, stored: Stored, tmp_path: Path) -> None:
    dataset = stored(**{f"s{n}": values.tolist() for n, values in enumerate(noise(3))})
    folder = save_model(network, card(network, WIDER), tmp_path / "model")
    bench = benched(dataset, tmp_path)
    frame, _ = backtest_model(Model(folder=folder, weights=weights_digest(network), strategy="full", context=16), bench)
    last = frame.filter(pl.col("cutoff") == pl.col("cutoff").max()).select(DECILES).to_numpy()
    past = bench.rows.group_by("unique_id", maintain_order=True).head(POINTS - HORIZON)
    loaded, own = load_model(folder)
    index = bench.split.test_index(1)
    direct = forecast_windows(loaded, bench.windows, index, HORIZON, own.calibration)
    np.testing.assert_array_equal(last, forecast_frame(loaded, own, past, HORIZON).select(DECILES).to_numpy())
    np.testing.assert_array_equal(last, direct.reshape(last.shape))


def test_the_backtest_keeps_what_the_deciles_were(network: Network, stored: Stored, tmp_path: Path) -> None:
    bench = benched(stored(**{f"s{n}": values.tolist() for n, values in enumerate(noise(3))}), tmp_path)
    frames = []
    for number, calibration in enumerate((WIDER, None)):
        folder = save_model(network, card(network, calibration), tmp_path / str(number))
        frames.append(
            backtest_model(Model(folder=folder, weights=weights_digest(network), strategy="full", context=16), bench)
        )
    (wide, before), (plain, nothing) = frames
    assert nothing is None
    assert before is not None
    assert before.equals(plain)
    assert wide["0.5"].equals(plain["0.5"])
    width = (wide["0.9"] - wide["0.5"]) / (plain["0.9"] - plain["0.5"])
    assert width.to_list() == pytest.approx([2.0] * plain.height)


def test_coverage_and_wql_are_told_before_and_after(stored: Stored) -> None:
    dataset = stored(a=[10.0, 12.0, 11.0, 20.0])
    rows = pl.read_parquet(dataset.data)
    narrow = pl.DataFrame({q: [11.0 + (k - 4)] for k, q in enumerate(DECILES)})
    wide = pl.DataFrame({q: [11.0 + 3 * (k - 4)] for k, q in enumerate(DECILES)})
    about = rows.tail(1).with_columns(cutoff=rows["ds"][2], step=pl.lit(1))
    before, after = (overall(per_series(pl.concat([about, d], how="horizontal"), rows, 1)) for d in (narrow, wide))
    effect = calibration_effect(before, after)
    assert (effect["calibration/coverage_80_before"], effect["calibration/coverage_80_after"]) == (0.0, 1.0)
    assert effect["calibration/WQL_after"] < effect["calibration/WQL_before"]
    assert calibration_note({"full": effect}).splitlines()[-1].startswith("| full | 0 > 1 | 0.")


# ---- when it is not


def test_a_model_tuned_again_does_not_inherit_factors(network: Network, stored: Stored, tmp_path: Path) -> None:
    dataset = stored(a=noise(1)[0].tolist())
    handle = window_dataset(dataset, WindowConfig(horizon=HORIZON), BacktestConfig(cutoffs=1), tmp_path)
    base = Model(folder=tmp_path, weights="w", strategy="full", context=16)
    assert target_card(card(network, WIDER), base, dataset, handle, {}).calibration is None


def test_calibration_is_on_unless_switched_off() -> None:
    assert FinetuneConfig().calibrate
    assert not FinetuneConfig(calibrate=False).calibrate
