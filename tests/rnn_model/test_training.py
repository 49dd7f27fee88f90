"""The loop: what moves, what is kept, and when it stops."""

from collections.abc import Callable, Iterator
from itertools import count

import pytest
import torch
from torch import Tensor

from rnn_model import training
from rnn_model.checkpoint import weights_digest
from rnn_model.config import FitConfig
from rnn_model.errors import DataError, TrainingError
from rnn_model.network import Network
from rnn_model.training import (
    Material,
    Watch,
    averaged,
    fit,
    train_step,
    update_average,
)
from rnn_model.validation import validate

Build = Callable[..., Network]
Learn = Callable[..., Material]
QUICK = FitConfig(steps=6, batch_size=8, validate_every=2, learning_rate=0.01, averaging=0.5)


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
def test_what_can_be_learnt_is_learnt(fresh: Build, spine: str, cell: str, material: Learn) -> None:
    network = fresh(spine=spine, cell=cell)
    before = validate(network, material().validation)
    result = fit(network, material(), FitConfig(steps=80, batch_size=8, learning_rate=0.01, validate_every=20))
    assert result.best_loss < 0.7 * before


def test_the_result_says_what_the_network_left_behind_scores(fresh: Build, material: Learn) -> None:
    network = fresh()
    result = fit(network, material(), QUICK)
    assert validate(network, material().validation) == result.best_loss


def test_same_seed_same_weights_other_seed_other_weights(fresh: Build, material: Learn) -> None:
    digests = []
    for seed in (1, 1, 2):
        network = fresh(seed=0)
        fit(network, material(seed), QUICK)
        digests.append(weights_digest(network))
    assert digests[0] == digests[1] != digests[2]


def test_frozen_parameters_stay_bit_equal_and_all_others_move(
    lively: Build, monkeypatch: pytest.MonkeyPatch, material: Learn
) -> None:
    scores(monkeypatch, falling())
    network = lively()
    frozen = {name for name, p in network.named_parameters() if name.startswith("blocks.")}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
    before = copies(network)
    fit(network, material(), QUICK)
    still = {name for name, value in network.named_parameters() if torch.equal(value, before[name])}
    assert still == frozen


def test_a_step_is_one_step_down_the_gradient(lively: Build, material: Learn) -> None:
    network = lively()
    parameters = list(network.parameters())
    before = [p.detach().clone() for p in parameters]
    train_step(network, material().draw(1), torch.optim.SGD(parameters, lr=0.1), parameters, FitConfig(clip=1e6), 1)
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


def test_the_averaged_weights_are_validated_and_kept(
    fresh: Build, monkeypatch: pytest.MonkeyPatch, material: Learn
) -> None:
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


def test_the_best_validated_weights_are_left_in_the_network(
    fresh: Build, monkeypatch: pytest.MonkeyPatch, material: Learn
) -> None:
    shown = scores(monkeypatch, iter([5.0, 3.0, 1.0, 2.0]))  # before, and after steps 2, 4 and 6
    network = fresh()
    result = fit(network, material(), QUICK)
    assert (result.best_step, result.best_loss) == (4, 1.0)
    assert all(torch.equal(value, shown[2][name]) for name, value in network.named_parameters())


def test_a_training_that_only_harms_leaves_the_first_weights(
    fresh: Build, monkeypatch: pytest.MonkeyPatch, material: Learn
) -> None:
    scores(monkeypatch, iter([1.0, 2.0, 3.0, 4.0]))
    network = fresh()
    before = weights_digest(network)
    assert fit(network, material(), QUICK).best_step == 0
    assert weights_digest(network) == before


def test_a_fault_leaves_the_best_validated_weights(
    fresh: Build, monkeypatch: pytest.MonkeyPatch, poisoned: Learn
) -> None:
    shown = scores(monkeypatch, falling())
    network = fresh()
    with pytest.raises(TrainingError, match="step 4"):
        fit(network, poisoned(4), QUICK)
    assert len(shown) == 2
    assert all(torch.equal(value, shown[1][name]) for name, value in network.named_parameters())


# ---- stopping


def test_it_stops_after_so_many_validations_without_improvement(
    fresh: Build, monkeypatch: pytest.MonkeyPatch, material: Learn
) -> None:
    scores(monkeypatch, iter([9.0, 5.0, 6.0, 5.0, 1.0]))  # an equal loss is no improvement
    config = QUICK.model_copy(update={"steps": 100, "patience": 2})
    result = fit(fresh(), material(), config)
    assert result.stopped_early
    assert [p.step for p in result.history] == [2, 4, 6]


def test_an_improvement_renews_the_patience(fresh: Build, monkeypatch: pytest.MonkeyPatch, material: Learn) -> None:
    scores(monkeypatch, iter([9.0, 9.0, 5.0, 6.0, 4.0]))
    result = fit(fresh(), material(), QUICK.model_copy(update={"steps": 8, "patience": 2}))
    assert not result.stopped_early
    assert result.best_step == 8


def test_the_last_step_is_validated_whatever_the_rhythm(fresh: Build, material: Learn) -> None:
    result = fit(fresh(), material(), QUICK.model_copy(update={"steps": 5}))
    assert [p.step for p in result.history] == [2, 4, 5]


def test_without_validation_windows_there_is_no_training(fresh: Build, material: Learn) -> None:
    with pytest.raises(DataError, match="no validation windows"):
        fit(fresh(), Material(material().draw, []), QUICK)
