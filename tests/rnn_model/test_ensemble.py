"""Networks that forecast together: the mean of their forecasts, kept, judged and tuned as one network."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rnn_model.checkpoint import ModelCard, load_card, load_model, save_model, weights_digest
from rnn_model.config import FitConfig
from rnn_model.forecasting import predict
from rnn_model.losses import scaled_loss
from rnn_model.network import Ensemble, build_network, members_of, own_name
from rnn_model.training import Material
from rnn_model.transfer import Candidate, Strategy, combine, ensemble_candidate, stages, tune
from rnn_model.validation import set_residual_spread, window_losses
from tests.rnn_model.tensors import noise

Build = Callable[..., Ensemble]
PERIODS = torch.tensor([[4, 4]] * 3)
QUICK = FitConfig(steps=4, batch_size=8, validate_every=2, learning_rate=1e-3)


@pytest.fixture
def pair(lively: Callable[..., torch.nn.Module]) -> Build:
    """A function: what differs from TINY -> two networks with other weights, as one."""
    return lambda **config: Ensemble([lively(seed=seed, **config) for seed in (1, 2)])


@pytest.mark.parametrize("spine", ["residual", "plain"])
def test_an_ensemble_forecasts_the_mean_of_every_decile(pair: Build, spine: str) -> None:
    both = pair(spine=spine)
    context = noise(3, 32)
    deciles, scale = both(context, PERIODS, 8)
    (first, own), (second, _) = (member(context, PERIODS, 8) for member in both.members)
    assert not torch.allclose(first, second)
    torch.testing.assert_close(deciles, (first + second) / 2)
    assert torch.equal(scale.level, own.level)
    assert torch.equal(scale.spread, own.spread)


def test_deciles_of_an_ensemble_do_not_cross_past_the_horizon_either(pair: Build) -> None:
    deciles = predict(pair(noise=2.0), noise(3, 32), PERIODS, 12)
    assert deciles.isfinite().all()
    assert (deciles.diff(dim=-1) >= 0).all()


def test_equal_networks_forecast_together_what_one_does(lively: Build) -> None:
    context = noise(3, 32)
    together = predict(Ensemble([lively(), lively()]), context, PERIODS, 8)
    torch.testing.assert_close(together, predict(lively(), context, PERIODS, 8))


def test_members_are_built_from_one_seed_and_differ() -> None:
    config = tiny_card().model
    first, again, other = (build_network(config, 8, seed, members=2) for seed in (3, 3, 4))
    assert weights_digest(first) == weights_digest(again) != weights_digest(other)
    one, two = members_of(first)
    assert weights_digest(one) == weights_digest(build_network(config, 8, 3)) != weights_digest(two)


def tiny_card(**changes: object) -> ModelCard:
    model = {"width": 8, "patch": 4, "context": 32, "num_layers": 1}
    known = {"model": model, "freq": "QS", "periods": (4, 4), "horizon": 8, "strategy": "ensemble"}
    return ModelCard.model_validate(known | changes)


def test_an_ensemble_is_kept_with_all_its_members(pair: Build, tmp_path: Path) -> None:
    both, context = pair().eval(), noise(3, 32)
    loaded, card = load_model(save_model(both, tiny_card(), tmp_path / "model"))
    assert card.members == 2
    assert weights_digest(loaded) == weights_digest(both)
    assert torch.equal(predict(loaded, context, PERIODS, 8), predict(both, context, PERIODS, 8))


def test_a_card_counts_the_members_of_its_network(lively: Build, tmp_path: Path) -> None:
    assert load_card(save_model(lively(), tiny_card(members=2), tmp_path / "model")).members == 1


def test_an_ensemble_of_means_is_judged_as_each_of_them(pair: Build, material: Callable[..., Material]) -> None:
    both, batch = pair(spine="plain"), material().validation[0]
    deciles, scale = both(batch.context, batch.periods, batch.target.shape[1])
    loss = scaled_loss(both, deciles, scale, batch)
    assert torch.equal(loss, scaled_loss(both.members[0], deciles, scale, batch))
    residual = pair()
    assert not torch.allclose(loss, scaled_loss(residual.members[0], deciles, scale, batch))


def test_every_mean_carries_a_spread_of_its_own(pair: Build, material: Callable[..., Material]) -> None:
    both = pair(spine="plain")
    set_residual_spread(both, material().validation)
    first, second = (member.residual_spread for member in both.members)
    assert (first != 1).all()
    assert (second != 1).all()
    assert not torch.equal(first, second)


# ---- as a candidate


def as_candidate(strategy: Strategy, network: torch.nn.Module, loss: float) -> Candidate:
    return Candidate(strategy, network, torch.tensor([loss]), None)


def test_an_ensemble_is_of_the_best_other_and_of_the_one_from_scratch(
    lively: Build, material: Callable[..., Material]
) -> None:
    networks = {name: lively(seed=seed) for seed, name in enumerate(("zero-shot", "full", "average", "scratch"))}
    losses = {"zero-shot": 3.0, "full": 2.0, "average": 1.0, "scratch": 0.5}
    made = {name: as_candidate(name, network, losses[name]) for name, network in networks.items()}
    own = material()
    found = combine("ensemble", made, own)
    wanted = Ensemble([networks["average"], networks["scratch"]])
    assert (found.strategy, found.note) == ("ensemble", "half average, half scratch")
    assert weights_digest(found.network) == weights_digest(wanted)
    assert torch.equal(found.losses, window_losses(wanted, own.validation))
    assert found.training is None


def test_the_networks_of_an_ensemble_are_as_they_were(lively: Build, material: Callable[..., Material]) -> None:
    ends = [lively(seed=seed) for seed in (1, 2)]
    before = [weights_digest(network) for network in ends]
    parts = [as_candidate(name, network, 1.0) for name, network in zip(("full", "scratch"), ends, strict=True)]
    ensemble_candidate(*parts, material())
    assert [weights_digest(network) for network in ends] == before


def moved_names(before: Ensemble, after: torch.nn.Module) -> list[set[str]]:
    """Of each member, which parameters changed."""
    found: list[set[str]] = [set(), set()]
    old = dict(before.named_parameters())
    for name, value in after.named_parameters():
        if not torch.equal(value, old[name]):
            found[int(name.split(".")[1])].add(own_name(name))
    return found


@pytest.mark.usefixtures("always_better")
@pytest.mark.parametrize("strategy", ["biases", "head", "full"])
def test_tuning_an_ensemble_moves_in_every_member_what_it_moves_in_one(
    pair: Build, material: Callable[..., Material], strategy: Strategy
) -> None:
    both = pair()
    before = weights_digest(both)
    single = both.members[0]
    alone = tune(single, strategy, material(), QUICK, seed=0).network
    old = dict(single.named_parameters())
    declared = {name for name, value in alone.named_parameters() if not torch.equal(value, old[name])}
    assert moved_names(both, tune(both, strategy, material(), QUICK, seed=0).network) == [declared, declared]
    assert weights_digest(both) == before


def test_the_number_of_a_member_is_no_layer(pair: Build) -> None:
    both = pair(num_layers=2)
    names = [name for name, _ in both.named_parameters()]
    opened = {name for name in names if stages("gradual", both)[1](name)}
    assert "members.1.blocks.0.cell.rnn.bias_ih_l0" in names
    assert not {name for name in opened if ".blocks.0." in name}
    assert {name for name in names if ".blocks.1." in name} <= opened


def test_from_scratch_is_one_network_again(pair: Build, material: Callable[..., Material]) -> None:
    made = tune(pair(), "scratch", material(), QUICK, seed=0).network
    assert len(members_of(made)) == 1
