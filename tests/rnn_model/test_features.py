"""What the network is told about a window: features and seasonal candidates, worked out by hand."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rnn_model.network import (
    CYCLES,
    Network,
    last_observed,
    point_features,
    seasonal_candidates,
    window_features,
)
from rnn_model.scaling import window_scale

NAN = float("nan")
Build = Callable[..., Network]
PROPERTY = settings(max_examples=20, deadline=None, derandomize=True, database=None)


def seasons(*rows: tuple[int, int]) -> Tensor:
    return torch.tensor(rows)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- features


def test_point_features_are_now_and_one_season_earlier_with_their_masks() -> None:
    z = torch.tensor([[1.0, 2.0, NAN, 4.0, 5.0]])
    expected = [  # value now, 2 earlier, 4 earlier; the mask of each
        [1, 0, 0, 1, 0, 0],
        [2, 0, 0, 1, 0, 0],
        [0, 1, 0, 0, 1, 0],
        [4, 2, 0, 1, 1, 0],
        [5, 0, 1, 1, 0, 1],
    ]
    assert point_features(z, seasons((2, 4)))[0].tolist() == expected


def test_candidates_of_season_4_are_the_last_cycles_laid_under_the_horizon() -> None:
    z = torch.tensor([[10.0, 11, 12, 13, 20, 21, 22, 23, 30, 31, 32, 33]])
    values, known = seasonal_candidates(z, seasons((4, 4)), 6)
    assert known.all()
    assert values[0].tolist() == [  # 1, 2, 3 short cycles back, 1, 2 long ones back, the last value
        [30, 20, 10, 30, 20, 33],
        [31, 21, 11, 31, 21, 33],
        [32, 22, 12, 32, 22, 33],
        [33, 23, 13, 33, 23, 33],
        [30, 20, 10, 30, 20, 33],
        [31, 21, 11, 31, 21, 33],
    ]


def test_a_missing_point_is_an_unknown_candidate_in_its_own_place_only() -> None:
    z = torch.tensor([[10.0, 11, 12, 13, 20, NAN, 22, 23]])
    values, known = seasonal_candidates(z, seasons((4, 4)), 3)
    assert known[0].tolist() == [
        [True, True, False, True, True, True],
        [False, True, False, False, True, True],
        [True, True, False, True, True, True],
    ]
    assert values[0, 1].tolist() == [0, 11, 0, 0, 11, 23]


def test_a_season_longer_than_the_history_leaves_the_last_value_alone() -> None:
    values, known = seasonal_candidates(torch.tensor([[5.0, 6, 7]]), seasons((12, 12)), 2)
    assert known[0].tolist() == [[False] * 5 + [True]] * 2
    assert values[0].tolist() == [[0, 0, 0, 0, 0, 7]] * 2


def test_a_season_of_1_lays_the_last_points_flat() -> None:
    values, _ = seasonal_candidates(torch.tensor([[5.0, 6, 7]]), seasons((1, 1)), 3)
    assert values[0].tolist() == [[7, 6, 5, 7, 6, 7]] * 3


def test_a_long_season_has_candidates_of_its_own() -> None:
    z = torch.arange(12.0)[None]
    values, known = seasonal_candidates(z, seasons((2, 6)), 3)
    assert values[0, 2].tolist() == [10, 8, 6, 8, 2, 11]  # step 2 is the first of the second short cycle
    assert known.all()


@PROPERTY
@given(
    length=st.integers(1, 30),
    short=st.integers(1, 12),
    cycles=st.integers(1, 4),
    steps=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_candidates_equal_a_walk_back_cycle_by_cycle(
    length: int, short: int, cycles: int, steps: int, seed: int
) -> None:
    z = noise(1, length, seed=seed).masked_fill(noise(1, length, seed=seed + 1) > 1, NAN)
    values, known = seasonal_candidates(z, seasons((short, short * cycles)), steps)
    for t in range(steps):
        for c, (season, back) in enumerate(CYCLES):
            m = (short, short * cycles)[season]
            place = length + t
            while place >= length:  # the latest point of the same phase that is in the past
                place -= m
            place -= m * (back - 1)
            there = place >= 0 and not math.isnan(z[0, place])
            assert known[0, t, c] == there
            assert values[0, t, c] == (z[0, place] if there else 0)


def test_last_observed_skips_missing_points_and_is_0_where_there_is_none() -> None:
    z = torch.tensor([[1.0, 2, NAN, NAN], [NAN] * 4, [1, 2, 3, 4]])
    assert last_observed(z).tolist() == [2, 0, 4]


def test_window_features_worked_out_by_hand() -> None:
    context = torch.tensor([[0.0, NAN, 0.0, 6.0]])
    scale = window_scale(context, torch.tensor([3]))
    zero = math.asinh(-scale.level.item() / scale.spread.item())
    last = math.asinh((6 - scale.level.item()) / scale.spread.item())
    expected = [zero / 4, 2 / 3, math.log(3) / 5, math.log(3) / 5, math.log(12) / 5, last]
    features = window_features(scale.apply(context), scale, seasons((3, 12)))
    assert features[0].tolist() == pytest.approx(expected, rel=1e-5)
