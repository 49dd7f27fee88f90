"""Forecasts: horizons, batches, and the state of the network afterwards."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rnn_model import forecasting
from rnn_model.errors import ConfigError
from rnn_model.forecasting import check_horizon, fit_context, grows, highest_logarithm, predict, rests_on_zero
from rnn_model.network import MEDIAN, Network

NAN = float("nan")
Build = Callable[..., Network]
PROPERTY = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def history(windows: int = 3, length: int = 32) -> Tensor:
    return torch.randn(windows, length, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def seasons(windows: int, short: int = 4, long: int = 8) -> Tensor:
    return torch.tensor([[short, long]] * windows)


@pytest.mark.parametrize("spine", ["residual", "plain"])
@pytest.mark.parametrize("horizon", [9, 12])
def test_a_longer_horizon_rolls_on_to_one_and_a_half_times_the_trained_one(
    lively: Build, spine: str, horizon: int
) -> None:
    deciles = predict(lively(8, spine=spine), history(), seasons(3), horizon)
    assert deciles.shape == (3, horizon, 9)
    assert deciles.isfinite().all()


@pytest.mark.parametrize("spine", ["residual", "plain"])
@pytest.mark.parametrize("horizon", [13, 0, -1])
def test_beyond_the_limit_there_is_one_line_that_names_both_numbers(lively: Build, spine: str, horizon: int) -> None:
    with pytest.raises(ConfigError, match=rf"horizon {horizon}: .* 1 to 12 steps \(it was trained on 8\)") as raised:
        predict(lively(8, spine=spine), history(), seasons(3), horizon)
    assert raised.value.exit_code == 2
    assert "\n" not in str(raised.value)


def test_no_horizon_passes_512() -> None:
    check_horizon(400, 512)
    with pytest.raises(ConfigError, match="1 to 512"):
        check_horizon(400, 513)


def test_a_rolled_forecast_begins_with_the_trained_horizon(lively: Build) -> None:
    network = lively(8)
    rolled, direct = (predict(network, history(), seasons(3), h) for h in (12, 8))
    assert torch.equal(rolled[:, :8], direct)


def test_a_rolled_median_is_the_forecast_after_the_medians_before_it(lively: Build) -> None:
    network = lively(8)
    rolled = predict(network, history(), seasons(3), 12)
    longer = torch.cat([history(), rolled[:, :8, MEDIAN]], 1)
    after = predict(network, longer, seasons(3), 4)
    torch.testing.assert_close(rolled[:, 8:, MEDIAN], after[..., MEDIAN])


def test_intervals_do_not_shrink_where_the_roll_begins(lively: Build) -> None:
    deciles = predict(lively(8), history(), seasons(3), 12)
    reach = (deciles - deciles[..., [MEDIAN]]).abs()
    assert (reach[:, 8:] >= reach[:, 7:8] - 1e-9).all()


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_network_is_restored(lively: Build, training: bool) -> None:
    network = lively().train(training)
    predict(network, history(), seasons(3), 8)
    assert network.training is training


def test_the_mode_is_restored_after_a_failure(lively: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    network = lively().train()
    monkeypatch.setattr(network, "forward", fails)
    with pytest.raises(MemoryError):
        predict(network, history(), seasons(3), 8)
    assert network.training


def test_forecasts_carry_no_gradient(lively: Build) -> None:
    assert not predict(lively(), history(), seasons(3), 8).requires_grad


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_the_size_of_a_pass_does_not_change_results(lively: Build, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    network, whole = lively(), predict(lively(), history(10), seasons(10), 12)
    monkeypatch.setattr(forecasting, "PREDICT_BATCH", size)
    torch.testing.assert_close(predict(network, history(10), seasons(10), 12), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spine", ["residual", "plain"])
def test_a_short_series_has_the_same_forecast_beside_a_long_one(lively: Build, spine: str) -> None:
    both = history(2)
    both[0, :22] = NAN
    network = lively(spine=spine)
    together, alone = predict(network, both, seasons(2), 8)[:1], predict(network, both[:1, 22:], seasons(1), 8)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_points_older_than_the_context_do_not_matter(lively: Build) -> None:
    long = history(1, 60)
    network = lively()
    assert torch.equal(predict(network, long, seasons(1), 8), predict(network, long[:, -32:], seasons(1), 8))


def test_no_windows_give_no_forecasts(lively: Build) -> None:
    assert predict(lively(), history(0), seasons(0).view(0, 2), 8).shape == (0, 8, 9)


def test_an_empty_history_has_a_finite_forecast(lively: Build) -> None:
    assert predict(lively(), torch.zeros(1, 0), seasons(1), 8).isfinite().all()


@pytest.mark.parametrize(("length", "first"), [(40, 8.0), (32, 0.0), (5, NAN)])
def test_a_context_is_cut_or_padded_on_the_left_to_what_the_network_sees(
    fresh: Build, length: int, first: float
) -> None:
    fitted = fit_context(torch.arange(float(length))[None], fresh().config)
    assert fitted.shape == (1, 32)
    assert fitted[0, -1] == length - 1
    assert fitted[0, 0].item() == pytest.approx(first, nan_ok=True)


# ---- logarithms


def growing(windows: int = 3, length: int = 32) -> Tensor:
    return (3 + 0.1 * torch.arange(length) + 0.1 * history(windows, length)).exp()


@pytest.mark.parametrize(
    ("window", "period", "expected"),
    [
        ([10.0, 20, 40, 80, 160, 320], 1, True),
        ([320.0, 160, 80, 40, 20, 10], 1, True),  # a fall by a factor
        ([NAN, 3, NAN, 6, 12, 24, 48, 96, NAN, 400], 1, True),
        ([100.0, 103, 106, 109, 112, 115], 1, False),  # too little for logarithms to differ
        ([5.0, 20, 4, 30, 14, 60, 19, 86, 32, 120, 41, 190], 1, False),  # risen, but by less than chance
        ([10 * 1.03**t for t in range(30)] + 24 * [24.0, 25.5], 1, False),  # not lately
        ([10 * 1.1**t * (1, 3, 9, 27)[t % 4] for t in range(24)], 4, True),  # beside its season
        ([100 * 1.01**t * math.exp(0.5 * math.sin(math.pi * t / 6)) for t in range(96)], 12, True),
        ([100 * 1.03**t * math.exp(0.5 * math.sin(math.pi * t / 6)) for t in range(96)], 12, True),  # and faster
        ([100 * math.exp(0.5 * math.sin(math.pi * t / 6)) for t in range(14)], 12, False),  # two pairs a season apart
        ([x for t in range(20) for x in (1.1**t, NAN, NAN, NAN)], 4, True),  # one in four is known
        ([1.0, 100], 1, False),  # no error is known
        ([100.0, 101] * 8 + [1e-6] + [100, 102] * 8, 1, False),  # a dip that only logarithms see
        ([5.0, 5, 5, 5, 5, 5], 1, False),
        ([7.0], 1, False),
        ([10.0, 20, 0, 80, 160, 320], 1, False),
        ([-10.0, -20, -40, -80, -160, -320], 1, False),
        ([NAN, NAN], 1, False),
    ],
)
def test_logarithms_are_for_positive_series_that_go_on_to_grow(
    window: list[float], period: int, expected: bool
) -> None:
    context = torch.tensor([window], dtype=torch.float64)
    assert grows(context, torch.tensor([period])).tolist() == [expected]
    assert grows(1e-9 * context, torch.tensor([period])).tolist() == [expected]


def test_what_grows_by_a_factor_is_forecast_to_grow_faster_than_along_its_slope(fresh: Build) -> None:
    network, values = fresh(), (1.2 ** torch.arange(32.0, dtype=torch.float64))[None]
    both = predict(network, values, seasons(1), 8)
    values_alone = (
        predict(network, values - values.mean(), seasons(1), 8) + values.mean()
    )  # not positive: no logarithms
    assert (both[0, :, MEDIAN] > values_alone[0, :, MEDIAN]).all()


def test_a_growing_forecast_is_half_that_of_the_logarithms_which_have_a_limit(
    lively: Build,
) -> None:
    network, values = lively(), growing()
    with torch.no_grad():
        network.readout.weight.mul_(40.0)  # wild enough to reach the bound
    logs = values.log()
    shift = logs.amin(1, keepdim=True) + 100  # negative everywhere, so it has no logarithms of its own
    of_logs = (predict(network, logs - shift, seasons(3), 8) + shift[..., None]).exp()
    of_values = predict(network, values - 1e5, seasons(3), 8) + 1e5
    middle = values.quantile(0.5, 1, interpolation="lower")
    risen = torch.minimum(values.amax(1) / values.amin(1), (values.amax(1) / middle).square())
    farthest = (values.amax(1) * risen.clamp_min(math.exp(2)))[:, None, None]
    assert (of_logs > farthest).any()
    assert (of_logs < farthest).any()
    half = (torch.minimum(of_logs, farthest) + of_values.clamp_min(0)) / 2
    torch.testing.assert_close(predict(network, values, seasons(3), 8), half, rtol=1e-3, atol=1e-3)


def test_rolled_logarithms_rise_no_farther_than_the_observed_ones_have_ranged(
    fresh: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = (1.2 ** torch.arange(32.0, dtype=torch.float64))[None]

    def high(_: Network, context: Tensor, periods: Tensor, horizon: int, mirrored: Tensor) -> Tensor:
        return torch.full((len(context), horizon, 9), 1e3, dtype=torch.float64)

    monkeypatch.setattr(forecasting, "_flip_averaged", high)
    deciles = predict(fresh(8), values, seasons(1), 12)
    farthest = 1.2**31 * 1.2**31  # the largest, times what they have ranged
    assert deciles.flatten().tolist() == pytest.approx([(1e3 + farthest) / 2] * 108, rel=1e-6)


def test_one_low_point_gives_logarithms_no_more_room() -> None:
    steady = (3 + 0.01 * torch.arange(20.0, dtype=torch.float64)).exp()[None]
    fallen = steady.clone()
    fallen[0, 2] = 1e-9
    assert torch.equal(highest_logarithm(fallen), highest_logarithm(steady))
    assert highest_logarithm(steady).item() == pytest.approx(3.19 + forecasting.REACH)


def test_a_late_rise_goes_on_as_far_as_it_has_come() -> None:
    late = torch.cat([torch.ones(20), 1.5 ** torch.arange(12)])[None]
    assert highest_logarithm(late).item() == pytest.approx(22 * math.log(1.5), rel=1e-5)  # not three times eleven


def test_a_positive_series_that_does_not_grow_is_forecast_by_its_values_alone(lively: Build) -> None:
    network, level = lively(), (3 + history(3)).exp()
    of_values = predict(network, level - 1e5, seasons(3), 8) + 1e5  # not positive: no logarithms
    torch.testing.assert_close(predict(network, level, seasons(3), 8), of_values.clamp_min(0), rtol=1e-4, atol=1e-4)


def test_series_that_do_not_grow_do_not_change_their_neighbours_forecast(lively: Build) -> None:
    network, mixed = lively(), torch.cat([growing(2), history(2), (3 + history(2)).exp()])
    together = predict(network, mixed, seasons(6), 8)
    alone = torch.cat([predict(network, part, seasons(2), 8) for part in mixed.split(2)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_what_rests_on_zero_is_forecast_as_it_is_alone(lively: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    network, demand = lively(), torch.where(history(4) > 0.3, history(4).abs(), 0.0)  # mostly zeros
    demand[3] = history(1)[0].abs()  # no zero at all
    shown: list[Tensor] = []
    forward = network.forward
    monkeypatch.setattr(network, "forward", lambda context, *rest: (shown.append(context), forward(context, *rest))[1])
    together = predict(network, demand, seasons(4), 8)
    assert torch.equal(shown[0], torch.cat([demand, -demand[3:]]))
    deciles, scale = forward(demand[:3], seasons(3), 8)
    torch.testing.assert_close(together[:3], scale.invert(deciles.detach()).clamp_min(0), rtol=1e-5, atol=1e-5)


def test_what_rests_on_zero_is_seen_as_it_is_past_the_trained_horizon_too(
    lively: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, demand = lively(8), torch.where(history(3) > 0.6, history(3).abs(), 0.0)
    demand[:, :8] = 0.0  # a quarter of zeros with what will have left the window by then
    shown: list[Tensor] = []
    forward = network.forward
    monkeypatch.setattr(network, "forward", lambda context, *rest: (shown.append(context), forward(context, *rest))[1])
    assert (predict(network, demand, seasons(3), 12) >= 0).all()
    assert [len(context) for context in shown] == [3, 3]
    assert all((context >= 0).all() for context in shown)  # the medians that were appended, too


@pytest.mark.parametrize(
    ("values", "rests"),
    [
        ([0.0, 0, 0, 5], True),
        ([0.0, 1, 2, 5], True),  # a quarter
        ([0.0, 1, 2, 5, 6], False),
        ([0.0, NAN, 2, 5, NAN, 1], True),
        ([0.0, 0, 0, -5], False),
        ([1.0, 2, 3, 4], False),
        ([0.0, 0, 0, 0], True),
        ([NAN, NAN, NAN, NAN], False),
    ],
)
def test_a_series_rests_on_zero_where_a_quarter_of_it_is_zero_and_nothing_below(
    values: list[float], rests: bool
) -> None:
    assert rests_on_zero(torch.tensor([values])).tolist() == [rests]


# ---- odd series; test_network.py has more of them


@PROPERTY
@given(
    values=st.lists(st.none() | st.floats(-1e300, 1e300), max_size=50)
    | st.lists(st.floats(1e-300, 1e300), max_size=50),
    stated=st.tuples(st.integers(1, 10_000), st.integers(1, 10_000)),
    spine=st.sampled_from(["residual", "plain"]),
    horizon=st.integers(1, 12),
)
def test_whatever_the_data_contract_lets_through_has_a_finite_forecast_in_order(
    lively: Build, values: list[float | None], stated: tuple[int, int], spine: str, horizon: int
) -> None:
    history = torch.tensor([[NAN if v is None else v for v in values]], dtype=torch.float64)
    deciles = predict(lively(spine=spine), history, torch.tensor([stated]), horizon)
    assert deciles.isfinite().all()
    assert (deciles.diff(dim=-1) >= 0).all()


def test_of_zeros_the_forecast_is_0(lively: Build) -> None:
    assert predict(lively(), torch.zeros(2, 32), seasons(2), 8).abs().max() == 0


@pytest.mark.parametrize("level", [7.5, -1e30, 1e-30])
@pytest.mark.parametrize("spine", ["residual", "plain"])
@pytest.mark.parametrize("seen", [[0], [11], [31], [*range(10, 20)]])
def test_one_known_value_is_forecast_as_it_is_wherever_it_stands(
    lively: Build, spine: str, level: float, seen: list[int]
) -> None:
    history = torch.full((1, 32), NAN, dtype=torch.float64).index_fill(1, torch.tensor(seen), level)
    deciles = predict(lively(spine=spine), history, seasons(1), 12)
    torch.testing.assert_close(deciles, torch.full_like(deciles, level), rtol=1e-4, atol=0)


@pytest.mark.parametrize("spine", ["residual", "plain"])
def test_neighbours_of_any_size_do_not_move_a_forecast(lively: Build, spine: str) -> None:
    size = torch.tensor([1e30, 1.0, 1e-30], dtype=torch.float64)[:, None, None]
    spike = history(1).index_fill(1, torch.tensor([9]), 1e30)
    batch = torch.cat([size[..., 0] * history(3), torch.full((1, 32), NAN), spike])
    network = lively(spine=spine)
    together = predict(network, batch, seasons(5), 12)[:3]
    alone = torch.cat([predict(network, one[None], seasons(1), 12) for one in batch[:3]])
    torch.testing.assert_close(together / size, alone / size, rtol=1e-5, atol=1e-5)


def test_a_season_missing_at_the_end_is_passed_over_in_step(lively: Build) -> None:
    wave = torch.tensor([[10.0, 13, 11, 6]], dtype=torch.float64).repeat(1, 8)
    cut = wave.index_fill(1, torch.arange(27, 32), NAN)  # the last known point is an 11
    median = predict(lively(), cut, seasons(1), 8)[0, :, MEDIAN]
    assert median.tolist() == pytest.approx([10, 13, 11, 6] * 2, abs=0.5)
