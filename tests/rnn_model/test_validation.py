"""Validation judges the forecast as it will be made; and the spread of the plain network is that of its forecasts."""

import math
from collections.abc import Callable

import pytest
import torch
from tensors import noise

from rnn_model import validation
from rnn_model.checkpoint import weights_digest
from rnn_model.config import MEDIAN, QUANTILES, FitConfig
from rnn_model.features import predictability
from rnn_model.forecasting import predict
from rnn_model.network import Network
from rnn_model.scaling import window_scale
from rnn_model.training import Material, batch_loss, fit
from rnn_model.validation import set_residual_spread, validate, window_losses
from rnn_model.windows import Batch

NAN = float("nan")
Build = Callable[..., Network]
Learn = Callable[..., Material]
QUICK = FitConfig(steps=6, batch_size=8, validate_every=2, learning_rate=0.01, averaging=0.5)


def mixed() -> Batch:
    """Around zero, growing by a factor, resting on zero, and positive with a target below zero."""
    both = noise(4, 40)
    both[1] = (0.1 * torch.arange(40.0) + 0.02 * both[1]).exp()
    both[2] = torch.where(both[2] > 0.5, both[2], 0.0)
    both[3, :32] = both[3, :32].abs() + 1
    both[3, 32:] = -5.0
    return Batch(both[:, :32], both[:, 32:], torch.full((4, 2), 4))


def test_a_window_has_the_loss_of_its_forecast_worked_out_by_hand(lively: Build) -> None:
    network, batch = lively(), mixed()
    losses = window_losses(network, [batch])
    deciles = predict(network, batch.context, batch.periods, 8)
    for row in range(4):
        scale = window_scale(batch.context[row : row + 1], batch.periods[:1, 0])
        level, spread = scale.level.item(), scale.spread.item()
        total = 0.0
        for step in range(8):
            y = min(6.0, max(-6.0, math.asinh((batch.target[row, step].item() - level) / spread)))
            for k, q in enumerate(QUANTILES):
                error = y - math.asinh((deciles[row, step, k].item() - level) / spread)
                total += max(q * error, (q - 1) * error)
        weight = predictability(scale.apply(batch.context[row : row + 1]), batch.periods[:1]).item()
        assert losses[row].item() == pytest.approx(weight * total / 72, rel=1e-4)


def test_a_network_of_means_is_judged_by_the_squared_error_of_its_forecast(lively: Build) -> None:
    network, batch = lively(spine="plain"), mixed()
    losses = window_losses(network, [batch])
    median = predict(network, batch.context, batch.periods, 8)[..., MEDIAN]
    scale = window_scale(batch.context, batch.periods[:, 0])
    error = scale.apply(median) - scale.apply(batch.target).clamp(-6, 6)
    torch.testing.assert_close(losses, error.square().mean(1).double(), rtol=1e-4, atol=1e-6)


def test_validation_weighs_batches_by_their_windows(fresh: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {3: [1.0, 2.0, 0.0], 1: [5.0]}
    monkeypatch.setattr(validation, "forecast_losses", lambda _, batch: torch.tensor(losses[len(batch.context)]))
    batches = [Batch(torch.zeros(n, 32), torch.zeros(n, 8), torch.ones(n, 2)) for n in (3, 1)]
    assert validate(fresh(), batches) == pytest.approx((3 * 1 + 1 * 5) / 4)


@pytest.mark.parametrize("spine", ["residual", "plain"])
def test_what_is_validated_is_the_forecast_which_has_no_sign_bias(fresh: Build, material: Learn, spine: str) -> None:
    network, around_zero = fresh(spine=spine), torch.randn(20, 40, generator=torch.Generator().manual_seed(0))
    batch = Batch(around_zero[:, :32].double(), around_zero[:, 32:].double(), torch.full((20, 2), 4))
    fit(network, material(), QUICK)
    upside_down = Batch(-batch.context, -batch.target, batch.periods)
    torch.testing.assert_close(window_losses(network, [batch]), window_losses(network, [upside_down]))
    assert batch_loss(network, batch).item() != pytest.approx(batch_loss(network, upside_down).item(), rel=1e-3)


def test_a_window_without_observed_targets_has_no_loss_and_does_not_flatter(fresh: Build, material: Learn) -> None:
    batch = material().validation[0]
    target = batch.target.clone()
    target[::2] = NAN
    losses = window_losses(fresh(), [batch._replace(target=target)])
    assert losses.isnan().tolist() == [n % 2 == 0 for n in range(len(target))]
    rest = float(window_losses(fresh(), [batch])[1::2].mean())
    assert validate(fresh(), [batch._replace(target=target)]) == pytest.approx(rest)


# ---- the spread of the plain network


def test_the_spread_covers_four_in_five_residuals_of_each_step(fresh: Build) -> None:
    network = fresh(3, spine="plain")
    for parameter in network.readout.parameters():
        torch.nn.init.zeros_(parameter)  # it now forecasts 0 in the scaled space: residuals are the scaled targets
    context = torch.randn(2, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale = window_scale(context, torch.tensor([1, 1]))
    target = scale.invert(torch.tensor([[3.0, 1.0, NAN], [4.0, NAN, NAN]]))
    set_residual_spread(network, [Batch(context, target, torch.ones(2, 2, dtype=torch.long))])
    first, second = 3.8 / 1.281552, 1 / 1.281552  # 0.8 of the way from 3 to 4; a normal's 0.9 quantile is 1.28
    expected = [first, second, (first + second) / 2]  # a step without residuals: the mean of the others
    assert network.residual_spread.tolist() == pytest.approx(expected, rel=1e-4)


def test_the_residual_network_has_no_such_spread_to_set(fresh: Build, material: Learn) -> None:
    network = fresh()
    before = weights_digest(network)
    set_residual_spread(network, material().validation)
    assert weights_digest(network) == before


def test_the_interval_of_a_plain_networks_forecasts_covers_four_in_five(fresh: Build) -> None:
    network = fresh(spine="plain")
    both = (0.3 + noise(400, 40)).cumsum(1)  # walks that drift: one pass of a network knows it, the mirrored one not
    batch = Batch(both[:, :32], both[:, 32:], torch.ones(400, 2, dtype=torch.long))
    fit(network, Material(lambda _: batch, [batch]), QUICK.model_copy(update={"steps": 40, "validate_every": 20}))
    set_residual_spread(network, [batch])
    deciles = predict(network, batch.context, batch.periods, 8)
    inside = (deciles[..., 0] <= batch.target) & (batch.target <= deciles[..., -1])
    assert inside.double().mean().item() == pytest.approx(0.8, abs=0.05)
