"""Faults in a training stop it before the step, and leave the network as a caller expects it."""

import math
from collections.abc import Callable

import pytest
import torch

from rnn_model.checkpoint import weights_digest
from rnn_model.config import FitConfig
from rnn_model.errors import TrainingError
from rnn_model.network import Network
from rnn_model.training import (
    Material,
    fit,
    train_step,
)
from rnn_model.validation import validate

Build = Callable[..., Network]
Learn = Callable[..., Material]
QUICK = FitConfig(steps=6, batch_size=8, validate_every=2, learning_rate=0.01, averaging=0.5)


def test_a_loss_that_is_not_finite_stops_before_the_step(fresh: Build, poisoned: Learn) -> None:
    network = fresh()
    before = weights_digest(network)
    parameters = list(network.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=0.1)
    with pytest.raises(TrainingError, match=r"step 7: loss nan.*No step was taken") as raised:
        train_step(network, poisoned(7).draw(7), optimiser, parameters, FitConfig(), 7)
    assert raised.value.exit_code == 70
    assert weights_digest(network) == before


def test_a_gradient_that_is_not_finite_stops_before_the_step(fresh: Build, material: Learn) -> None:
    network = fresh()
    before = weights_digest(network)
    network.readout.bias.register_hook(lambda gradient: gradient * math.inf)
    parameters = list(network.parameters())
    with pytest.raises(TrainingError, match=r"gradient norm (nan|inf)"):
        train_step(network, material().draw(1), torch.optim.AdamW(parameters, lr=0.1), parameters, FitConfig(), 1)
    assert weights_digest(network) == before


def test_a_validation_loss_that_is_not_finite_is_a_fault(fresh: Build, material: Learn) -> None:
    batch = material().validation[0]
    batch.context[0, -1] = math.inf
    with pytest.raises(TrainingError, match="validation loss is not finite"):
        validate(fresh(), [batch])


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("fault", [False, True])
def test_the_mode_of_the_network_is_restored(
    fresh: Build, mode: bool, fault: bool, material: Learn, poisoned: Learn
) -> None:
    network = fresh().train(mode)
    if fault:
        with pytest.raises(TrainingError):
            fit(network, poisoned(3), QUICK)
    else:
        fit(network, material(), QUICK)
    assert network.training is mode


def test_validation_restores_the_mode_even_if_it_fails(
    fresh: Build, material: Learn, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = fresh().train()
    monkeypatch.setattr(network, "forward", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        validate(network, material().validation)
    assert network.training


def test_it_trains_in_training_mode_and_validates_in_evaluation_mode(fresh: Build, material: Learn) -> None:
    modes: dict[bool, set[bool]] = {True: set(), False: set()}  # with gradients: the modes seen
    network = fresh()
    network.register_forward_hook(lambda module, *_: modes[torch.is_grad_enabled()].add(module.training))
    fit(network, material(), QUICK)
    assert modes == {True: {True}, False: {False}}
