"""Windows by index: what they show, what they cannot show, and where series are cut."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_model.errors import DataError, IntegrityError
from rnn_model.windows import (
    Batch,
    Index,
    Windows,
    from_arrays,
    load_windows,
    save_windows,
)

PROPERTY = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def counting(*lengths: int) -> Windows:
    """Series i holds 100 i, 100 i + 1, ...: every value says which point it is."""
    arrays = [100.0 * i + np.arange(n) for i, n in enumerate(lengths)]
    return from_arrays(arrays, np.array([[i + 1, i + 2] for i in range(len(lengths))]))


def index(*pairs: tuple[int, int]) -> Index:
    series, origin = np.array(pairs).T
    return Index(series, origin)


def equal(first: Batch, second: Batch) -> bool:
    return all(torch.equal(a.nan_to_num(-1e9), b.nan_to_num(-1e9)) for a, b in zip(first, second, strict=True))


# ---- gather


def test_a_window_is_the_points_before_its_origin_and_those_from_it_on() -> None:
    batch = counting(6, 5).gather(index((1, 3), (0, 2)), context=2, horizon=2)
    assert batch.context.tolist() == [[101, 102], [0, 1]]
    assert batch.target.tolist() == [[103, 104], [2, 3]]
    assert batch.periods.tolist() == [[2, 3], [1, 2]]


@PROPERTY
@given(data=st.data())
def test_gather_equals_a_walk_point_by_point(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any))
    full = counting(*lengths)
    end = np.array([data.draw(st.integers(0, n)) for n in lengths])
    view = full.until(end)
    pairs = [
        (s, data.draw(st.integers(0, int(end[s]))))
        for s in data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=6))
    ]
    context, horizon = data.draw(st.integers(1, 12)), data.draw(st.integers(0, 12))
    batch = view.gather(index(*pairs), context, horizon)
    for row, (s, origin) in enumerate(pairs):
        for column, position in enumerate(range(origin - context, origin + horizon)):
            value = torch.cat([batch.context[row], batch.target[row]])[column]
            if 0 <= position < end[s]:
                assert value == 100 * s + position
            else:
                assert value.isnan()


@PROPERTY
@given(cut=st.integers(1, 20), seed=st.integers(0, 999))
def test_nothing_at_or_past_the_end_appears_in_any_drawn_window(cut: int, seed: int) -> None:
    full = counting(20, 20)
    view = full.until(np.array([cut, 20]))
    batch = view.gather(view.draw(np.random.default_rng(seed), 30, 1, 3), context=8, horizon=6)
    shown = torch.cat([batch.context, batch.target], 1)
    assert not ((shown >= cut) & (shown < 100)).any()


def test_a_window_past_the_cutoff_is_refused() -> None:
    view = counting(10).until(np.array([6]))
    view.gather(index((0, 6)), 4, 2)
    with pytest.raises(DataError, match="past the cutoff"):
        view.gather(index((0, 7)), 4, 2)


def test_a_view_cannot_be_widened() -> None:
    view = counting(10, 10).until(np.array([6, 8]))
    assert view.until(np.array([6, 2])).end.tolist() == [6, 2]
    with pytest.raises(DataError, match="series 1: asked for 9 points, visible are 8"):
        view.until(np.array([6, 9]))


def test_narrowing_leaves_the_wider_view_as_it_was() -> None:
    view = counting(10)
    view.until(np.array([3]))
    assert view.end.tolist() == [10]


def test_history_is_what_is_visible_of_one_series() -> None:
    assert counting(4, 6).until(np.array([4, 2])).history(1).tolist() == [100, 101]


def test_batches_are_the_whole_index_in_order() -> None:
    windows = counting(20)
    every = index(*[(0, origin) for origin in range(5, 12)])
    parts = windows.batches(every, 3, 2, size=3)
    assert [len(b.context) for b in parts] == [3, 3, 1]
    assert torch.equal(torch.cat([b.context for b in parts]), windows.gather(every, 3, 2).context)


# ---- draw


def test_a_draw_is_uniform_over_all_valid_windows_and_touches_no_other() -> None:
    windows = counting(9, 4, 12, 0, 6)
    valid = {(s, o) for s, n in enumerate((9, 4, 12, 0, 6)) for o in range(2, n - 3 + 1)}
    assert windows.count(2, 3) == len(valid) == 5 + 0 + 8 + 2
    drawn = windows.draw(np.random.default_rng(0), 30_000, 2, 3)
    pairs, counts = np.unique(np.stack(drawn), axis=1, return_counts=True)
    assert set(map(tuple, pairs.T.tolist())) == valid
    assert np.abs(counts / 30_000 * len(valid) - 1).max() < 0.1  # 2000 each, five standard deviations


def test_a_series_of_exactly_history_and_horizon_has_one_window() -> None:
    drawn = counting(5).draw(np.random.default_rng(0), 10, 2, 3)
    assert set(drawn.origin.tolist()) == {2}


def test_without_any_valid_window_a_draw_says_what_is_missing() -> None:
    with pytest.raises(DataError, match=r"no series has 3 points of history and 4 of target .* \(longest: 6\)"):
        counting(6, 2).draw(np.random.default_rng(0), 1, 3, 4)


def test_the_windows_of_a_step_depend_on_seed_and_step_alone() -> None:
    windows = counting(40, 40)
    draw = windows.drawing(16, 8, 4, 1, seed=5)
    third = draw(3)
    draw(1)
    assert equal(windows.drawing(16, 8, 4, 1, seed=5)(3), third)
    assert not equal(draw(4), third)
    assert not equal(windows.drawing(16, 8, 4, 1, seed=6)(3), third)


# ---- on disk


def test_windows_come_back_from_disk_equal_and_memory_mapped(tmp_path: Path) -> None:
    windows = counting(5, 7)
    loaded = load_windows(save_windows(windows, tmp_path / "w", {"ids": ["a", "b"]}))
    assert isinstance(loaded.values, np.memmap)
    for mine, theirs in zip(
        (windows.values, windows.offsets, windows.periods, windows.end),
        (loaded.values, loaded.offsets, loaded.periods, loaded.end),
        strict=True,
    ):
        assert np.array_equal(mine, theirs)
        assert mine.dtype == theirs.dtype
    assert json.loads((tmp_path / "w" / "about.json").read_text()) == {"ids": ["a", "b"]}


def test_loaded_windows_gather_what_the_saved_ones_did(tmp_path: Path) -> None:
    windows = counting(5, 7)
    loaded = load_windows(save_windows(windows, tmp_path / "w", {}))
    assert equal(loaded.gather(index((1, 4)), 6, 3), windows.gather(index((1, 4)), 6, 3))


@pytest.mark.parametrize("name", ["values.npy", "offsets.npy", "periods.npy", "about.json"])
def test_a_flipped_bit_on_disk_is_found(tmp_path: Path, name: str) -> None:
    folder = save_windows(counting(5, 7), tmp_path / "w", {"ids": ["a", "b"]})
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(IntegrityError, match=name) as raised:
        load_windows(folder)
    assert raised.value.exit_code == 76


@pytest.mark.parametrize(
    ("count", "most", "kept"), [(10, 4, [0, 3, 6, 9]), (8, 4, [0, 2, 4, 6]), (3, 4, [0, 1, 2]), (0, 4, [])]
)
def test_of_too_many_windows_every_second_or_third_stays(count: int, most: int, kept: list[int]) -> None:
    index = Index(np.arange(count), 100 + np.arange(count)).thinned(most)
    assert index.series.tolist() == kept
    assert index.origin.tolist() == [100 + n for n in kept]
