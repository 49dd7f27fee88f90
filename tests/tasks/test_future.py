"""Another future: the past stays, what follows is new, and a difference of one bit is seen."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tasks.config import BacktestConfig, WindowConfig
from tasks.difference import Piece, first_difference
from tasks.future import Future, another_future
from tasks.handles import Dataset
from tasks.window import open_windows, window_dataset

Futures = Callable[[int], tuple[pl.DataFrame, pl.DataFrame, Future]]
POINTS, HORIZON, CUTOFFS = 40, 4, 3
FIRST = POINTS - HORIZON * CUTOFFS


@pytest.fixture
def futures(stored: Callable[..., Dataset], tmp_path: Path) -> Futures:
    """Six series: their rows, the rows with another future after a cutoff, and what was done to them."""
    rng = np.random.default_rng(1)
    dataset = stored(**{name: rng.normal(5, 1, POINTS).tolist() for name in "bcdefg"})
    handle = window_dataset(dataset, WindowConfig(horizon=HORIZON), BacktestConfig(cutoffs=CUTOFFS), tmp_path)
    rows = pl.read_parquet(dataset.data)

    def call(cutoff: int) -> tuple[pl.DataFrame, pl.DataFrame, Future]:
        return rows, *another_future(rows, rows, open_windows(handle)[1], handle, cutoff, seed=0)

    return call


@pytest.mark.parametrize("cutoff", range(CUTOFFS))
def test_rows_up_to_the_cutoff_stay_and_all_others_change(futures: Futures, cutoff: int) -> None:
    before, after, future = futures(cutoff)
    kept = FIRST + HORIZON * cutoff
    old = after.join(before, on=["unique_id", "ds"], how="inner", suffix="_old").sort("unique_id", "ds")
    place = pl.int_range(pl.len()).over("unique_id")
    assert old.filter(place < kept).select(same=pl.col("y").eq_missing(pl.col("y_old")))["same"].all()
    assert not old.filter(place >= kept).select(same=pl.col("y").eq_missing(pl.col("y_old")))["same"].any()
    assert future.changed == 6 * (POINTS - kept)


def test_the_other_values_are_wild_missing_and_zero(
    futures: Futures,
) -> None:
    before, after, _ = futures(0)
    late = after.filter((pl.col("ds") > before["ds"][FIRST - 1]) & pl.col("unique_id").is_in(list("bcdefg")))
    late = late.filter(pl.col("ds") <= before["ds"].max())
    kinds = late.group_by("unique_id").agg(
        missing=pl.col("y").is_null().mean(),
        zero=pl.col("y").eq_missing(0.0).mean(),
        wild=(pl.col("y").abs() > 10).fill_null(False).mean(),
    )
    shares = {name: [round(share, 1) for share in row] for name, *row in kinds.sort("unique_id").iter_rows()}
    assert shares["d"][0] == 1.0
    assert shares["e"][1] == 1.0
    assert shares["c"][2] == pytest.approx(1.0, abs=0.1)
    assert all(0.2 <= share <= 0.4 for share in shares["b"])


def test_new_series_sort_between_the_others_and_exist_after_the_cutoff_alone(
    futures: Futures,
) -> None:
    before, after, future = futures(0)
    new = after.filter(~pl.col("unique_id").is_in(list("bcdefg")))
    names = new["unique_id"].unique().sort().to_list()
    assert names[0] < "b"
    assert names[-1] > "g"
    assert any("b" < name < "c" for name in names)
    assert new["ds"].min() > before["ds"][FIRST - 1]
    assert (future.tested, future.short) == (8, 3)  # more than the six that were there
    assert future.added == 6 * HORIZON


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ({"a": ([1, 2], [0.5, 1.5])}, None),
        ({"a": ([1, 2], [0.5, np.nextafter(1.5, 2)])}, "a, 2: 1.5 | 1.5000000000000002"),
        ({"a": ([1, 2], [0.5, np.nan])}, "a, 2: 1.5 | nan"),
        ({"a": ([1, 3], [0.5, 1.5])}, "a, 2 | 3"),
        ({"a": ([1], [0.5])}, "a, 2 | 1 values"),
        ({}, "a: not there with the other future"),
        ({"a": ([1, 2], [0.5, 1.5]), "b": ([1], [0.0])}, "b: only there with the other future"),
    ],
)
def test_the_first_difference_is_named(after: dict[str, tuple[list[int], list[float]]], words: str | None) -> None:
    before = {"a": Piece(np.array([1, 2]), np.array([0.5, 1.5]))}
    assert first_difference(before, {k: Piece(np.array(x), np.array(y)) for k, (x, y) in after.items()}) == words
