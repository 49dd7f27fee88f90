"""What the network is told about a window: features and seasonal candidates, worked out by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensors import noise, seasons
from torch import Tensor

from rnn_model import features
from rnn_model.autoregression import autoregressions, regressions
from rnn_model.features import (
    CYCLE_COUNT,
    DEPTH,
    FADE,
    LATEST,
    LEAST_ERROR,
    POINT_FEATURES,
    SINGLE,
    WINDOW_FEATURES,
    faded_mean,
    measured_season,
    naive_errors,
    predictability,
    season_rise,
    view_window,
    window_features,
    window_slope,
)
from rnn_model.lags import lagged
from rnn_model.scaling import weights_half_life, window_scale
from rnn_model.smoothing import smoothed_seasons

NAN = float("nan")
PROPERTY = settings(max_examples=20, deadline=None, derandomize=True, database=None)


def seasonal_candidates(z: Tensor, periods: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    return features.seasonal_candidates(z, periods, regressions(z, periods), steps)


def candidate_errors(z: Tensor, periods: Tensor) -> Tensor:
    return features.candidate_errors(z, periods, regressions(z, periods))


# ---- features


def test_points_are_now_and_one_season_earlier_with_their_masks() -> None:
    z = torch.tensor([[1.0, 2.0, NAN, 4.0, 5.0]])
    view = view_window(z, window_scale(z, torch.tensor([2])), seasons((2, 4)))
    assert view.periods.tolist() == [[2, 4, 1]]  # five points are too few to measure a season
    assert view.points[0].tolist() == [  # value now, 2, 4 and 1 earlier; the mask of each
        [1, 0, 0, 0, 1, 0, 0, 0],
        [2, 0, 0, 1, 1, 0, 0, 1],
        [0, 1, 0, 2, 0, 1, 0, 1],
        [4, 2, 0, 0, 1, 1, 0, 0],
        [5, 0, 1, 4, 1, 0, 1, 1],
    ]
    assert view.points.shape[2] == POINT_FEATURES
    assert view.window.shape == (1, WINDOW_FEATURES)


K = len(SINGLE)
ONE, FOUR, LIFTED, SMOOTHED = (n * CYCLE_COUNT for n in (1, 2, 3, 4))  # where those moved by each level begin, and end


def test_cycles_of_season_4_are_laid_under_the_horizon() -> None:
    z = torch.tensor([[10.0, 11, 12, 13, 20, 21, 22, 23, 30, 31, 32, 33]])
    values, known = seasonal_candidates(z, seasons((4, 4, 2)), 6)
    assert known[0, :, :K].all()
    assert values[0, :, :K].tolist() == [  # 1, 2, 3 short cycles back, 1, 2 long ones, 1, 2 measured ones
        [30, 20, 10, 30, 20, 32, 30],
        [31, 21, 11, 31, 21, 33, 31],
        [32, 22, 12, 32, 22, 32, 30],
        [33, 23, 13, 33, 23, 33, 31],
        [30, 20, 10, 30, 20, 32, 30],
        [31, 21, 11, 31, 21, 33, 31],
    ]


def test_moved_cycles_go_on_from_the_last_value() -> None:
    z = torch.tensor([[10.0, 11, 12, 15, 20, 21, 22, 23]])
    values, known = seasonal_candidates(z, seasons((4, 4, 4)), 2)
    # the latest cycle followed a 15 and now follows a 23; what preceded the one before is not known
    assert values[0, :, ONE : ONE + K].tolist() == [[28, 0, 0, 28, 0, 28, 0], [29, 0, 0, 29, 0, 29, 0]]
    assert known[0, :, ONE : ONE + K].tolist() == [[True, False, False, True, False, True, False]] * 2


def test_lifted_cycles_have_risen_as_the_level_did_since() -> None:
    z = torch.tensor([[10.0, 11, 12, 13, 20, 21, 22, 23, 30, 31, 32, 33]])
    values, known = seasonal_candidates(z, seasons((4, 4, 4)), 5)
    # 10 a cycle: every cycle goes on to the 40s; of the cycle before the third one back nothing is known
    rows = [[v, v, 0, v, v, v, v] for v in (40, 41, 42, 43, 40)]
    assert values[0, :, LIFTED : LIFTED + K].tolist() == rows
    assert known[0, :, LIFTED : LIFTED + K].tolist() == [[True, True, False, True, True, True, True]] * 5


def test_the_mean_of_a_seasons_cycles_fades_and_leaves_out_what_is_missing() -> None:
    z = torch.tensor([[10.0, 11, 20, NAN, 30, 31]])
    values, known = seasonal_candidates(z, seasons((2, 2, 2)), 3)
    even = (30 + 20 * FADE + 10 * FADE**2) / (1 + FADE + FADE**2)
    odd = (31 + 11 * FADE**2) / (1 + FADE**2)
    assert values[0, :, K].tolist() == pytest.approx([even, odd, even])
    assert known[0, :, K].all()
    assert faded_mean(torch.tensor([[NAN] * DEPTH])).isnan().all()


def test_each_season_has_a_mean_of_its_own() -> None:
    z = torch.arange(12.0)[None]
    values, _ = seasonal_candidates(z, seasons((2, 6, 3)), 1)
    for column, m in enumerate((2, 6, 3)):
        back = range(1, 12 // m + 1)
        mean = sum((12 - m * k) * FADE ** (k - 1) for k in back) / sum(FADE ** (k - 1) for k in back)
        assert values[0, 0, K + column].item() == pytest.approx(mean)


def test_a_mean_is_of_the_latest_cycles_and_forgets_those_before() -> None:
    z = torch.ones(1, 2 * (DEPTH + 2))
    z[0, :4] = 1000
    values, _ = seasonal_candidates(z, seasons((2, 2, 2)), 2)
    assert values[0, :, K].tolist() == pytest.approx([1, 1])
    z[0, 4:6] = 1000  # the last that counts
    assert (seasonal_candidates(z, seasons((2, 2, 2)), 2)[0][0, :, K] > 10).all()


def test_candidates_are_the_same_in_a_training_of_half_precision() -> None:
    z, periods = noise(4, 90).float().cumsum(1), seasons(*[(7, 28, 12)] * 4)
    with torch.autocast("cpu", torch.bfloat16):
        half = seasonal_candidates(z, periods, 12)[0]
    assert torch.equal(half, seasonal_candidates(z, periods, 12)[0])


def test_a_mean_of_cycles_moves_with_the_level_as_each_of_them_does() -> None:
    wave = torch.tensor([0.0, 3, 1, -4]).repeat(6) + torch.arange(6).repeat_interleave(4) * 10
    values, known = seasonal_candidates(wave[None], seasons((4, 4, 4)), 4)
    for level in (ONE, FOUR, LIFTED):  # of one point, of four, and of the season
        assert values[0, :, level + K].tolist() == pytest.approx([60, 63, 61, 56])
        assert known[0, :, level + K].all()


def test_four_points_say_more_of_the_level_than_one() -> None:
    z = torch.zeros(1, 24)
    z[0, -1] = 8  # the last value alone is out of line
    values, _ = seasonal_candidates(z, seasons((6, 6, 6)), 3)
    assert values[0, :, ONE].tolist() == [8] * 3
    assert values[0, :, FOUR].tolist() == [2] * 3
    assert values[0, :, FOUR + K].tolist() == pytest.approx([2] * 3)


def test_the_level_is_that_of_the_short_season() -> None:
    z = torch.tensor([[0.0, 0, 5, 1, 1, 5, 3, 3, 7]])  # seasons 1 and 3: the level is the last point
    values, known = seasonal_candidates(z, seasons((1, 3, 1)), 3)
    assert values[0, :, LIFTED + 3].tolist() == [5, 5, 9]  # 3, 3, 7, risen by 7 - 5
    assert known[0, :, LIFTED + 3].all()


def test_a_missing_point_is_an_unknown_candidate_in_its_own_place_only() -> None:
    z = torch.tensor([[10.0, 11, 12, 13, 20, NAN, 22, 23]])
    values, known = seasonal_candidates(z, seasons((4, 4, 4)), 3)
    assert known[0, :, :K].tolist() == [
        [True, True, False, True, True, True, True],
        [False, True, False, False, True, False, True],
        [True, True, False, True, True, True, True],
    ]
    assert values[0, 1, :K].tolist() == [0, 11, 0, 0, 11, 0, 11]


def test_a_season_longer_than_the_history_leaves_the_level_the_steps_the_last_value_the_median_and_the_lines() -> None:
    values, known = seasonal_candidates(torch.tensor([[7.0, 7, 7]]), seasons((12, 12, 12)), 2)
    assert known[0].tolist() == [[False] * SMOOTHED + [True] * 12 + [False] + [True] * 5] * 2
    assert values[0].tolist() == [pytest.approx([0] * SMOOTHED + [7] * 12 + [0] + [7] * 5)] * 2


def test_the_last_candidates_are_the_last_value_a_cycle_along_the_slope_and_the_latest_slope() -> None:
    z = torch.tensor([[0.0, 4, 2, 6, 4, 8, 6, 10]])
    values, known = seasonal_candidates(z, seasons((2, 2, 2)), 4)
    slope = window_slope(z, weights_half_life(torch.tensor([2]))).item()
    steep = window_slope(z, torch.tensor([[3.0]])).item()
    assert values[0, :, -4].tolist() == [10] * 4
    assert values[0, :, -2].tolist() == pytest.approx([6 + 2 * slope, 10 + 2 * slope, 6 + 4 * slope, 10 + 4 * slope])
    assert values[0, :, -1].tolist() == pytest.approx([10 + steep * k for k in (1, 2, 3, 4)])
    assert known[0, :, -4:].all()


def test_the_median_of_the_latest_points_is_a_candidate_and_nothing_where_little_is_sold() -> None:
    demand = torch.zeros(1, 60)
    demand[0, :20], demand[0, 30::3], demand[0, -2:] = 9, 4, NAN
    values, known = seasonal_candidates(demand, seasons((12, 12, 12)), 2)
    assert values[0, :, -3].tolist() == [0, 0]
    assert known[0, :, -3].all()
    demand[0, -LATEST:] = NAN
    assert not seasonal_candidates(demand, seasons((12, 12, 12)), 2)[1][0, :, -3].any()


def test_each_season_around_its_smoothed_level_stays_or_drifts_with_half_all_or_a_lasting_slope() -> None:
    z = (noise(2, 60) + 0.1 * torch.arange(60.0)).float()
    periods = seasons((4, 12, 1), (6, 6, 6))
    values, known = seasonal_candidates(z, periods, 3)
    smoothed = values[..., SMOOTHED : SMOOTHED + 12].view(2, 3, 3, 4)  # row, step, season, drift
    laid, age = smoothed_seasons(z, periods, 3)
    half_life = weights_half_life(periods[:, 0])
    slope, lasting = (window_slope(z, times * half_life)[:, None] for times in (1, 4))  # (2, 1, 1)
    since = torch.arange(1, 4)[None, :, None] + age  # steps from where the level lies
    for number, drift in enumerate((0, 0.5 * slope, slope, lasting)):
        torch.testing.assert_close(smoothed[..., number], laid + drift * since)
    assert known[..., SMOOTHED : SMOOTHED + 12].all()


def test_what_autoregressions_make_of_the_window_comes_after_the_smoothed_seasons() -> None:
    z, periods = noise(2, 60).float(), seasons((4, 12, 7), (6, 6, 6))
    values, known = seasonal_candidates(z, periods, 9)
    assert torch.equal(
        values[..., features.FITTED_AT],
        autoregressions(z, weights_half_life(periods[:, 0]), regressions(z, periods), 9),
    )
    assert known[..., features.FITTED_AT].all()


def test_a_line_goes_on_from_a_level_that_lags_behind_it() -> None:
    line = 0.1 * torch.arange(400.0, dtype=torch.float64)[None]
    values, _ = seasonal_candidates(line, seasons((1, 1, 1)), 8)
    expected = 0.1 * torch.arange(400, 408)
    torch.testing.assert_close(values[0, :, SMOOTHED + 2], expected.double(), rtol=0, atol=0.05)


def test_after_a_long_silence_the_level_is_unknown() -> None:
    z = noise(1, 800).float()
    z[:, -500:] = NAN
    assert not seasonal_candidates(z, seasons((4, 4, 4)), 2)[1][..., SMOOTHED : SMOOTHED + 12].any()


def test_a_season_on_a_line_goes_on_along_the_line() -> None:
    time = torch.arange(480.0)
    wave = torch.tensor([3.0, -1, 2, 0, 5, -9]).repeat(100)
    values, _ = seasonal_candidates((time + wave[:480])[None], seasons((6, 6, 6)), 20)
    expected = torch.arange(480.0, 500.0) + wave[480:500]
    torch.testing.assert_close(values[0, :, -2], expected, atol=0.5, rtol=0)  # the slope is shrunk a little


def test_the_rise_compares_the_points_that_both_seasons_have() -> None:
    wave = torch.tensor([0.0, 3, 0, -3]).repeat(3)
    wave[[8, 10, 11]] = NAN  # of the last season one point is left, at its top
    assert season_rise(wave[None], torch.tensor([[4]]), torch.tensor([[4, 8]])).tolist() == [[[0, 0]]]
    rising = torch.tensor([[1.0, NAN, 4, 6]])
    one, two = season_rise(rising, torch.tensor([[1, 2]]), torch.tensor([[1, 2]]))[0].tolist()
    assert one == pytest.approx([2, NAN], nan_ok=True)  # 6 - 4; of the point before 4 nothing is known
    assert two == pytest.approx([2, 3], nan_ok=True)  # 4 has nothing before it; 6 - NaN, 4 - 1


def test_the_slope_of_a_line_is_its_rise_but_for_the_shrinkage() -> None:
    long, short, half_life = 3.0 * torch.arange(200.0)[None], torch.tensor([[0.0, 3.0]]), torch.tensor([[16.0]])
    assert window_slope(long, half_life).item() == pytest.approx(3.0, rel=0.02)
    assert 0 < window_slope(short, half_life).item() < 1  # two points are little evidence
    assert window_slope(torch.full((1, 9), 5.0), half_life).item() == pytest.approx(0, abs=1e-6)
    assert window_slope(torch.full((1, 9), NAN), half_life).item() == 0


def test_a_season_of_1_lays_the_last_points_flat() -> None:
    values, _ = seasonal_candidates(torch.tensor([[5.0, 6, 7]]), seasons((1, 1, 1)), 3)
    assert values[0, :, :K].tolist() == [[7, 6, 5, 7, 6, 7, 6]] * 3


def test_a_long_season_has_candidates_of_its_own() -> None:
    z = torch.arange(12.0)[None]
    values, known = seasonal_candidates(z, seasons((2, 6, 2)), 3)
    assert values[0, 2, :5].tolist() == [10, 8, 6, 8, 2]  # step 2 is the first of the second short cycle
    assert known[0, :, :K].all()


# ---- how good they have been


def lag_errors(z: Tensor, lags: Tensor, period: Tensor) -> Tensor:
    return naive_errors(z, *lagged(z, lags), period)


def test_naive_errors_are_the_mean_steps_over_a_lag() -> None:
    z = torch.tensor([[0.0, 5, 1, 6, 2, 7, 3, 8]])  # up 5, down 4; one more each second step
    errors = lag_errors(z, torch.tensor([[1, 2, 20]]), torch.tensor([2]))[0]
    assert 4 < errors[0] < 5
    assert errors[1:].tolist() == pytest.approx([1, 1])  # of a lag longer than the window: the spread of z
    assert lag_errors(torch.zeros(1, 8), torch.tensor([[1]]), torch.tensor([1])).item() == pytest.approx(LEAST_ERROR)
    assert lag_errors(torch.full((1, 8), NAN), torch.tensor([[1]]), torch.tensor([1])).item() == 1


def test_a_few_pairs_that_agree_by_chance_are_no_evidence() -> None:
    z = noise(1, 15).float()
    z[0, 12:] = z[0, :3]  # three pairs, equal
    assert lag_errors(z, torch.tensor([[12]]), torch.tensor([12])).item() == 1
    again = torch.cat([z[:, :12], z[:, :12]], 1)  # twelve
    assert lag_errors(again, torch.tensor([[12]]), torch.tensor([12])).item() == pytest.approx(LEAST_ERROR)


def test_what_was_long_ago_is_remembered_through_silence() -> None:
    z = noise(1, 2200).float()
    silent = torch.cat([z, torch.full((1, 1896), NAN)], 1)
    one, period = torch.tensor([[1]]), torch.tensor([1])
    assert lag_errors(silent, one, period).item() == pytest.approx(lag_errors(z, one, period).item())
    half_life = torch.tensor([[16.0]])
    assert window_slope(silent, half_life).item() == pytest.approx(window_slope(z, half_life).item(), abs=1e-6)


def test_naive_errors_forget() -> None:
    calm_then_wild = torch.cat([torch.zeros(200), torch.tensor([1.0, -1]).repeat(50)])[None]
    lags = torch.tensor([[1]])
    wild = lag_errors(calm_then_wild, lags, torch.tensor([1])).item()
    assert wild > 10 * lag_errors(calm_then_wild.flip(1), lags, torch.tensor([1])).item()


def test_the_record_tells_which_candidate_has_been_right() -> None:
    wave = torch.tensor([0.0, 3, 1, -4, 2, 2, -1]).repeat(9)[None]
    errors = candidate_errors(wave, seasons((7, 7, 7)))[0]
    assert errors[:K].tolist() == [0] * K  # the cycles repeat themselves
    assert (errors[[-4, -1]] > 1).all()
    line = torch.arange(63.0)[None]
    errors = candidate_errors(line, seasons((1, 1, 1)))[0]
    assert errors[-4].item() == pytest.approx(4.5)  # the last value, 1 to 8 steps ahead
    assert errors[-1] < 0.1


def test_the_record_of_what_was_never_tried_is_that_of_the_others() -> None:
    errors = candidate_errors(noise(1, 20), seasons((30, 30, 30)))[0]
    assert errors[0].item() == pytest.approx(errors[SMOOTHED:].mean().item())
    assert candidate_errors(noise(1, 5), seasons((4, 4, 4))).tolist() == [[1.0] * len(errors)]


def test_a_window_that_repeats_itself_weighs_more_in_the_loss() -> None:
    wave = torch.tensor([0.0, 3, 1, -4]).repeat(9)
    z = torch.stack([wave, wave + noise(36).float()])
    clean, noisy = predictability(z, seasons((4, 4), (4, 4))).tolist()
    assert clean > 2 * noisy > 0


# ---- the measured season


def wave_of(period: float, size: int, noisy: float = 0.0, slope: float = 0.0) -> Tensor:
    time = torch.arange(size, dtype=torch.float64)
    wave = torch.sin(2 * math.pi * time / period) + 0.5 * torch.cos(4 * math.pi * time / period)
    return (wave + noisy * noise(size) + slope * time)[None]


@pytest.mark.parametrize("period", [3, 4, 7, 12, 24, 52, 168])
@pytest.mark.parametrize("slope", [0.0, 0.05])
def test_the_season_of_a_wave_is_measured_under_a_trend(period: int, slope: float) -> None:
    found, strength = measured_season(wave_of(period, 6 * period + 20, 0.05, slope).float())
    assert found.item() == period
    assert strength.item() > 0.9


def test_a_season_is_measured_around_missing_points() -> None:
    z = wave_of(12, 120, 0.1).float().masked_fill(noise(1, 120, seed=3) > 0.5, NAN)
    z[:, 60:70] = NAN
    assert measured_season(z)[0].item() == 12


def test_of_two_seasons_the_better_repeated_one_is_measured() -> None:
    day, week = wave_of(6, 420), torch.tensor([3.0, 0, 1, -2, 4, -3, 1]).repeat_interleave(6).repeat(10)[None]
    assert measured_season((day + week).float())[0].item() == 42


def test_a_season_that_has_drifted_is_measured_over_the_latest_cycles() -> None:
    steady, fast = wave_of(24, 600), wave_of(22.5, 121)
    z = torch.cat([steady, fast[:, 1:]], 1).float()  # both end and begin with whole cycles
    assert measured_season(steady.float())[0].item() == 24
    assert measured_season(z)[0].item() in (22, 23)


def test_where_there_is_no_season_none_is_measured() -> None:
    windows = [torch.zeros(1, 64), torch.linspace(-3, 3, 64)[None], torch.full((1, 64), NAN), wave_of(12, 30).float()]
    for z in windows:  # constant, a line, nothing; two cycles and a half
        assert [part.item() for part in measured_season(z)] == [1, 0]
    assert measured_season(noise(50, 200).float())[1].median() < 0.4


@PROPERTY
@given(padding=st.integers(1, 90), seed=st.integers(0, 99))
def test_padding_does_not_change_the_measured_season(padding: int, seed: int) -> None:
    z = (wave_of(9, 80) + noise(3, 80, seed=seed)).float()
    padded = torch.cat([torch.full((3, padding), NAN), z], 1)
    for bare, cushioned in zip(measured_season(z), measured_season(padded), strict=True):
        torch.testing.assert_close(cushioned, bare, rtol=1e-3, atol=1e-3)


@PROPERTY
@given(
    length=st.integers(1, 30),
    short=st.integers(1, 12),
    cycles=st.integers(1, 4),
    found=st.integers(1, 20),
    steps=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_candidates_equal_a_walk_back_cycle_by_cycle(
    length: int, short: int, cycles: int, found: int, steps: int, seed: int
) -> None:
    z = noise(1, length, seed=seed).masked_fill(noise(1, length, seed=seed + 1) > 1, NAN)
    values, known = seasonal_candidates(z, seasons((short, short * cycles, found)), steps)
    for t in range(steps):
        for c, (season, back) in enumerate(SINGLE):
            m = (short, short * cycles, found)[season]
            place = length + t
            while place >= length:  # the latest point of the same phase that is in the past
                place -= m
            place -= m * (back - 1)
            there = place >= 0 and not math.isnan(z[0, place])
            assert known[0, t, c] == there
            assert values[0, t, c] == (z[0, place] if there else 0)
        for s, m in enumerate((short, short * cycles, found)):
            places = [length + t - m * (t // m + back) for back in range(1, DEPTH + 1)]
            pairs = [(z[0, p].item(), FADE**k) for k, p in enumerate(places) if p >= 0 and not math.isnan(z[0, p])]
            assert known[0, t, K + s] == bool(pairs)
            mean = sum(v * w for v, w in pairs) / sum(w for _, w in pairs) if pairs else 0
            assert values[0, t, K + s].item() == pytest.approx(mean, abs=1e-6)


def test_window_features_worked_out_by_hand() -> None:
    context = torch.tensor([[0.0, NAN, 0.0, 6.0]])
    scale = window_scale(context, torch.tensor([3]))
    zero = math.asinh(-scale.level.item() / scale.spread.item())
    last = math.asinh((6 - scale.level.item()) / scale.spread.item())
    expected = [zero / 4 * 2 / 3, *(math.log(n) / 5 for n in (3, 3, 12, 5)), 2 / 3, 0.5, last]
    features = window_features(scale.apply(context), scale, seasons((3, 12, 5)), torch.tensor([0.5]))
    assert features[0].tolist() == pytest.approx(expected, rel=1e-5)
