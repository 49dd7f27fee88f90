"""Validated rows as windows on disk: the same values in the same order, and the cutoffs where they are declared."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rnn_model.artefact import publish
from rnn_model.errors import DataError, IntegrityError
from tasks.config import BacktestConfig, WindowConfig
from tasks.handles import Dataset, WindowSet
from tasks.window import open_windows, window_dataset

Window = Callable[..., WindowSet]
TWO = {"b": [float(n) for n in range(12)], "a": [10.0, None, 12.0, 13.0, 14.0, 15.0]}


@pytest.fixture
def windowed(tmp_path: Path) -> Window:
    """Daily series as windows: horizon 2, history 3, one validation window and two cutoffs unless told otherwise."""

    def call(series: dict[str, list[float | None]], fingerprint: str = "f", **options: int) -> WindowSet:
        ids = [name for name, values in series.items() for _ in values]
        ds = [datetime(2024, 1, 1 + n) for values in series.values() for n in range(len(values))]
        frame = pl.DataFrame({"unique_id": ids, "ds": ds, "y": [v for values in series.values() for v in values]})
        folder = publish(tmp_path / fingerprint, lambda staging: frame.write_parquet(staging / "data.parquet"))
        dataset = Dataset(
            folder=folder,
            fingerprint=fingerprint,
            name="rows",
            freq="D",
            season=7,
            periods=(7, 364),
            gaps="zero",
            rows=frame.height,
            series=len(series),
        )
        chosen = {"horizon": 2, "min_history": 3, "validation": 1, "cutoffs": 2} | options
        backtest = BacktestConfig(cutoffs=chosen.pop("cutoffs"), step=chosen.pop("step", None))
        return window_dataset(dataset, WindowConfig(**chosen), backtest, tmp_path / "windows")

    return call


def test_windows_hold_the_rows_in_their_order(windowed: Window) -> None:
    windows, _ = open_windows(windowed(TWO))
    np.testing.assert_array_equal(windows.history(0), np.arange(12.0))
    np.testing.assert_array_equal(windows.history(1), [10, np.nan, 12, 13, 14, 15])


def test_windows_carry_both_seasons(windowed: Window) -> None:
    windows, _ = open_windows(windowed(TWO))
    assert windows.periods.tolist() == [[7, 364], [7, 364]]


def test_windows_say_how_gaps_were_taken(windowed: Window) -> None:
    assert windowed(TWO).gaps == "zero"


def test_the_last_test_window_ends_where_its_series_ends(windowed: Window) -> None:
    _, split = open_windows(windowed(TWO))
    assert split.test.tolist() == [[8, -1], [10, 4]]  # of 12 and of 6 points; 6 - 2 - 2 leaves too little history


def test_the_last_validation_window_ends_at_the_first_test_cutoff(windowed: Window) -> None:
    _, split = open_windows(windowed(TWO))
    assert split.validation.tolist() == [[6, -1]]


def test_cutoffs_are_a_horizon_apart_unless_told_otherwise(windowed: Window) -> None:
    assert (windowed(TWO).step, windowed(TWO, step=1).step) == (2, 1)


def test_a_declared_step_moves_the_cutoffs(windowed: Window) -> None:
    _, split = open_windows(windowed(TWO, step=1, cutoffs=3))
    assert split.test.tolist() == [[8, -1], [9, 3], [10, 4]]


def test_the_same_data_gives_the_same_folder_and_other_data_another(windowed: Window) -> None:
    first = windowed(TWO)
    assert windowed(TWO, horizon=1).folder == first.folder  # cuts are no part of the array
    assert windowed(TWO, fingerprint="g").folder != first.folder


def test_series_too_short_for_any_cutoff_are_refused_with_the_longest(windowed: Window) -> None:
    with pytest.raises(DataError, match=r"3 points of history before a horizon of 2 \(longest: 4\)"):
        windowed({"a": [1.0, 2.0, 3.0, 4.0]})


def test_a_changed_array_is_refused(windowed: Window) -> None:
    handle = windowed(TWO)
    values = np.load(handle.folder / "values.npy")
    np.save(handle.folder / "values.npy", values + 1)
    with pytest.raises(IntegrityError, match=r"values\.npy changed"):
        open_windows(handle)
