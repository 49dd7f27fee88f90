"""Networks that forecast together: the mean of their forecasts, kept, judged and tuned as one network."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tensors import noise

from rnn_model.checkpoint import ModelCard, load_card, load_model, save_model, weights_digest
from rnn_model.config import FitConfig, Strategy
from rnn_model.forecasting import predict
from rnn_model.losses import scaled_loss
from rnn_model.network import Ensemble, Forecaster, PlainForecaster, build_network, members_of, own_name
from rnn_model.training import Material
from rnn_model.transfer import Candidate, between, combine, ensemble_candidate, stages, tune
from rnn_model.validation import set_residual_spread, window_losses
from rnn_model.windows import Batch

Pair = Callable[..., Ensemble]
PERIODS = torch.tensor([[4, 4]] * 3)
QUICK = FitConfig(steps=4, batch_size=8, validate_every=2, learning_rate=1e-3)


def tiny_card(**changes: object) -> ModelCard:
    model = {"width": 8, "patch": 4, "context": 32, "num_layers": 1}
    known = {"model": model, "freq": "QS", "periods": (4, 4), "horizon": 8, "strategy": "ensemble"}
    return ModelCard.model_validate(known | changes)


@pytest.fixture
def pair(lively: Callable[..., torch.nn.Module]) -> Pair:
    """A function: what differs from TINY -> two networks with other weights, as one."""
    return lambda **config: Ensemble([lively(seed=seed, **config) for seed in (1, 2)])


@pytest.mark.parametrize("spine", ["residual", "plain"])
def test_an_ensemble_forecasts_the_mean_of_every_decile(pair: Pair, spine: str) -> None:
    both = pair(spine=spine)
    context = noise(3, 32)
    deciles, scale = both(context, PERIODS, 8)
    (first, own), (second, _) = (member(context, PERIODS, 8) for member in both.members)
    assert not torch.allclose(first, second)
    torch.testing.assert_close(deciles, (first + second) / 2)
    assert torch.equal(scale.level, own.level)
    assert torch.equal(scale.spread, own.spread)


def test_deciles_of_an_ensemble_do_not_cross_past_the_horizon_either(pair: Pair) -> None:
    deciles = predict(pair(noise=2.0), noise(3, 32), PERIODS, 12)
    assert deciles.isfinite().all()
    assert (deciles.diff(dim=-1) >= 0).all()


def test_equal_networks_forecast_together_what_one_does(lively: Callable[..., Forecaster]) -> None:
    context = noise(3, 32)
    together = predict(Ensemble([lively(), lively()]), context, PERIODS, 8)
    torch.testing.assert_close(together, predict(lively(), context, PERIODS, 8))


def test_members_are_built_from_one_seed_and_differ() -> None:
    config = tiny_card().model
    first, again, other = (build_network(config, 8, seed, members=2) for seed in (3, 3, 4))
    assert weights_digest(first) == weights_digest(again) != weights_digest(other)
    one, two = members_of(first)
    assert weights_digest(one) == weights_digest(build_network(config, 8, 3)) != weights_digest(two)


def test_an_ensemble_is_kept_with_all_its_members(pair: Pair, tmp_path: Path) -> None:
    both, context = pair().eval(), noise(3, 32)
    loaded, card = load_model(save_model(both, tiny_card(), tmp_path / "model"))
    assert card.members == 2
    assert weights_digest(loaded) == weights_digest(both)
    assert torch.equal(predict(loaded, context, PERIODS, 8), predict(both, context, PERIODS, 8))


def test_a_card_counts_the_members_of_its_network(lively: Callable[..., Forecaster], tmp_path: Path) -> None:
    assert load_card(save_model(lively(), tiny_card(members=2), tmp_path / "model")).members == 1


def test_an_ensemble_of_means_is_judged_as_each_of_them(pair: Pair, material: Callable[..., Material]) -> None:
    both, batch = pair(spine="plain"), material().validation[0]
    deciles, scale = both(batch.context, batch.periods, batch.target.shape[1])
    loss = scaled_loss(both, deciles, scale, batch)
    assert torch.equal(loss, scaled_loss(both.members[0], deciles, scale, batch))
    residual = pair()
    assert not torch.allclose(loss, scaled_loss(residual.members[0], deciles, scale, batch))


def test_the_interval_of_means_together_covers_what_it_promises(lively: Callable[..., PlainForecaster]) -> None:
    both = Ensemble([lively(seed=seed, spine="plain") for seed in (1, 2)])
    with torch.no_grad():
        for member, bias in zip(both.members, (1.0, -1.0), strict=True):  # each errs more than their mean
            member.readout.dense.bias.add_(bias)
    context, target = noise(400, 40).cumsum(1).split([32, 8], 1)
    batch = Batch(context, target, torch.tensor([[4, 4]] * 400))
    set_residual_spread(both, [batch])
    deciles = predict(both, context, batch.periods, 8)
    covered = (deciles[..., 0] <= target) & (target <= deciles[..., -1])
    assert covered.double().mean().item() == pytest.approx(0.8, abs=0.02)


# ---- as a candidate


def as_candidate(strategy: Strategy, network: torch.nn.Module, loss: float) -> Candidate:
    return Candidate(strategy, network, torch.tensor([loss]), None)


def candidates(lively: Callable[..., Forecaster], **losses: float) -> dict[Strategy, Candidate]:
    """Networks that were not trained, in the order given, with the loss that each is said to have."""
    named = {name.replace("_", "-"): loss for name, loss in losses.items()}
    return {name: as_candidate(name, lively(seed=n).eval(), loss) for n, (name, loss) in enumerate(named.items())}


def ranked(material: Callable[..., Material]) -> Material:
    """What stops and what ranks, of which the one is not the other."""
    return material()._replace(choosing=[material(1).draw(1)])


def test_an_ensemble_is_of_the_best_other_and_of_the_one_from_scratch(
    lively: Callable[..., Forecaster], material: Callable[..., Material]
) -> None:
    made = candidates(lively, zero_shot=3.0, average=1.0, full=2.0, scratch=0.5)
    own = ranked(material)
    found = combine("ensemble", made, own)
    wanted = Ensemble([made["average"].network, made["scratch"].network])
    assert (found.strategy, found.note) == ("ensemble", "mean of average and scratch")
    assert weights_digest(found.network) == weights_digest(wanted)
    assert torch.equal(found.losses, window_losses(wanted, own.choosing))
    assert found.training is None


def test_an_average_is_of_zero_shot_and_the_best_tuned_one(
    lively: Callable[..., Forecaster], material: Callable[..., Material]
) -> None:
    made = candidates(lively, full=2.0, biases=1.0, zero_shot=0.5, mirrored=1.5, scratch=0.1)
    found = combine("average", made, ranked(material))
    share = int(found.note.split("%")[0]) / 100
    assert found.note.endswith(" biases")
    wanted = between(made["zero-shot"].network, made["biases"].network, 1 - share)
    assert weights_digest(found.network) == weights_digest(wanted)


@pytest.mark.parametrize("spine", ["residual", "plain"])
def test_the_networks_of_an_ensemble_are_as_they_were(
    lively: Callable[..., Forecaster], material: Callable[..., Material], spine: str
) -> None:
    ends = [lively(seed=seed, spine=spine).eval() for seed in (1, 2)]
    before = [weights_digest(network) for network in ends]
    parts = [as_candidate(name, network, 1.0) for name, network in zip(("full", "scratch"), ends, strict=True)]
    assert not ensemble_candidate(*parts, material()).network.training
    assert [weights_digest(network) for network in ends] == before
    assert not any(network.training for network in ends)


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
    pair: Pair, material: Callable[..., Material], strategy: Strategy
) -> None:
    both = pair()
    before = weights_digest(both)
    single = both.members[0]
    alone = tune(single, strategy, material(), QUICK, seed=0).network
    old = dict(single.named_parameters())
    declared = {name for name, value in alone.named_parameters() if not torch.equal(value, old[name])}
    assert moved_names(both, tune(both, strategy, material(), QUICK, seed=0).network) == [declared, declared]
    assert weights_digest(both) == before


def test_the_number_of_a_member_is_no_layer(pair: Pair) -> None:
    both = pair(num_layers=2)
    names = [name for name, _ in both.named_parameters()]
    opened = {name for name in names if stages("gradual", both)[1](name)}
    assert "members.1.blocks.0.cell.rnn.bias_ih_l0" in names
    assert not {name for name in opened if ".blocks.0." in name}
    assert {name for name in names if ".blocks.1." in name} <= opened


def test_from_scratch_is_one_network_again(pair: Pair, material: Callable[..., Material]) -> None:
    made = tune(pair(), "scratch", material(), QUICK, seed=0).network
    assert len(members_of(made)) == 1
