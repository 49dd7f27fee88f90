"""The network's promises about its deciles, what it does with extreme windows, and how it is built."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensors import noise, seasons

from rnn_model.config import MEDIAN, ModelConfig
from rnn_model.features import CANDIDATES, FITTED_AT, seasonal_candidates, view_window
from rnn_model.forecasting import predict
from rnn_model.network import HEAD_START, TRUST, Network, build_network, monotone, trim

NAN = float("nan")
Build = Callable[..., Network]
PROPERTY = settings(max_examples=20, deadline=None, derandomize=True, database=None)
NETWORKS = [
    *[("residual", cell, "tanh") for cell in ("elman", "gru", "lstm")],
    *[("plain", cell, "tanh") for cell in ("elman", "gru", "lstm")],
    *[(spine, "elman", s) for spine in ("residual", "plain") for s in ("relu", "sigmoid", "identity")],
]


# ---- deciles


def test_monotone_keeps_the_median_and_adds_softplus_widths() -> None:
    steps = torch.zeros(9)
    steps[MEDIAN] = 5.0
    width = math.log1p(math.exp(-1.0))
    assert monotone(steps).tolist() == pytest.approx([5 + width * k for k in range(-4, 5)], rel=1e-6)


@PROPERTY
@given(
    network=st.sampled_from(NETWORKS),
    seed=st.integers(0, 10_000),
    horizon=st.integers(1, 12),
    strength=st.sampled_from([0.01, 0.3, 1.0]),
    size=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_deciles_never_cross(
    lively: Build, network: tuple[str, str, str], seed: int, horizon: int, strength: float, size: float
) -> None:
    spine, cell, activation = network
    model = lively(8, seed, strength, spine=spine, cell=cell, activation=activation)
    deciles = predict(model, size * noise(3, 32, seed=seed), seasons((1, 1), (4, 4), (7, 28)), horizon)
    assert deciles.isfinite().all()
    assert (deciles.diff(dim=-1) >= 0).all()


@PROPERTY
@given(seed=st.integers(0, 10_000), season=st.integers(1, 40))
def test_an_untrained_median_lies_within_its_seasonal_candidates(fresh: Build, seed: int, season: int) -> None:
    history, periods = noise(1, 32, seed=seed), seasons((season, season))
    out, scale = fresh(seed=seed)(history, periods, 8)
    z = scale.apply(history)
    view = view_window(z, scale, periods)
    values, known = seasonal_candidates(z, view.periods, view.pair, 8)
    assert (out[..., MEDIAN] >= values.masked_fill(~known, math.inf).amin(-1) - 1e-5).all()
    assert (out[..., MEDIAN] <= values.masked_fill(~known, -math.inf).amax(-1) + 1e-5).all()


def test_an_untrained_network_continues_what_never_changes(fresh: Build) -> None:
    history = torch.full((1, 32), 8.0)
    median = predict(fresh(), history, seasons((4, 4)), 8)[0, :, MEDIAN]
    assert median.tolist() == pytest.approx([8.0] * 8, abs=1e-4)


def test_an_untrained_network_trusts_candidates_as_they_have_done_lately(fresh: Build) -> None:
    history, periods = noise(1, 32), seasons((4, 4))
    out, scale = fresh()(history, periods, 8)
    z = scale.apply(history)
    view = view_window(z, scale, periods)
    values, known = seasonal_candidates(z, view.periods, view.pair, 8)
    start = torch.zeros(CANDIDATES)
    start[FITTED_AT] = HEAD_START
    trust = torch.exp(TRUST * view.record + start)[:, None] * known  # a power of the inverse of the errors they made
    torch.testing.assert_close(out[..., MEDIAN], (values * trust).sum(-1) / trust.sum(-1))


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("stated", [(1, 1), (500, 10_000)])
def test_a_season_that_was_not_stated_is_found(lively: Build, stated: tuple[int, int], noise: float) -> None:
    wave = torch.tensor([0.0, 3, 1, -4, 2, 2, -1], dtype=torch.float64).repeat(20)
    median = predict(lively(noise=noise), 5 + wave[None, :-3], seasons(stated), 8)[0, :, MEDIAN]
    truth = 5 + wave.repeat(2)[137:145]
    assert (median - truth).abs().mean() < 0.6 * (truth - truth.mean()).abs().mean()


# ---- invariances


@pytest.mark.parametrize("spine", ["residual", "plain"])
@pytest.mark.parametrize("padding", [1, 3, 4, 9, 50])
def test_left_padding_does_not_change_a_forecast(lively: Build, spine: str, padding: int) -> None:
    history = noise(1, 13)
    padded = torch.cat([torch.full((1, padding), NAN, dtype=torch.float64), history], 1)
    network = lively(spine=spine)
    bare, cushioned = (predict(network, x, seasons((4, 4)), 8) for x in (history, padded))
    torch.testing.assert_close(cushioned, bare, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("spine", ["residual", "plain"])
@pytest.mark.parametrize("size", [1e-9, 0.25, 1e12])
def test_forecasts_scale_with_the_data(lively: Build, spine: str, size: float) -> None:
    history, network = noise(4, 32), lively(spine=spine)
    periods = seasons((1, 1), (4, 4), (7, 28), (12, 12))
    torch.testing.assert_close(
        predict(network, size * history, periods, 8) / size, predict(network, history, periods, 8), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("spine", ["residual", "plain"])
@pytest.mark.parametrize(("a", "b"), [(1.0, 0.3), (5.0, -2.0), (100.0, 7.0), (3.0, -5e3)])
def test_a_forecast_moves_with_data_that_are_never_zero(lively: Build, spine: str, a: float, b: float) -> None:
    history, network = noise(2, 32), lively(spine=spine)
    periods = seasons((4, 4), (7, 28))
    assert (a * history + b < 0).any(1).all()  # so that nothing is clamped
    moved, straight = (predict(network, x, periods, 8) for x in (a * history + b, history))
    torch.testing.assert_close((moved - b) / a, straight, rtol=1e-3, atol=1e-3)


def test_where_zeros_are_observed_the_residual_network_knows_where_zero_lies(lively: Build) -> None:
    history, network = noise(1, 32), lively()
    history[0, ::3] = 0
    moved, straight = (predict(network, x, seasons((4, 4)), 8) for x in (history + 1, history))
    assert (moved - 1 - straight).abs().max() > 1e-3


@pytest.mark.parametrize("spine", ["residual", "plain"])
def test_a_mirrored_past_has_the_mirrored_forecast(lively: Build, spine: str) -> None:
    history, network = noise(3, 32), lively(spine=spine)
    periods = seasons((1, 1), (4, 4), (7, 28))
    straight, mirrored = (predict(network, x, periods, 8) for x in (history, -history))
    torch.testing.assert_close(mirrored, -straight.flip(-1), rtol=1e-5, atol=1e-5)


@PROPERTY
@given(seed=st.integers(0, 10_000), spine=st.sampled_from(["residual", "plain"]), horizon=st.integers(1, 12))
def test_forecasts_of_a_non_negative_past_are_non_negative(lively: Build, seed: int, spine: str, horizon: int) -> None:
    history = noise(2, 32, seed=seed).clamp_min(0)
    deciles = predict(lively(8, seed, 0.5, spine=spine), history, seasons((1, 1), (4, 4)), horizon)
    assert (deciles >= 0).all()
    assert (deciles.diff(dim=-1) >= 0).all()


def test_one_negative_point_lifts_the_floor_at_zero(fresh: Build) -> None:
    history = noise(1, 32).abs() * 0.01
    history[0, 5] = -1.0
    assert (predict(fresh(), history, seasons((4, 4)), 8) < 0).any()


# ---- extreme windows

EXTREMES = {
    "nothing observed": torch.full((1, 32), NAN, dtype=torch.float64),
    "one observed": torch.full((1, 32), NAN, dtype=torch.float64).index_fill(1, torch.tensor([31]), 4.0),
    "one observed long ago": torch.full((1, 32), NAN, dtype=torch.float64).index_fill(1, torch.tensor([0]), 4.0),
    "zeros": torch.zeros(1, 32, dtype=torch.float64),
    "constant": torch.full((1, 32), 7.5, dtype=torch.float64),
    "around 1e30": 1e30 * noise(1, 32),
    "around 1e-30": 1e-30 * noise(1, 32),
    "1e30 and 1e-30 in turn": torch.tensor([[1e30, 1e-30] * 16], dtype=torch.float64),
    "one spike of 1e30": noise(1, 32).index_fill(1, torch.tensor([9]), 1e30),
    "a spike of 1e30 at the end": torch.ones(1, 32, dtype=torch.float64).index_fill(1, torch.tensor([31]), 1e30),
    "missing at both ends": noise(1, 32).index_fill(1, torch.tensor([*range(9), *range(21, 32)]), NAN),
}


@pytest.mark.parametrize("spine", ["residual", "plain"])
@pytest.mark.parametrize("stated", [(1, 1), (4, 28), (500, 10_000)])
@pytest.mark.parametrize("window", list(EXTREMES))
def test_an_extreme_window_has_a_finite_forecast(
    lively: Build, spine: str, stated: tuple[int, int], window: str
) -> None:
    assert predict(lively(spine=spine), EXTREMES[window], seasons(stated), 12).isfinite().all()


@pytest.mark.parametrize("level", [7.5, -1e6, 1e-6])
@pytest.mark.parametrize("spine", ["residual", "plain"])
def test_a_constant_past_has_a_constant_forecast(lively: Build, spine: str, level: float) -> None:
    history = torch.full((1, 32), level, dtype=torch.float64)
    deciles = predict(lively(spine=spine), history, seasons((4, 4)), 12)
    torch.testing.assert_close(deciles, torch.full_like(deciles, level), rtol=1e-4, atol=0)


@pytest.mark.parametrize("spine", ["residual", "plain"])
def test_a_past_of_zeros_has_a_forecast_of_zeros(lively: Build, spine: str) -> None:
    assert predict(lively(spine=spine), torch.zeros(1, 32), seasons((4, 4)), 8).abs().max() < 1e-20


@pytest.mark.parametrize(("spine", "cell", "activation"), NETWORKS)
def test_every_network_is_finite_forward_and_backward(lively: Build, spine: str, cell: str, activation: str) -> None:
    network = lively(spine=spine, cell=cell, activation=activation, num_layers=2)
    context = torch.cat(list(EXTREMES.values()))
    deciles, _ = network(context, seasons(*[(4, 28)] * len(context)), 8)
    assert deciles.shape == (len(context), 8, 9)
    deciles.square().mean().backward()
    assert deciles.isfinite().all()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize(("spine", "cell", "activation"), NETWORKS)
def test_the_forecast_is_made_from_a_state_that_has_passed_through_the_recurrence(
    lively: Build, spine: str, cell: str, activation: str
) -> None:
    """In the first state h_0 = 0 stands before W_hh, so only later states have a gradient for it."""
    network = lively(spine=spine, cell=cell, activation=activation)
    network(noise(2, 32), seasons((4, 4), (4, 4)), 8)[0].square().mean().backward()
    recurrent = [p for name, p in network.named_parameters() if "w_hh" in name or "weight_hh" in name]
    assert len(recurrent) == 1
    assert recurrent[0].grad.abs().max() > 0


@pytest.mark.parametrize("horizon", [1, 3, 4, 5, 8])
def test_a_shorter_horizon_is_the_beginning_of_a_longer_one(lively: Build, horizon: int) -> None:
    history, network = noise(1, 32), lively()
    whole = predict(network, history, seasons((4, 4)), 8)
    torch.testing.assert_close(
        predict(network, history, seasons((4, 4)), horizon), whole[:, :horizon], rtol=1e-6, atol=1e-6
    )


# ---- building


def test_the_articles_network_has_this_many_weights() -> None:
    """Two Elman layers of 50 over (value, mask), a dense over one step: counted as Keras counts SimpleRNN."""
    config = ModelConfig(cell="elman", spine="plain", num_layers=2, width=50, patch=1, context=8)
    network = build_network(config, horizon=1, seed=0)
    first, second, dense = 2 * 50 + 50 * 50 + 50, 50 * 50 + 50 * 50 + 50, 50 + 1
    assert sum(p.numel() for p in network.parameters()) == first + second + dense == 7751


def test_the_articles_network_maps_a_window_to_one_step_per_horizon_step() -> None:
    config = ModelConfig(cell="elman", spine="plain", num_layers=2, width=50, patch=1, context=8)
    network = build_network(config, horizon=3, seed=0)
    assert [tuple(cell.w_hx.shape) for cell in network.cells] == [(50, 2), (50, 50)]
    assert network.readout.dense.weight.shape == (3, 50)
    assert network(noise(4, 8), seasons(*[(1, 1)] * 4), 3)[0].shape == (4, 3, 9)


def test_the_plain_networks_deciles_are_normal_around_the_mean(lively: Build) -> None:
    network = lively(spine="plain")
    network.residual_spread[:] = 2.0
    deciles = network(noise(1, 32), seasons((1, 1)), 8)[0][0].detach().numpy()
    widths = np.tile([-1.2815516, 0.0, 1.2815516], (8, 1)) * 2  # the normal 0.1, 0.5 and 0.9 quantiles
    np.testing.assert_allclose(deciles[:, [0, 4, 8]] - deciles[:, [4]], widths, atol=1e-5)


def test_weights_are_a_function_of_the_seed(fresh: Build) -> None:
    first, again, other = (dict(fresh(seed=s).named_parameters()) for s in (3, 3, 4))
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not torch.equal(first["embed_patch.weight"], other["embed_patch.weight"])


def test_building_leaves_the_global_random_state_alone(fresh: Build) -> None:
    before = torch.random.get_rng_state()
    fresh(seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_untrained_readout_is_zero_and_covers_all_candidates(fresh: Build) -> None:
    network = fresh()
    assert network.readout.weight.shape == (4 * 9 + CANDIDATES, 8)
    assert network.readout.weight.abs().sum() == 0


def test_patches_that_no_window_fills_are_left_out() -> None:
    context = torch.full((2, 12), NAN)
    context[0, 5:], context[1, 9:] = 1.0, 2.0
    assert trim(context, 4).shape == (2, 8)  # the first point stands in the second patch
    assert trim(context, 4).nan_to_num(0).equal(context[:, 4:].nan_to_num(0))
    assert trim(torch.full((2, 12), NAN), 4).shape == (2, 12)
    assert trim(context[:, 8:], 4).shape == (2, 4)
