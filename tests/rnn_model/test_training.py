"""The loop: what moves, what is kept, when it stops, and what it leaves behind."""

import math
from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
import pytest
import torch
from torch import Tensor

from rnn_model import training
from rnn_model.checkpoint import weights_digest
from rnn_model.config import FitConfig
from rnn_model.errors import DataError, TrainingError
from rnn_model.network import Network
from rnn_model.scaling import window_scale
from rnn_model.training import (
    FitResult,
    Material,
    Progress,
    Watch,
    averaged,
    fit,
    learning_rate,
    set_residual_spread,
    train_step,
    update_average,
    validate,
)
from rnn_model.windows import Batch, Windows, from_arrays

NAN = float("nan")
Build = Callable[..., Network]
QUICK = FitConfig(steps=6, batch_size=8, validate_every=2, learning_rate=0.01, averaging=0.5)


def slopes(seed: int) -> Windows:
    """Straight lines: no seasonal continuation is right about them, so there is something to learn."""
    rng = np.random.default_rng(seed)
    lines = [rng.normal() * 10 + rng.choice([-1, 1]) * np.arange(60.0) for _ in range(12)]
    return from_arrays(lines, np.full((12, 2), 4))


def material(seed: int = 0) -> Material:
    check = slopes(99)
    return Material(slopes(0).drawing(8, 32, 8, 8, seed), check.batches(check.at(check.end - 8), 32, 8))


def poisoned(at: int) -> Material:
    """As `material`, with a NaN loss at one step: the context of one window holds an infinity."""
    good = material()

    def draw(step: int) -> Batch:
        batch = good.draw(step)
        if step == at:
            batch.context[0, -1] = math.inf
        return batch

    return Material(draw, good.validation)


def copies(network: Network) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def scores(monkeypatch: pytest.MonkeyPatch, values: Iterator[float]) -> list[dict[str, Tensor]]:
    """Validation says these losses, whatever the weights; the weights it was shown are returned."""
    shown: list[dict[str, Tensor]] = []

    def say(network: Network, _: object) -> float:
        shown.append(copies(network))
        return float(next(values))

    monkeypatch.setattr(training, "validate", say)
    return shown


def falling() -> Iterator[float]:
    return (1 / n for n in count(1))


# ---- learning


@pytest.mark.parametrize("spine", ["residual", "plain"])
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_what_can_be_learnt_is_learnt(fresh: Build, spine: str, cell: str) -> None:
    network = fresh(spine=spine, cell=cell)
    before = validate(network, material().validation)
    result = fit(network, material(), FitConfig(steps=80, batch_size=8, learning_rate=0.01, validate_every=20))
    assert result.best_loss < 0.7 * before


def test_the_result_says_what_the_network_left_behind_scores(fresh: Build) -> None:
    network = fresh()
    result = fit(network, material(), QUICK)
    assert validate(network, material().validation) == result.best_loss


def test_same_seed_same_weights_other_seed_other_weights(fresh: Build) -> None:
    digests = []
    for seed in (1, 1, 2):
        network = fresh(seed=0)
        fit(network, material(seed), QUICK)
        digests.append(weights_digest(network))
    assert digests[0] == digests[1] != digests[2]


