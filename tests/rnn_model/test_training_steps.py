"""Clipping, learning rates, reports, and the spread of the plain network."""

from collections.abc import Callable

import pytest
import torch

from rnn_model import training
from rnn_model.checkpoint import weights_digest
from rnn_model.config import FitConfig
from rnn_model.errors import ConfigError
from rnn_model.network import Network
from rnn_model.scaling import window_scale
from rnn_model.training import (
    FitResult,
    Material,
    Progress,
    Watch,
    batch_loss,
    fit,
    learning_rate,
    set_residual_spread,
    train_step,
    validate,
    window_losses,
)
from rnn_model.windows import Batch

NAN = float("nan")
Build = Callable[..., Network]
Learn = Callable[..., Material]
QUICK = FitConfig(steps=6, batch_size=8, validate_every=2, learning_rate=0.01, averaging=0.5)


# ---- clipping, rates, reports


@pytest.mark.parametrize(("clip", "expected"), [(1e-6, 6), (1e6, 0)])
def test_clipped_steps_are_counted(fresh: Build, clip: float, expected: int, material: Learn) -> None:
    assert fit(fresh(), material(), QUICK.model_copy(update={"clip": clip})).clipped == expected


def test_a_long_gradient_is_cut_to_the_largest_norm(fresh: Build, material: Learn) -> None:
    network = fresh()
    parameters = list(network.parameters())
    _, norm = train_step(
        network, material().draw(1), torch.optim.AdamW(parameters), parameters, FitConfig(clip=1e-3), 1
    )
    left = torch.stack([p.grad.norm() for p in parameters]).norm().item()
    assert norm > 1e-3
    assert left == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("cosine", 1, 0.1),
        ("cosine", 5, 0.5),
        ("cosine", 10, 1.0),
        ("cosine", 40, 0.05 + 0.95 * 0.75),  # a third of the way: cos 60 degrees
        ("cosine", 55, 0.05 + 0.95 * 0.5),
        ("cosine", 100, 0.05),
        ("constant", 5, 0.5),
        ("constant", 100, 1.0),
    ],
)
def test_the_rate_rises_then_falls_to_a_twentieth(schedule: str, step: int, expected: float) -> None:
    config = FitConfig(steps=100, warmup=0.1, learning_rate=0.5, schedule=schedule)
    assert learning_rate(config, step) == pytest.approx(0.5 * expected)


def test_the_optimiser_gets_the_scheduled_rate_at_every_step(
    fresh: Build, monkeypatch: pytest.MonkeyPatch, material: Learn
) -> None:
    rates: list[float] = []
    original = training.train_step

    def note(network: Network, batch: Batch, optimiser: torch.optim.Optimizer, *rest: object) -> tuple[float, float]:
        rates.append(optimiser.param_groups[0]["lr"])
        return original(network, batch, optimiser, *rest)

    monkeypatch.setattr(training, "train_step", note)
    fit(fresh(), material(), QUICK)
    assert rates == [learning_rate(QUICK, step) for step in range(1, 7)]


def test_reports_carry_each_validation_and_the_mean_loss_since_the_last(
    fresh: Build, monkeypatch: pytest.MonkeyPatch, material: Learn
) -> None:
    losses = iter([1.0, 3.0, 10.0, 20.0, 5.0, 7.0])
    monkeypatch.setattr(training, "train_step", lambda *_: (next(losses), 0.5))
    reports: list[Progress] = []
    ticks: list[int] = []
    result = fit(fresh(), material(), QUICK, Watch(reports.append, ticks.append))
    assert [r.train_loss for r in reports] == [2.0, 15.0, 6.0]
    assert ticks == [1, 2, 3, 4, 5, 6]
    assert result.history == tuple(reports)
    assert isinstance(result, FitResult)


def test_validation_weighs_batches_by_their_windows(fresh: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {3: [1.0, 2.0, 0.0], 1: [5.0]}
    monkeypatch.setattr(training, "forecast_losses", lambda _, batch: torch.tensor(losses[len(batch.context)]))
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


@pytest.mark.parametrize("spine", ["residual", "plain"])
def test_low_precision_is_near_the_full_one_and_leaves_float32_weights(
    fresh: Build, material: Learn, spine: str
) -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        network = fresh(spine=spine)
        result = fit(network, material(), QUICK.model_copy(update={"precision": precision}))
        losses[precision] = [p.train_loss for p in result.history]
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)


def test_a_device_that_is_not_there_is_refused(fresh: Build, material: Learn) -> None:
    with pytest.raises(ConfigError, match="device cuda:99: this machine shows"):
        fit(fresh(), material(), QUICK.model_copy(update={"device": "cuda:99"}))


def test_a_window_without_observed_targets_has_no_loss_and_does_not_flatter(fresh: Build, material: Learn) -> None:
    batch = material().validation[0]
    target = batch.target.clone()
    target[::2] = NAN
    losses = window_losses(fresh(), [batch._replace(target=target)])
    assert losses.isnan().tolist() == [n % 2 == 0 for n in range(len(target))]
    rest = float(window_losses(fresh(), [batch])[1::2].mean())
    assert validate(fresh(), [batch._replace(target=target)]) == pytest.approx(rest)
