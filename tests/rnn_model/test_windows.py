"""Windows by index: what they show, what they cannot show, and where series are cut."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_model.errors import ConfigError, DataError, IntegrityError
from rnn_model.windows import (
    Batch,
    Index,
    Split,
    Windows,
    from_arrays,
    load_windows,
    save_windows,
    split_windows,
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


# ---- split


def test_cutoffs_are_counted_back_from_the_end() -> None:
    split = split_windows(counting(40), horizon=4, cutoffs=3, step=2, validation=2, min_history=5)
    assert split.test[:, 0].tolist() == [32, 34, 36]  # the last window is 36 to 40
    assert split.validation[:, 0].tolist() == [24, 28]  # the last validation window is 28 to 32


def test_training_stops_before_the_first_validation_origin_and_tuning_before_the_first_test() -> None:
    windows = counting(40)
    split = split_windows(windows, horizon=4, cutoffs=3, step=2, validation=2, min_history=5)
    assert split.training(windows).end.tolist() == [24]
    assert split.tuning(windows).end.tolist() == [32]


def test_a_short_series_takes_part_in_what_it_is_long_enough_for() -> None:
    windows = counting(40, 12, 11, 8)  # min_history 5, horizon 4: at least 9 points for one test
    split = split_windows(windows, horizon=4, cutoffs=2, step=2, validation=1, min_history=5)
    assert split.test.tolist() == [[34, 6, 5, -1], [36, 8, 7, -1]]
    assert split.validation.tolist() == [[30, -1, -1, -1]]
    assert split.training(windows).end.tolist() == [30, 6, 5, 0]
    assert split.choosing_index().series.tolist() == [0]
    assert split.test_index(1).series.tolist() == [0, 1, 2]
    assert split.test_index(1).origin.tolist() == [36, 8, 7]


def test_a_series_too_short_for_the_early_cutoffs_takes_part_in_the_later_ones() -> None:
    split = split_windows(counting(40, 10), horizon=4, cutoffs=3, step=2, validation=1, min_history=5)
    assert split.test[:, 1].tolist() == [-1, -1, 6]
    assert split.tuning(counting(40, 10)).end.tolist() == [32, 6]


@PROPERTY
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    horizon=st.integers(1, 5),
    cutoffs=st.integers(1, 3),
    step=st.integers(1, 6),
    validation=st.integers(1, 3),
    least=st.integers(1, 6),
)
def test_training_validation_and_test_targets_never_overlap(
    lengths: list[int], horizon: int, cutoffs: int, step: int, validation: int, least: int
) -> None:
    windows = counting(*lengths)
    if max(lengths) < least + horizon:
        with pytest.raises(DataError):
            split_windows(windows, horizon, cutoffs, step, validation, least)
        return
    split = split_windows(windows, horizon, cutoffs, step, validation, least)
    training = split.training(windows).end
    for s, length in enumerate(lengths):
        tests, checks = (origins[:, s][origins[:, s] >= 0] for origins in (split.test, split.validation))
        assert (tests + horizon <= length).all()
        assert all(origin >= least for origin in (*tests, *checks))
        if len(checks):
            assert checks.max() + horizon == tests.min()
            assert training[s] == checks.min()
        assert training[s] <= (tests.min() if len(tests) else 0)


@pytest.mark.parametrize("wrong", ["horizon", "cutoffs", "step", "validation", "min_history"])
def test_a_split_of_nothing_is_refused(wrong: str) -> None:
    good = {"horizon": 4, "cutoffs": 1, "step": 1, "validation": 1, "min_history": 2}
    with pytest.raises(ConfigError, match="at least 1"):
        split_windows(counting(40), **(good | {wrong: 0}))


def test_series_too_short_for_any_test_are_an_error_that_says_how_long_the_longest_is() -> None:
    with pytest.raises(DataError, match="longest: 8"):
        split_windows(counting(8, 3), horizon=4, cutoffs=1, step=1, validation=1, min_history=5)


# ---- the leak


def material(values: np.ndarray) -> tuple[Split, list[Batch]]:
    """Everything a training on two series of 60 and 45 points sees: draws and validation."""
    windows = from_arrays([values[:60], values[60:]], np.array([[4, 4], [4, 4]]))
    split = split_windows(windows, horizon=5, cutoffs=3, step=5, validation=2, min_history=6)
    draw = split.training(windows).drawing(64, 16, 5, 6, seed=1)
    return split, [
        *(draw(step) for step in range(5)),
        *split.tuning(windows).batches(split.stopping_index(), 16, 5),
        *split.tuning(windows).batches(split.choosing_index(), 16, 5),
    ]


def test_nothing_after_the_first_test_cutoff_reaches_training_or_validation() -> None:
    values = np.random.default_rng(0).normal(size=105)
    split, before = material(values)
    first = split.test.min(0)  # the first cutoff of each series
    changed = values.copy()
    changed[first[0] : 60] = 1e9
    changed[60 + first[1] :] = np.nan
    _, after = material(changed)
    assert all(equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_leak_test_sees_a_change_before_the_cutoff() -> None:
    values = np.random.default_rng(0).normal(size=105)
    split, before = material(values)
    changed = values.copy()
    changed[split.test.min(0)[0] - 1] = 1e9
    assert not all(equal(a, b) for a, b in zip(before, material(changed)[1], strict=True))


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


def test_the_windows_that_choose_are_not_those_that_stop() -> None:
    windows = from_arrays([np.arange(60.0)], np.array([[1, 1]]))
    split = split_windows(windows, horizon=5, cutoffs=2, step=5, validation=3, min_history=4)
    assert split.stopping_index().origin.tolist() == [35, 40]
    assert split.choosing_index().origin.tolist() == [45]


def test_one_validation_window_stops_and_chooses() -> None:
    windows = from_arrays([np.arange(60.0)], np.array([[1, 1]]))
    split = split_windows(windows, horizon=5, cutoffs=2, step=5, validation=1, min_history=4)
    assert split.stopping_index().origin.tolist() == split.choosing_index().origin.tolist() == [45]
