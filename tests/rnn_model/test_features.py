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
    season_rise,
    seasonal_candidates,
    window_features,
    window_slope,
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


K = len(CYCLES)


def test_cycles_of_season_4_are_laid_under_the_horizon() -> None:
    z = torch.tensor([[10.0, 11, 12, 13, 20, 21, 22, 23, 30, 31, 32, 33]])
    values, known = seasonal_candidates(z, seasons((4, 4)), 6)
    assert known[0, :, :K].all()
    assert values[0, :, :K].tolist() == [  # 1, 2, 3 short cycles back, 1, 2 long ones back
        [30, 20, 10, 30, 20],
        [31, 21, 11, 31, 21],
        [32, 22, 12, 32, 22],
        [33, 23, 13, 33, 23],
        [30, 20, 10, 30, 20],
        [31, 21, 11, 31, 21],
    ]


def test_lifted_cycles_have_risen_as_the_level_did_since() -> None:
    z = torch.tensor([[10.0, 11, 12, 13, 20, 21, 22, 23, 30, 31, 32, 33]])
    values, known = seasonal_candidates(z, seasons((4, 4)), 5)
    # 10 a cycle: every cycle goes on to the 40s; of the cycle before the third one back nothing is known
    assert values[0, :, K : 2 * K].tolist() == [[v, v, 0, v, v] for v in (40, 41, 42, 43, 40)]
    assert known[0, :, K : 2 * K].tolist() == [[True, True, False, True, True]] * 5


def test_the_level_is_that_of_the_short_season() -> None:
    z = torch.tensor([[0.0, 0, 5, 1, 1, 5, 3, 3, 7]])  # seasons 1 and 3: the level is the last point
    values, known = seasonal_candidates(z, seasons((1, 3)), 3)
    assert values[0, :, K + 3].tolist() == [5, 5, 9]  # 3, 3, 7, risen by 7 - 5
    assert known[0, :, K + 3].all()


def test_a_missing_point_is_an_unknown_candidate_in_its_own_place_only() -> None:
    z = torch.tensor([[10.0, 11, 12, 13, 20, NAN, 22, 23]])
    values, known = seasonal_candidates(z, seasons((4, 4)), 3)
    assert known[0, :, :K].tolist() == [
        [True, True, False, True, True],
        [False, True, False, False, True],
        [True, True, False, True, True],
    ]
    assert values[0, 1, :K].tolist() == [0, 11, 0, 0, 11]


def test_a_season_longer_than_the_history_leaves_the_last_value_and_the_line() -> None:
    values, known = seasonal_candidates(torch.tensor([[7.0, 7, 7]]), seasons((12, 12)), 2)
    assert known[0].tolist() == [[False] * (2 * K) + [True, True]] * 2
    assert values[0].tolist() == [[0] * (2 * K) + [7, 7]] * 2


def test_the_last_two_candidates_are_the_last_value_and_a_cycle_along_the_slope() -> None:
    z = torch.tensor([[0.0, 4, 2, 6, 4, 8, 6, 10]])
    values, known = seasonal_candidates(z, seasons((2, 2)), 4)
    slope = window_slope(z, torch.tensor([2])).item()
    assert values[0, :, -2].tolist() == [10] * 4
    assert values[0, :, -1].tolist() == pytest.approx([6 + 2 * slope, 10 + 2 * slope, 6 + 4 * slope, 10 + 4 * slope])
    assert known[0, :, -2:].all()


def test_a_season_on_a_line_goes_on_along_the_line() -> None:
    time = torch.arange(480.0)
    wave = torch.tensor([3.0, -1, 2, 0, 5, -9]).repeat(100)
    values, _ = seasonal_candidates((time + wave[:480])[None], seasons((6, 6)), 20)
    expected = torch.arange(480.0, 500.0) + wave[480:500]
    torch.testing.assert_close(values[0, :, -1], expected, atol=0.5, rtol=0)  # the slope is shrunk a little


def test_the_rise_compares_the_points_that_both_seasons_have() -> None:
    wave = torch.tensor([0.0, 3, 0, -3]).repeat(3)
    wave[[8, 10, 11]] = NAN  # of the last season one point is left, at its top
    assert season_rise(wave[None], torch.tensor([4]), torch.tensor([[4, 8]]))[0].tolist() == [0, 0]
    rising = torch.tensor([[1.0, NAN, 4, 6]])
    assert season_rise(rising, torch.tensor([2]), torch.tensor([[2, 4]]))[0].tolist() == pytest.approx(
        [3, NAN], nan_ok=True
    )


def test_the_slope_of_a_line_is_its_rise_but_for_the_shrinkage() -> None:
    long, short = 3.0 * torch.arange(200.0)[None], torch.tensor([[0.0, 3.0]])
    assert window_slope(long, torch.tensor([4])).item() == pytest.approx(3.0, rel=0.02)
    assert 0 < window_slope(short, torch.tensor([4])).item() < 1  # two points are little evidence
    assert window_slope(torch.full((1, 9), 5.0), torch.tensor([4])).item() == pytest.approx(0, abs=1e-6)
    assert window_slope(torch.full((1, 9), NAN), torch.tensor([4])).item() == 0


def test_a_season_of_1_lays_the_last_points_flat() -> None:
    values, _ = seasonal_candidates(torch.tensor([[5.0, 6, 7]]), seasons((1, 1)), 3)
    assert values[0, :, :K].tolist() == [[7, 6, 5, 7, 6]] * 3


def test_a_long_season_has_candidates_of_its_own() -> None:
    z = torch.arange(12.0)[None]
    values, known = seasonal_candidates(z, seasons((2, 6)), 3)
    assert values[0, 2, :K].tolist() == [10, 8, 6, 8, 2]  # step 2 is the first of the second short cycle
    assert known[0, :, :K].all()


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
