"""Clipping, learning rates, reports, low precision and devices."""

from collections.abc import Callable

import pytest
import torch

from rnn_model import training
from rnn_model.config import FitConfig
from rnn_model.errors import ConfigError
from rnn_model.network import Network
from rnn_model.training import (
    FitResult,
    Material,
    Progress,
    Watch,
    fit,
    learning_rate,
    train_step,
)
from rnn_model.windows import Batch

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
