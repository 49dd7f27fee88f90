"""The backtest shows a forecaster nothing from the cutoff on, and refuses to score what was seen."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rnn_model.checkpoint import ModelCard
from rnn_model.config import DECILES, ModelConfig
from rnn_model.errors import ConfigError, DataError
from rnn_model.windows import Floats, Index, Windows
from tasks.config import BacktestConfig, WindowConfig
from tasks.evaluate import Bench, evaluation_fingerprint, forecast_rows, until_cutoff
from tasks.handles import Dataset, WindowSet
from tasks.series_config import SeriesConfig
from tasks.validate import validate_dataset
from tasks.window import check_unseen, open_windows, window_dataset

Stored = Callable[..., Dataset]
CARD = ModelCard(
    model=ModelConfig(width=8, num_layers=1, patch=4, context=16),
    freq="D",
    periods=(7, 364),
    horizon=2,
    strategy="full",
)


def line(points: int) -> list[float]:
    """Every value says which point of its series it is."""
    return [float(n) for n in range(points)]


def benched(dataset: Dataset, root: Path, cutoffs: int = 2, **window: int) -> Bench:
    """Horizon 2, history of 3: a series of n points has its last cutoff after n - 2 of them."""
    config = WindowConfig(**({"horizon": 2, "min_history": 3, "validation": 1} | window))
    handle = window_dataset(dataset, config, BacktestConfig(cutoffs=cutoffs), root)
    windows, split = open_windows(handle)
    return Bench(handle, windows, split, pl.read_parquet(dataset.data))


def day(number: int) -> datetime:
    return datetime(2024, 1, number)


# ---- what a forecaster sees


def test_no_forecaster_sees_a_value_at_or_after_its_cutoff(stored: Stored, tmp_path: Path) -> None:
    bench = benched(stored(a=line(20), b=line(9), c=line(5)), tmp_path, cutoffs=3)
    origins: list[dict[int, int]] = []

    def spy(windows: Windows, index: Index) -> Floats:
        seen = {int(s): windows.history(int(s)).tolist() for s in range(len(windows))}
        starts = dict(zip(index.series.tolist(), index.origin.tolist(), strict=True))
        assert seen == {s: line(starts.get(s, 0)) for s in range(len(windows))}
        assert windows.gather(index, 4, 2).target.isnan().all()
        origins.append(starts)
        return np.zeros((len(index.series), 2, 9))

    bench.run("spy", spy)
    assert origins == [{0: 14, 1: 3}, {0: 16, 1: 5}, {0: 18, 1: 7, 2: 3}]


def test_a_view_up_to_its_cutoff_cannot_be_widened_again(stored: Stored, tmp_path: Path) -> None:
    bench = benched(stored(a=line(20)), tmp_path)
    view = until_cutoff(bench.windows, bench.split.test_index(0))
    with pytest.raises(DataError, match="cannot be widened"):
        view.until(bench.windows.end)


def test_forecasts_stand_beside_the_truth_of_their_time(stored: Stored, tmp_path: Path) -> None:
    dataset = stored(b=[10.0, 11.0, 12.0, 13.0, 14.0, 15.0], a=[20.0, 21.0, 22.0, None, 24.0])
    bench = benched(dataset, tmp_path, cutoffs=1)
    deciles = np.stack([np.tile(np.arange(9.0), (2, 1)) + k for k in (0, 100)])
    deciles[:, 1] += 50
    rows = forecast_rows(deciles, bench.windows, Index(np.array([0, 1]), np.array([4, 2])), bench.rows)
    assert rows.select("unique_id", "cutoff", "ds", "step", "y", "0.1", "0.9").rows() == [
        ("b", day(4), day(5), 1, 14.0, 0.0, 8.0),
        ("b", day(4), day(6), 2, 15.0, 50.0, 58.0),
        ("a", day(2), day(3), 1, 22.0, 100.0, 108.0),
        ("a", day(2), day(4), 2, None, 150.0, 158.0),
    ]
    assert rows.columns[-9:] == list(DECILES)


# ---- what was seen


def seen_until(number: int, name: str = "a") -> ModelCard:
    return CARD.model_copy(update={"seen": {name: f"2024-01-{number:02d} 00:00:00.000000"}})


def unseen(card: ModelCard, bench: Bench) -> None:
    check_unseen(card.seen, bench.windows, bench.split, bench.rows)


def test_a_model_that_has_seen_past_the_first_cutoff_is_refused(stored: Stored, tmp_path: Path) -> None:
    bench = benched(stored(a=line(20)), tmp_path)  # cutoffs after points 16 and 18
    with pytest.raises(ConfigError, match=r"seen series 'a' up to 2024-01-17.*past its first test cutoff 2024-01-16"):
        unseen(seen_until(17), bench)


def test_a_model_that_has_seen_up_to_the_first_cutoff_is_taken(stored: Stored, tmp_path: Path) -> None:
    unseen(seen_until(16), benched(stored(a=line(20)), tmp_path))


def test_fewer_cutoffs_leave_more_that_may_have_been_seen(stored: Stored, tmp_path: Path) -> None:
    unseen(seen_until(18), benched(stored(a=line(20)), tmp_path, cutoffs=1))


def test_what_was_seen_of_other_series_does_not_matter(stored: Stored, tmp_path: Path) -> None:
    unseen(seen_until(31, "another"), benched(stored(a=line(20)), tmp_path))


def test_what_was_seen_of_a_series_too_short_for_any_test_does_not_matter(stored: Stored, tmp_path: Path) -> None:
    unseen(seen_until(31, "c"), benched(stored(a=line(20), c=line(4)), tmp_path))


# ---- what may be compared


def fingerprint(dataset: Dataset, root: Path, **cuts: int) -> str:
    backtest = BacktestConfig(cutoffs=cuts.pop("cutoffs", 2), step=cuts.pop("step", None))
    season = cuts.pop("season", dataset.season)
    handle: WindowSet = window_dataset(dataset, WindowConfig(**({"horizon": 2} | cuts)), backtest, root)
    return evaluation_fingerprint(dataset, handle.model_copy(update={"season": season}))


def test_models_of_other_contexts_are_tried_on_the_same_evaluation(stored: Stored, tmp_path: Path) -> None:
    dataset, config = stored(a=line(20), b=line(12)), SeriesConfig(path="x.csv", freq="D")
    short, long = (validate_dataset(dataset, config, 5, context, tmp_path / "v").dataset for context in (8, 16))
    assert short.folder != long.folder
    assert fingerprint(short, tmp_path) == fingerprint(long, tmp_path)


@pytest.mark.parametrize("cuts", [{"cutoffs": 3}, {"step": 1}, {"horizon": 3}, {"min_history": 4}, {"season": 5}])
def test_other_cutoffs_are_another_evaluation(stored: Stored, tmp_path: Path, cuts: dict[str, int]) -> None:
    dataset = stored(a=line(20))
    assert fingerprint(dataset, tmp_path) != fingerprint(dataset, tmp_path, **cuts)


def test_other_data_is_another_evaluation(stored: Stored, tmp_path: Path) -> None:
    assert fingerprint(stored(a=line(20)), tmp_path) != fingerprint(stored(a=[*line(19), 7.0]), tmp_path)
