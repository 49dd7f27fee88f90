"""Autoregressions of a window: what they make of series whose law is known."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensors import noise, seasons
from torch import Tensor

from rnn_model import autoregression
from rnn_model.autoregression import (
    CYCLES,
    FORGETFUL,
    REACH,
    STILL,
    STRENGTH,
    carry_on,
    cycle_lags,
    disturbance,
    regression,
    regressions,
    ridge,
    step_lags,
)
from rnn_model.scaling import weights_half_life

NAN = float("nan")
PROPERTY = settings(max_examples=20, deadline=None, derandomize=True, database=None)
SEASON, STEP = 0, 1  # the place of each among the autoregressions


def autoregressions(z: Tensor, periods: Tensor, steps: int) -> Tensor:
    return autoregression.autoregressions(z, weights_half_life(periods[:, 0]), regressions(z, periods), steps)


# ---- the rows of a regression


def test_lags_of_cycles_and_of_steps() -> None:
    assert cycle_lags(seasons((4, 12, 7)))[0].tolist() == [4, 8, 12, 12, 16, 24, 5, 3, 7, 14]
    assert step_lags(seasons((4, 12, 7)))[0].tolist() == [1, 2, 3, 4, 5, 8, 9, 12, 13, 7, 8]
    assert cycle_lags(seasons((1, 1, 1))).min() == 1  # none of them is the point itself


def test_a_row_holds_differences_from_the_base_and_what_they_explain() -> None:
    z = torch.tensor([[1.0, 5, 2, NAN, 4, 9]])
    _, rows, seen = regression(z, torch.tensor([[2, 3, 1]]))
    assert seen[0].tolist() == [0, 0, 1, 0, 1, 0]
    assert rows[0, 2].tolist() == [0, 4, 1, 1]  # 2 - 1, where a point before it is not known, and 5 was one step ago
    assert rows[0, 4].tolist() == [3, 0, 1, 2]  # 4 - 2, where 5 was three steps ago, and one step ago is missing
    assert rows[0, [0, 1, 3, 5]].abs().max() == 0


# ---- the ridge


def test_without_a_point_the_prior_stands() -> None:
    _, rows, seen = regression(torch.full((1, 20), NAN), cycle_lags(seasons((4, 4, 4))))
    assert ridge(rows, seen, CYCLES)[0].tolist() == pytest.approx([*CYCLES, 0, 0, 0, 0, 0])


def test_the_ridge_is_that_of_the_weighted_points_and_of_the_prior_as_points() -> None:
    z, lags = noise(1, 60), torch.tensor([[3, 6, 1]])
    _, rows, seen = regression(z, lags)
    weight = seen * torch.linspace(0.1, 1.0, 60, dtype=torch.float64)
    prior = (0.4, -0.2)
    variance = float((weight * rows[..., -1] ** 2).sum() / weight.sum())
    root = np.sqrt(weight[0].numpy())[:, None]
    pull = np.sqrt([STRENGTH * variance, STRENGTH * variance, STILL])  # as so many more points that say the prior
    left = np.vstack([root * rows[0, :, :-1].numpy(), np.diag(pull)])
    right = np.concatenate([root[:, 0] * rows[0, :, -1].numpy(), pull * [*prior, 0.0]])
    expected = np.linalg.lstsq(left, right, rcond=None)[0]
    assert ridge(rows, weight, prior)[0].tolist() == pytest.approx(expected.tolist())


def test_many_points_overrule_the_prior() -> None:
    shocks = noise(1, 4000)[0]
    z = torch.zeros(4000, dtype=torch.float64)
    for t in range(2, 4000):
        z[t] = 0.5 * z[t - 1] + 0.5 * z[t - 2] + 0.1 + shocks[t]
    _, rows, seen = regression(z[None], torch.tensor([[1, 2]]))
    b, c = ridge(rows, seen, (0.0,))[0].tolist()
    assert b == pytest.approx(0.5, abs=0.05)
    assert c == pytest.approx(0.1, abs=0.05)


# ---- the disturbance


def test_a_disturbance_that_lasts_is_found_and_what_is_left_of_it_fades_through_a_gap() -> None:
    shocks, u = noise(1, 3000)[0], torch.zeros(3000, dtype=torch.float64)
    for t in range(1, 3000):
        u[t] = 0.8 * u[t - 1] + shocks[t]
    base = 10 * noise(1, 3000, seed=1)[0]  # explained, and larger than what is not
    rows = torch.stack([base, torch.zeros_like(u), base + u], -1)[None]
    weight, b = torch.ones(1, 3000, dtype=torch.float64), torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    phi, left = disturbance(rows, weight, b)
    assert phi.item() == pytest.approx(0.8, abs=0.04)
    assert left.item() == pytest.approx(u[-1].item())
    weight[:, -2:], rows[:, -2:] = 0.0, 0.0
    phi, left = disturbance(rows, weight, b)
    assert left.item() == pytest.approx(u[-3].item() * phi.item() ** 2)


def test_a_few_points_of_a_disturbance_say_little_of_its_memory() -> None:
    rows = torch.tensor([[[0.0, 0.0, 1.0]] * 6])
    phi, _ = disturbance(rows, torch.ones(1, 6), torch.zeros(1, 2))
    assert phi.item() == pytest.approx(5 / (5 + FORGETFUL))


def test_the_memory_of_a_disturbance_is_that_of_neighbouring_points() -> None:
    u = torch.tensor([2.0, 1, 0, 3, 1, 2])  # nothing is known of the third
    rows = torch.stack([torch.zeros(6), torch.zeros(6), u], -1)[None]
    weight = torch.tensor([[1.0, 1, 0, 1, 1, 0.5]])
    phi, left = disturbance(rows, weight, torch.zeros(1, 2))
    products, squares, pairs = 2 * 1 + 3 * 1 + 0.5 * 1 * 2, 2 * 2 + 3 * 3 + 0.5 * 1 * 1, 2.5
    assert phi.item() == pytest.approx(products / (squares + FORGETFUL * squares / pairs))
    assert left.item() == 2


def test_what_changes_its_sign_at_each_step_has_no_memory() -> None:
    u = torch.tensor([1.0, -1.0]).repeat(30)
    rows = torch.stack([torch.zeros_like(u), torch.zeros_like(u), u], -1)[None]
    phi, left = disturbance(rows, torch.ones(1, 60), torch.zeros(1, 2))
    assert phi.item() == 0
    assert left.item() == -1  # and is nothing from the next step on


# ---- carrying on


def test_each_step_is_the_past_of_the_next_ones() -> None:
    z = torch.tensor([[0.0, 10, 1, 2, 3]])
    lags, b = torch.tensor([[1, 2]]), torch.tensor([[-0.5, 0.25]])
    ahead = carry_on(z, lags, b, torch.tensor([[0.5]]), torch.tensor([[1.0]]), 3)
    first = 3 + -0.5 * (2 - 3) + 0.25 + 0.5
    second = first + -0.5 * (3 - first) + 0.25 + 0.25
    third = second + -0.5 * (first - second) + 0.25 + 0.125
    assert ahead[0].tolist() == pytest.approx([first, second, third])


def test_a_forecast_stays_within_reach_of_its_window() -> None:
    z = torch.tensor([[0.0, 4, 2]])
    ones, none = torch.tensor([[1]]), torch.zeros(1, 1)
    up, down = (carry_on(z, ones, torch.tensor([[drift]]), none, none, 9)[0] for drift in (3.0, -3.0))
    assert up.tolist() == pytest.approx([5.0] + [4 + REACH * 4] * 8)
    assert down.tolist() == pytest.approx([-1.0] + [-REACH * 4] * 8)


# ---- both


def test_a_mix_of_days_and_weeks_is_found_out() -> None:
    day, week, size = 6, 42, 42 * 12
    z = noise(1, size)[0]
    for t in range(2 * week, size):  # yesterday, as last week went from that day to this one
        z[t] = z[t - day] + z[t - week] - z[t - week - day] + 0.02 * z[t]
    truth = z.clone()
    for t in range(size - day, size):
        truth[t] = z[t - day] + z[t - week] - z[t - week - day]
    ahead = autoregressions(z[None, : size - day], seasons((day, week, day)), day)[0, :, SEASON]
    naive = (z[size - 2 * day : size - day] - truth[size - day :]).abs().mean()
    assert (ahead - truth[size - day :]).abs().mean() < 0.3 * naive


@pytest.mark.parametrize("which", [SEASON, STEP])
def test_a_walk_with_drift_is_carried_on(which: int) -> None:
    z = (0.3 + 0.05 * noise(20, 100)).cumsum(1)
    ahead = autoregressions(z, seasons((1, 1, 1)).expand(20, -1), 10)[..., which]
    assert (ahead[:, -1] - z[:, -1]).mean().item() == pytest.approx(3.0, rel=0.1)


def test_a_season_that_was_not_stated_is_followed_where_it_was_measured() -> None:
    cycle = noise(1, 12)[0]
    z = (cycle.repeat(15) + 0.02 * noise(1, 180)[0])[None]
    ahead = autoregressions(z[:, :168], seasons((1, 1, 12)), 12)[0, :, STEP]
    assert (ahead - z[0, 168:]).abs().mean() < 0.5 * (z[0, 167] - z[0, 168:]).abs().mean()


def test_a_constant_window_divides_nothing_by_zero() -> None:
    ahead = autoregressions(torch.full((1, 30), 2.5), seasons((4, 4, 4)), 6)
    assert ahead[0].flatten().tolist() == pytest.approx([2.5] * 12)


def test_what_is_left_of_a_disturbance_is_carried_on() -> None:
    cycle = 5 * noise(1, 12)[0]
    u = torch.zeros(240, dtype=torch.float64)
    for t, shock in enumerate(0.2 * noise(1, 240, seed=1)[0]):
        u[t] = 0.9 * u[t - 1] + shock
    u[220:] += 4.0  # twenty points above
    z = (cycle.repeat(20) + u)[None]
    ahead = autoregressions(z, seasons((12, 12, 12)), 3)[0, :, SEASON]
    assert (ahead - cycle[:3]).mean().item() == pytest.approx(4.0, abs=1.0)


def test_low_precision_of_the_network_is_not_that_of_the_regressions() -> None:
    z = noise(4, 90).float()
    plain = autoregressions(z, seasons((4, 12, 7)).expand(4, -1), 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(autoregressions(z, seasons((4, 12, 7)).expand(4, -1), 5), plain)


def test_what_has_no_known_base_is_unknown_and_the_rest_is_not() -> None:
    z = noise(1, 24)
    z[:, 21] = NAN
    ahead = autoregressions(z, seasons((4, 4, 4)), 8)
    assert ahead[0, :, SEASON].isnan().tolist() == [False, True, False, False] * 2
    assert not ahead[0, :, STEP].isnan().any()
    short = autoregressions(z[:, :3], seasons((4, 4, 4)), 2)[0, :, SEASON]
    assert short.isnan().tolist() == [True, False]  # four steps before the second is the first point
    assert autoregressions(torch.full((1, 24), NAN), seasons((4, 4, 4)), 2).isnan().all()


def test_where_the_end_is_missing_the_last_observed_value_is_the_base_of_a_step() -> None:
    z = (0.3 + 0.05 * noise(1, 100)).cumsum(1)
    z[:, -3:] = NAN
    ahead = autoregressions(z, seasons((1, 1, 1)), 5)
    assert ahead[..., SEASON].isnan().all()
    assert ahead[0, 0, STEP].item() == pytest.approx(z[0, 96].item() + 0.3, abs=0.1)


def test_one_wild_point_says_little() -> None:
    z = (0.1 * noise(1, 60)).cumsum(1)
    z[:, 0] -= 30.0  # its rise would be a drift of half a unit a step
    drift = autoregressions(z, seasons((1, 1, 1)), 10)[0, -1, STEP] - z[0, -1]
    assert abs(drift.item()) < 1.0


def test_the_rows_of_a_shorter_window_are_the_first_of_a_longer_one() -> None:
    z, periods = noise(2, 90), seasons((4, 12, 7), (6, 6, 6))
    for whole, part in zip(regressions(z, periods), regressions(z[:, :70], periods), strict=True):
        for known, fresh in zip(whole.until(70), part, strict=True):
            assert torch.equal(known, fresh)


def test_each_row_has_its_own_seasons() -> None:
    z, periods = noise(3, 80), seasons((4, 12, 4), (1, 1, 9), (7, 7, 30))
    together = autoregressions(z, periods, 9)
    for row in range(3):
        alone = autoregressions(z[row : row + 1], periods[row : row + 1], 9)
        assert together[row].flatten().tolist() == pytest.approx(alone[0].flatten().tolist())


def test_later_points_say_more_of_the_season_and_as_much_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    z = noise(1, 300)
    for t in range(150, 300):
        z[0, t] = z[0, t - 4] + 0.1 * z[0, t]  # a season in the second half only
    periods, truth = seasons((4, 4, 4)), z[0, -4:]
    faded = autoregressions(z, periods, 4)
    monkeypatch.setattr(autoregression, "FADING", 1e9)
    even = autoregressions(z, periods, 4)
    assert (faded[0, :, SEASON] - truth).abs().mean() < (even[0, :, SEASON] - truth).abs().mean()
    assert torch.equal(faded[..., STEP], even[..., STEP])


@PROPERTY
@given(
    length=st.integers(1, 120),
    padding=st.integers(0, 200),
    period=st.integers(1, 30),
    gaps=st.floats(0.0, 0.5),
    size=st.sampled_from([1e-6, 1.0, 15.0]),
    seed=st.integers(0, 9),
)
def test_padding_changes_nothing_a_mirrored_past_has_a_mirrored_forecast_and_none_is_wild(
    length: int, padding: int, period: int, gaps: float, size: float, seed: int
) -> None:
    z = size * noise(2, length, seed=seed)
    z[noise(2, length, seed=seed + 50).abs() < gaps] = NAN
    periods = seasons((period, period, 1), (period, 4 * period, 7))
    ahead = autoregressions(z, periods, 20)
    padded = autoregressions(torch.nn.functional.pad(z, (padding, 0), value=NAN), periods, 20)
    assert torch.allclose(padded, ahead, rtol=1e-6, atol=1e-9 * size, equal_nan=True)
    assert torch.allclose(-autoregressions(-z, periods, 20), ahead, rtol=1e-6, atol=1e-9 * size, equal_nan=True)
    shifted = autoregressions(z + 3.0, periods, 20) - 3.0
    assert torch.allclose(shifted, ahead, rtol=1e-6, atol=1e-8 * max(size, 1.0), equal_nan=True)
    limit = z.abs().nan_to_num(0.0).amax(1) * (1 + 2 * REACH)
    known = ahead.nan_to_num(0.0).abs().amax((1, 2))
    assert (known <= limit + 1e-9).all()
