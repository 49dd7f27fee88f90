"""Where series are cut: training, validation and test in this order, and nothing of the later in the earlier."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_model.errors import ConfigError, DataError
from rnn_model.windows import (
    Batch,
    Split,
    Windows,
    from_arrays,
    split_windows,
)

PROPERTY = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def counting(*lengths: int) -> Windows:
    """Series i holds 100 i, 100 i + 1, ...: every value says which point it is."""
    arrays = [100.0 * i + np.arange(n) for i, n in enumerate(lengths)]
    return from_arrays(arrays, np.array([[i + 1, i + 2] for i in range(len(lengths))]))


def equal(first: Batch, second: Batch) -> bool:
    return all(torch.equal(a.nan_to_num(-1e9), b.nan_to_num(-1e9)) for a, b in zip(first, second, strict=True))


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


def test_the_windows_that_choose_are_not_those_that_stop() -> None:
    windows = from_arrays([np.arange(60.0)], np.array([[1, 1]]))
    split = split_windows(windows, horizon=5, cutoffs=2, step=5, validation=3, min_history=4)
    assert split.stopping_index().origin.tolist() == [35]
    assert split.choosing_index().origin.tolist() == [40, 45]


def test_one_validation_window_stops_and_chooses() -> None:
    windows = from_arrays([np.arange(60.0)], np.array([[1, 1]]))
    split = split_windows(windows, horizon=5, cutoffs=2, step=5, validation=1, min_history=4)
    assert split.stopping_index().origin.tolist() == split.choosing_index().origin.tolist() == [45]


@pytest.mark.parametrize(
    ("points", "validation", "history"),
    [
        (20, [-1, 10], 7),  # the test begins at 15: half of that is 7, and 5 is less
        (60, [45, 50], 27),
        (400, [385, 390], 32),  # more than 32 points make no window more like the test
    ],
)
def test_windows_to_fit_and_choose_on_have_a_history_like_the_tests(
    points: int, validation: list[int], history: int
) -> None:
    windows = from_arrays([np.arange(float(points))], np.array([[1, 1]]))
    split = split_windows(windows, horizon=5, cutoffs=1, step=5, validation=2, min_history=2)
    assert split.validation[:, 0].tolist() == validation
    assert split.history == history


def test_a_training_window_needs_half_the_usual_history_of_a_test() -> None:
    windows = from_arrays([np.arange(float(n)) for n in (19, 25, 29)], np.ones((3, 2), dtype=np.int64))
    split = split_windows(windows, horizon=5, cutoffs=1, step=5, validation=1, min_history=3)
    assert split.history == 10  # the tests begin at 14, 20 and 24


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


def test_series_that_begin_after_the_first_cutoffs_do_not_move_what_is_fitted() -> None:
    shape = {"horizon": 4, "cutoffs": 3, "step": 4, "validation": 1, "min_history": 3}
    before = split_windows(counting(60, 50), **shape)
    after = split_windows(counting(60, 50, 12, 11, 10), **shape)  # from the first cutoff to the end there are 12 points
    assert after.test[:, 2:].max(0).tolist() == [8, 7, 6]  # they take part in the test
    assert after.history == before.history