def test_frozen_parameters_stay_bit_equal_and_all_others_move(lively: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    scores(monkeypatch, falling())
    network = lively()
    frozen = {name for name, p in network.named_parameters() if name.startswith("blocks.")}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
    before = copies(network)
    fit(network, material(), QUICK)
    still = {name for name, value in network.named_parameters() if torch.equal(value, before[name])}
    assert still == frozen


def test_a_step_is_one_step_down_the_gradient(lively: Build) -> None:
    network = lively()
    parameters = list(network.parameters())
    before = [p.detach().clone() for p in parameters]
    train_step(network, material().draw(1), torch.optim.SGD(parameters, lr=0.1), parameters, 1e9, 1)
    for old, new in zip(before, parameters, strict=True):
        torch.testing.assert_close(new, old - 0.1 * new.grad)


# ---- averaging, and which weights are kept


def test_the_average_forgets_fast_while_it_is_young() -> None:
    value = torch.nn.Parameter(torch.tensor([10.0]))
    average = [torch.tensor([0.0])]
    update_average(average, [value], decay=0.9, step=1)  # keeps 1 / 10
    assert average[0].item() == pytest.approx(9.0)
    update_average(average, [value], decay=0.9, step=991)  # keeps min(0.9, 0.991)
    assert average[0].item() == pytest.approx(9.1)


def test_an_average_with_decay_0_is_the_latest_weight() -> None:
    average = [torch.tensor([5.0])]
    update_average(average, [torch.nn.Parameter(torch.tensor([10.0]))], decay=0.0, step=500)
    assert average[0].item() == 10.0


@pytest.mark.parametrize("fails", [False, True])
def test_the_averaged_weights_stand_in_for_the_length_of_the_block(fails: bool) -> None:
    value, mean = torch.nn.Parameter(torch.tensor([1.0])), torch.tensor([2.0])
    try:
        with averaged([value], [mean]):
            assert value.item() == 2.0
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert (value.item(), mean.item()) == (1.0, 2.0)


def test_the_averaged_weights_are_validated_and_kept(fresh: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = scores(monkeypatch, falling())
    network = fresh()
    mean = {name: value.double() for name, value in copies(network).items()}

    def follow(step: int) -> None:
        keep = min(0.5, step / (step + 9))
        for name, value in network.named_parameters():
            mean[name] = keep * mean[name] + (1 - keep) * value.detach().double()

    fit(network, material(), QUICK, Watch(tick=follow))
    for name, value in network.named_parameters():
        assert torch.equal(value, shown[-1][name])
        torch.testing.assert_close(value.double(), mean[name], rtol=1e-4, atol=1e-6)


def test_the_best_validated_weights_are_left_in_the_network(fresh: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = scores(monkeypatch, iter([5.0, 3.0, 1.0, 2.0]))  # before, and after steps 2, 4 and 6
    network = fresh()
    result = fit(network, material(), QUICK)
    assert (result.best_step, result.best_loss) == (4, 1.0)
    assert all(torch.equal(value, shown[2][name]) for name, value in network.named_parameters())


def test_a_training_that_only_harms_leaves_the_first_weights(fresh: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    scores(monkeypatch, iter([1.0, 2.0, 3.0, 4.0]))
    network = fresh()
    before = weights_digest(network)
    assert fit(network, material(), QUICK).best_step == 0
    assert weights_digest(network) == before


# ---- stopping


def test_it_stops_after_so_many_validations_without_improvement(fresh: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    scores(monkeypatch, iter([9.0, 5.0, 6.0, 5.0, 1.0]))  # an equal loss is no improvement
    config = QUICK.model_copy(update={"steps": 100, "patience": 2})
    result = fit(fresh(), material(), config)
    assert result.stopped_early
    assert [p.step for p in result.history] == [2, 4, 6]


def test_an_improvement_renews_the_patience(fresh: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    scores(monkeypatch, iter([9.0, 9.0, 5.0, 6.0, 4.0]))
    result = fit(fresh(), material(), QUICK.model_copy(update={"steps": 8, "patience": 2}))
    assert not result.stopped_early
    assert result.best_step == 8


def test_the_last_step_is_validated_whatever_the_rhythm(fresh: Build) -> None:
    result = fit(fresh(), material(), QUICK.model_copy(update={"steps": 5}))
    assert [p.step for p in result.history] == [2, 4, 5]


def test_without_validation_windows_there_is_no_training(fresh: Build) -> None:
    with pytest.raises(DataError, match="no validation windows"):
        fit(fresh(), Material(material().draw, []), QUICK)


# ---- faults


def test_a_loss_that_is_not_finite_stops_before_the_step(fresh: Build) -> None:
    network = fresh()
    before = weights_digest(network)
    parameters = list(network.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=0.1)
    with pytest.raises(TrainingError, match=r"step 7: loss nan.*No step was taken") as raised:
        train_step(network, poisoned(7).draw(7), optimiser, parameters, 1.0, 7)
    assert raised.value.exit_code == 70
    assert weights_digest(network) == before


def test_a_gradient_that_is_not_finite_stops_before_the_step(fresh: Build) -> None:
    network = fresh()
    before = weights_digest(network)
    network.readout.bias.register_hook(lambda gradient: gradient * math.inf)
    parameters = list(network.parameters())
    with pytest.raises(TrainingError, match=r"gradient norm (nan|inf)"):
        train_step(network, material().draw(1), torch.optim.AdamW(parameters, lr=0.1), parameters, 1.0, 1)
    assert weights_digest(network) == before


def test_a_fault_leaves_the_best_validated_weights(fresh: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = scores(monkeypatch, falling())
    network = fresh()
    with pytest.raises(TrainingError, match="step 4"):
        fit(network, poisoned(4), QUICK)
    assert len(shown) == 2
    assert all(torch.equal(value, shown[1][name]) for name, value in network.named_parameters())


def test_a_validation_loss_that_is_not_finite_is_a_fault(fresh: Build) -> None:
    batch = material().validation[0]
    batch.context[0, -1] = math.inf
    with pytest.raises(TrainingError, match="validation loss is not finite"):
        validate(fresh(), [batch])


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("fault", [False, True])
def test_the_mode_of_the_network_is_restored(fresh: Build, mode: bool, fault: bool) -> None:
    network = fresh().train(mode)
    if fault:
        with pytest.raises(TrainingError):
            fit(network, poisoned(3), QUICK)
    else:
        fit(network, material(), QUICK)
    assert network.training is mode


def test_validation_restores_the_mode_even_if_it_fails(fresh: Build) -> None:
    network = fresh().train()
    with pytest.raises(RuntimeError):
        validate(network, [Batch(torch.zeros(2, 31), torch.zeros(2, 8), torch.ones(2, 2))])  # 31 is no whole patches
    assert network.training


def test_it_trains_in_training_mode_and_validates_in_evaluation_mode(
    fresh: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: dict[bool, set[bool]] = {True: set(), False: set()}  # with gradients: the modes seen
    original = training.batch_loss

    def note(network: Network, batch: Batch) -> Tensor:
        modes[torch.is_grad_enabled()].add(network.training)
        return original(network, batch)

    monkeypatch.setattr(training, "batch_loss", note)
    fit(fresh(), material(), QUICK)
    assert modes == {True: {True}, False: {False}}


# ---- clipping, rates, reports


@pytest.mark.parametrize(("clip", "expected"), [(1e-6, 6), (1e6, 0)])
def test_clipped_steps_are_counted(fresh: Build, clip: float, expected: int) -> None:
    assert fit(fresh(), material(), QUICK.model_copy(update={"clip": clip})).clipped == expected


def test_a_long_gradient_is_cut_to_the_largest_norm(fresh: Build) -> None:
    network = fresh()
    parameters = list(network.parameters())
    _, norm = train_step(network, material().draw(1), torch.optim.AdamW(parameters), parameters, 1e-3, 1)
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


def test_the_optimiser_gets_the_scheduled_rate_at_every_step(fresh: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    original = training.train_step

    def note(network: Network, batch: Batch, optimiser: torch.optim.Optimizer, *rest: object) -> tuple[float, float]:
        rates.append(optimiser.param_groups[0]["lr"])
        return original(network, batch, optimiser, *rest)

    monkeypatch.setattr(training, "train_step", note)
    fit(fresh(), material(), QUICK)
    assert rates == [learning_rate(QUICK, step) for step in range(1, 7)]


def test_reports_carry_each_validation_and_the_mean_loss_since_the_last(
    fresh: Build, monkeypatch: pytest.MonkeyPatch
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
    monkeypatch.setattr(training, "batch_loss", lambda _, batch: torch.tensor({3: 1.0, 1: 5.0}[len(batch.context)]))
    batches = [Batch(torch.zeros(n, 32), torch.zeros(n, 8), torch.ones(n, 2)) for n in (3, 1)]
    assert validate(fresh(), batches) == pytest.approx((3 * 1 + 1 * 5) / 4)


# ---- the spread of the plain network


def test_the_spread_is_the_root_mean_square_residual_of_each_step(fresh: Build) -> None:
    network = fresh(3, spine="plain")
    for parameter in network.readout.parameters():
        torch.nn.init.zeros_(parameter)  # it now forecasts 0 in the scaled space: residuals are the scaled targets
    context = torch.randn(2, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale = window_scale(context, torch.tensor([1, 1]))
    target = scale.invert(torch.tensor([[3.0, 1.0, NAN], [4.0, NAN, NAN]]))
    set_residual_spread(network, [Batch(context, target, torch.ones(2, 2, dtype=torch.long))])
    first, second = (9 + 16) / 2, 1.0
    expected = [math.sqrt(first), 1.0, math.sqrt((first + second) / 2)]  # a step without residuals: the mean of others
    assert network.residual_spread.tolist() == pytest.approx(expected, rel=1e-4)


def test_the_residual_network_has_no_such_spread_to_set(fresh: Build) -> None:
    network = fresh()
    before = weights_digest(network)
    set_residual_spread(network, material().validation)
    assert weights_digest(network) == before
