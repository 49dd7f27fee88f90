"""From validated rows to windows on disk, and back with their cuts."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from rnn_model.artefact import digest_json, open_checked
from rnn_model.errors import ConfigError
from rnn_model.windows import Split, Windows, load_windows, save_windows, split_windows
from tasks.config import BacktestConfig, WindowConfig, home
from tasks.contract import frame_windows
from tasks.handles import Dataset, WindowSet
from tasks.step import step


@step
def make_windows(dataset: Dataset, config: WindowConfig, backtest: BacktestConfig) -> WindowSet:
    """Lay a data set out as windows under data/windows and fix its cutoffs."""
    return window_dataset(dataset, config, backtest, home() / "windows")


def window_dataset(dataset: Dataset, config: WindowConfig, backtest: BacktestConfig, root: Path) -> WindowSet:
    """One flat array, an offset per series, both seasons. Raises DataError when no cutoff has enough history."""
    open_checked(dataset.folder)
    frame = pl.read_parquet(dataset.data)
    key = digest_json([dataset.fingerprint, dataset.periods])
    windows = frame_windows(frame, dataset.periods)
    folder = save_windows(windows, root / key[:16], {"dataset": dataset.fingerprint})
    handle = WindowSet(
        folder=folder,
        fingerprint=key,
        freq=dataset.freq,
        season=dataset.season,
        periods=dataset.periods,
        gaps=dataset.gaps,
        horizon=config.horizon,
        min_history=config.min_history,
        validation=config.validation,
        cutoffs=backtest.cutoffs,
        step=backtest.step or config.horizon,
    )
    cut(windows, handle)
    return handle


def open_windows(handle: WindowSet) -> tuple[Windows, Split]:
    """The windows of a handle, and where they are cut."""
    windows = load_windows(handle.folder)
    return windows, cut(windows, handle)


def cut(windows: Windows, handle: WindowSet) -> Split:
    """The split a handle declares."""
    return split_windows(windows, handle.horizon, handle.cutoffs, handle.step, handle.validation, handle.min_history)


def check_unseen(seen: Mapping[str, str], windows: Windows, split: Split, rows: pl.DataFrame) -> None:
    """Refuse to score a model on what it was fitted or chosen on. Raises ConfigError.

    `seen`: series -> last time it was; `rows`: unique_id, ds, y in the order of the windows.
    """
    taking_part = np.nonzero((split.test >= 0).any(0))[0]
    first = split.tuning(windows).end[taking_part]  # points before the first test cutoff
    cutoffs = rows[windows.offsets[taking_part] + first - 1]
    for name, cutoff in cutoffs.select("unique_id", pl.col("ds").dt.to_string("iso")).iter_rows():
        if seen.get(name, "") > cutoff:
            raise ConfigError(
                f"the model has seen series {name!r} up to {seen[name]}, past its first test cutoff {cutoff}; "
                "a test on seen data says nothing: use fewer --backtest.cutoffs, newer data, or a model from before"
            )
