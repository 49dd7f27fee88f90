"""Each strategy moves what it says, from where it says, and the choice never harms."""

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch

from rnn_model import transfer
from rnn_model.checkpoint import weights_digest
from rnn_model.config import FitConfig
from rnn_model.network import Network
from rnn_model.training import Material, Watch, pull_back
from rnn_model.transfer import (
    NEAREST,
    Candidate,
    Strategy,
    averaged_candidate,
    between,
    mirrored,
    movable,
    paired_gain,
    select,
    stages,
    tune,
)
from rnn_model.validation import validate
from rnn_model.windows import Batch, from_arrays

Build = Callable[..., Network]
QUICK = FitConfig(steps=4, batch_size=8, validate_every=2, learning_rate=1e-3)
TUNED: tuple[Strategy, ...] = ("full", "mirrored", "l2", "gradual", "biases", "head", "scratch")

BIASES = {  # of the residual LSTM network with one block
    "embed_patch.bias",
    "embed_window.bias",
    "blocks.0.norm_cell.bias",
    "blocks.0.norm_mlp.bias",
    "blocks.0.cell.rnn.bias_ih_l0",
    "blocks.0.cell.rnn.bias_hh_l0",
    "blocks.0.up.bias",
    "blocks.0.down.bias",
    "norm_state.bias",
    "embed_cycles.bias",
    "norm_head.bias",
    "up.bias",
    "down.bias",
    "readout.bias",
}
HEAD = {
    "trust",
    "embed_cycles.weight",
    "embed_cycles.bias",
    "embed_position",
    "norm_head.weight",
    "norm_head.bias",
    "up.weight",
    "up.bias",
    "down.weight",
    "down.bias",
    "readout.weight",
    "readout.bias",
}


def material() -> Material:
    rng = np.random.default_rng(0)
    windows = from_arrays([np.cumsum(rng.normal(size=60)) for _ in range(10)], np.full((10, 2), 4))
    return Material(windows.drawing(8, 32, 8, 8, seed=1), windows.batches(windows.at(windows.end - 8), 32, 8))


def moved(before: Network, after: Network) -> set[str]:
    old = dict(before.named_parameters())
    return {name for name, value in after.named_parameters() if not torch.equal(value, old[name])}


def candidate(strategy: Strategy, *losses: float) -> Candidate:
    return Candidate(strategy, torch.nn.Identity(), torch.tensor(losses, dtype=torch.float64), None)


def test_zero_shot_is_the_pretrained_network_untouched(lively: Build) -> None:
    pretrained = lively()
    before = weights_digest(pretrained)
    made = tune(pretrained, "zero-shot", material(), QUICK, seed=0)
    assert weights_digest(made.network) == before
    assert made.validation_loss == validate(pretrained, material().validation)
    assert made.training is None


@pytest.mark.usefixtures("always_better")
@pytest.mark.parametrize(("strategy", "declared"), [("biases", BIASES), ("head", HEAD)])
def test_a_partial_strategy_moves_exactly_what_it_declares(
    lively: Build, strategy: Strategy, declared: set[str]
) -> None:
    pretrained = lively()
    assert moved(pretrained, tune(pretrained, strategy, material(), QUICK, seed=0).network) == declared


@pytest.mark.usefixtures("always_better")
@pytest.mark.parametrize("spine", ["residual", "plain"])
def test_full_moves_everything(lively: Build, spine: str) -> None:
    pretrained = lively(spine=spine)
    made = tune(pretrained, "full", material(), QUICK, seed=0)
    assert moved(pretrained, made.network) == {name for name, _ in pretrained.named_parameters()}


@pytest.mark.parametrize(
    ("strategy", "declared"),
    [("biases", {"cells.0.b_h", "readout.dense.bias"}), ("head", {"readout.dense.weight", "readout.dense.bias"})],
)
def test_partial_strategies_of_the_articles_network(lively: Build, strategy: Strategy, declared: set[str]) -> None:
    names = [name for name, _ in lively(spine="plain", cell="elman").named_parameters()]
    assert {name for name in names if movable(strategy, name)} == declared


@pytest.mark.parametrize("spine", ["residual", "plain"])
@pytest.mark.parametrize("strategy", ["zero-shot", *TUNED])
def test_no_strategy_changes_the_pretrained_network(lively: Build, spine: str, strategy: Strategy) -> None:
    pretrained = lively(spine=spine).eval()
    for parameter in pretrained.parameters():
        parameter.requires_grad_(False)
    before = weights_digest(pretrained)
    tune(pretrained, strategy, material(), QUICK, seed=0)
    assert weights_digest(pretrained) == before
    assert not pretrained.training
    assert not any(p.requires_grad for p in pretrained.parameters())


@pytest.mark.parametrize("strategy", TUNED)
def test_a_tuned_network_can_be_trained_on_in_full(lively: Build, strategy: Strategy) -> None:
    made = tune(lively(), strategy, material(), QUICK, seed=0)
    assert all(p.requires_grad for p in made.network.parameters())


def test_scratch_does_not_depend_on_the_pretrained_weights(lively: Build) -> None:
    digests = {weights_digest(tune(lively(seed=s), "scratch", material(), QUICK, seed=5).network) for s in (1, 2)}
    assert len(digests) == 1


def test_scratch_depends_on_its_seed(lively: Build) -> None:
    digests = {weights_digest(tune(lively(), "scratch", material(), QUICK, seed=s).network) for s in (1, 2)}
    assert len(digests) == 2


@pytest.mark.usefixtures("always_better")
@pytest.mark.parametrize("strategy", ["full", "mirrored", "l2", "gradual", "biases", "head"])
def test_tuning_starts_from_the_pretrained_weights(lively: Build, strategy: Strategy) -> None:
    pretrained = lively()
    made = tune(pretrained, strategy, material(), QUICK.model_copy(update={"learning_rate": 1e-9}), seed=0)
    for (name, old), new in zip(pretrained.named_parameters(), made.network.parameters(), strict=True):
        torch.testing.assert_close(new, old, rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    ("strategy", "factor"),
    [("full", 1), ("mirrored", 1), ("l2", 1), ("gradual", 1), ("head", 3), ("biases", 10), ("scratch", 5)],
)
def test_fewer_weights_take_larger_steps(lively: Build, strategy: Strategy, factor: int) -> None:
    config = QUICK.model_copy(update={"schedule": "constant", "warmup": 0.0})
    made = tune(lively(), strategy, material(), config, seed=0)
    assert made.training.history[-1].learning_rate == pytest.approx(1e-3 * factor)


@pytest.mark.parametrize("spine", ["residual", "plain"])
def test_between_lies_between_and_changes_neither(lively: Build, spine: str) -> None:
    ends = [lively(seed=s, spine=spine) for s in (1, 2)]
    before = [weights_digest(network) for network in ends]
    made = between(*ends, 0.25)
    for name, value in made.state_dict().items():
        first, second = (network.state_dict()[name] for network in ends)
        torch.testing.assert_close(value, 0.75 * first + 0.25 * second)
    assert [weights_digest(network) for network in ends] == before


@pytest.mark.parametrize(("best", "note"), [(0.25, "75% zero-shot, 25% full"), (0.75, "25% zero-shot, 75% full")])
def test_the_average_takes_the_share_that_the_stopping_windows_like_best(
    lively: Build, monkeypatch: pytest.MonkeyPatch, best: float, note: str
) -> None:
    ends = [lively(seed=s) for s in (1, 2)]
    wanted = weights_digest(between(*ends, best))
    monkeypatch.setattr(transfer, "validate", lambda network, _: float(weights_digest(network) != wanted))
    zero, tuned = (Candidate(s, n, torch.ones(1), None) for s, n in zip(("zero-shot", "full"), ends, strict=True))
    made = averaged_candidate(zero, tuned, material())
    assert weights_digest(made.network) == wanted
    assert made.note == note
    assert made.validation_loss == validate(made.network, material().validation)


@pytest.mark.usefixtures("always_better")
def test_gradual_unfreezing_opens_the_decoder_then_the_last_layer_then_all(lively: Build) -> None:
    pretrained = lively(num_layers=2)
    names = [name for name, _ in pretrained.named_parameters()]
    opened = [{name for name in names if moves(name)} for moves in stages("gradual", pretrained)]
    last = {name for name in names if name.startswith("blocks.1.")}
    assert opened == [HEAD, HEAD | last, set(names)]
    ticks: list[int] = []
    config = QUICK.model_copy(update={"steps": 6})
    made = tune(pretrained, "gradual", material(), config, seed=0, watch=Watch(tick=ticks.append))
    assert ticks == [1, 2, 3, 4, 5, 6]  # two steps each
    assert [p.step for p in made.training.history] == [2, 4, 6]
    assert moved(pretrained, made.network) == set(names)


def test_every_stage_of_gradual_unfreezing_draws_windows_of_its_own(lively: Build) -> None:
    drawn: list[int] = []
    own = material()
    noted = own._replace(draw=lambda step: (drawn.append(step), own.draw(step))[1])
    tune(lively(num_layers=2), "gradual", noted, QUICK.model_copy(update={"steps": 6}), seed=0)
    assert drawn == [1, 2, 3, 4, 5, 6]


def test_l2_ends_nearer_to_the_pretrained_weights_than_full(lively: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    pretrained = lively()
    monkeypatch.setattr(transfer, "PULL", 50.0)

    def distance(strategy: Strategy) -> float:
        config = QUICK.model_copy(update={"steps": 20, "validate_every": 20, "learning_rate": 1e-2})
        made = tune(pretrained, strategy, material(), config, seed=0)
        pairs = zip(made.network.parameters(), pretrained.parameters(), strict=True)
        return sum(float((new - old).detach().square().sum()) for new, old in pairs)

    assert 0 < distance("l2") < 0.25 * distance("full")


def test_a_pull_of_the_whole_way_stays_at_the_start() -> None:
    weight = torch.nn.Parameter(torch.tensor([5.0]))
    pull_back([weight], [torch.tensor([1.0])], 0.25)
    assert weight.item() == 4.0
    pull_back([weight], [torch.tensor([1.0])], 7.0)
    assert weight.item() == 1.0


def test_a_tuned_plain_network_carries_the_spread_of_its_own_residuals(lively: Build) -> None:
    pretrained = lively(spine="plain")
    made = tune(pretrained, "full", material(), QUICK, seed=0)
    assert (made.network.residual_spread != 1).all()
    assert (pretrained.residual_spread == 1).all()


@pytest.mark.parametrize(
    ("full", "head", "chosen"),
    [
        ((0.9, 0.9, 0.8), (0.8, 0.8, 0.7), "head"),
        ((1.1, 1.1, 1.2), (1.2, 1.2, 1.3), "zero-shot"),
        ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), "zero-shot"),
        ((0.9, 0.9, 0.8), (0.0, 1.1, 1.1), "full"),  # head is lower in the mean, by one window alone
        ((1.1, 1.1, 0.2), (1.3, 1.3, 1.3), "zero-shot"),
        ((0.9, 0.9, 1.01), (1.3, 1.3, 1.3), "zero-shot"),  # 1.7 standard errors
    ],
)
def test_a_candidate_is_chosen_for_more_than_chance(
    full: tuple[float, ...], head: tuple[float, ...], chosen: str
) -> None:
    contenders = [candidate("full", *full), candidate("zero-shot", 1.0, 1.0, 1.0), candidate("head", *head)]
    for order in (contenders, contenders[::-1]):  # the order of the candidates decides nothing
        choice = select(order, np.arange(3))
        assert choice.candidate.strategy == chosen
        assert choice.reason.startswith(f"{chosen}: ")


def test_a_candidate_far_from_zero_shot_has_to_earn_it() -> None:
    zero, average = candidate("zero-shot", 1.0, 1.0, 1.0, 1.0), candidate("average", 0.9, 0.9, 0.8, 0.8)
    wild = candidate("scratch", 0.5, 1.0, 0.5, 1.0)  # lower in the mean, but not at two standard errors
    sure = candidate("scratch", 0.7, 0.7, 0.6, 0.6)
    assert select([zero, wild, average], np.arange(4)).candidate is average
    assert select([zero, sure, average], np.arange(4)).candidate is sure


def test_an_ensemble_is_nearer_to_zero_shot_than_what_is_from_scratch_alone() -> None:
    zero, scratch = candidate("zero-shot", 1.0, 1.0, 1.0), candidate("scratch", 0.8, 0.9, 0.8)
    ensemble, mirrored = candidate("ensemble", 0.9, 0.9, 0.8), candidate("mirrored", 0.9, 0.9, 0.9)
    assert select([zero, scratch, ensemble], np.arange(3)).candidate is ensemble
    assert select([zero, ensemble, mirrored], np.arange(3)).candidate is mirrored


def test_the_nearest_of_those_that_are_better_is_chosen() -> None:
    zero = candidate("zero-shot", 1.0, 1.0, 1.0)
    full, biases = candidate("full", 0.8, 0.9, 0.8), candidate("biases", 0.9, 0.9, 0.8)
    assert select([zero, full, biases], np.arange(3)).candidate is biases


def test_a_choice_says_which_lower_loss_is_not_proven() -> None:
    zero, biases = candidate("zero-shot", 1.0, 1.0, 1.0), candidate("biases", 0.9, 0.9, 0.8)
    choice = select([zero, biases, candidate("full", 0.8, 0.9, 0.8)], np.arange(3))
    assert choice.reason.endswith("n = 3); full, ranked farther from zero-shot, is not proven better than that")
    assert select([zero, biases], np.arange(3)).reason.endswith("n = 3)")


def test_a_choice_says_which_nearer_candidates_are_proven_worse() -> None:
    zero, average = candidate("zero-shot", 1.0, 1.0, 1.0), candidate("average", 0.9, 0.9, 0.8)
    biases, full = candidate("biases", 0.8, 0.8, 0.8), candidate("full", 0.5, 0.6, 0.5)
    reason = select([zero, average, full, biases], np.arange(3)).reason
    assert reason.startswith("full: ")
    assert reason.endswith(
        "n = 3); average, ranked nearer to zero-shot, is proven worse than full"
        "; biases, ranked nearer to zero-shot, is proven worse than full"
    )


def test_what_moves_as_freely_and_is_tuned_for_longer_has_to_be_better() -> None:
    zero, full = candidate("zero-shot", 1.0, 1.0, 1.0), candidate("full", 0.8, 0.9, 0.8)
    assert select([zero, candidate("mirrored", 0.7, 0.9, 0.8), full], np.arange(3)).candidate is full
    better = candidate("mirrored", 0.6, 0.7, 0.6)
    assert select([zero, better, full], np.arange(3)).candidate is better


def test_every_strategy_has_its_place_in_the_order() -> None:
    assert sorted((*NEAREST, "zero-shot")) == sorted(get_args(Strategy))


def test_the_gain_of_a_series_counts_once_however_many_windows_it_has() -> None:
    zero, full = candidate("zero-shot", 1.0, 1.0, 1.0, 1.0), candidate("full", 0.5, 0.7, 0.9, 1.1)
    gain = paired_gain(zero, full, np.array([7, 7, 3, 3]))  # 0.4 of the one, 0.0 of the other
    assert (gain.mean, gain.error, gain.units) == (pytest.approx(0.2), pytest.approx(0.2), 2)


def test_the_windows_of_a_single_series_count_by_themselves() -> None:
    gain = paired_gain(candidate("zero-shot", 1.0, 1.0), candidate("full", 0.5, 0.7), np.array([4, 4]))
    assert (gain.mean, gain.error, gain.units) == (pytest.approx(0.4), pytest.approx(0.1), 2)


def test_a_window_without_observed_targets_says_nothing() -> None:
    nan = float("nan")
    zero, full = candidate("zero-shot", 1.0, nan, 1.0), candidate("full", 0.5, nan, 0.7)
    assert (zero.validation_loss, full.validation_loss) == (1.0, pytest.approx(0.6))
    gain = paired_gain(zero, full, np.array([0, 1, 2]))
    assert (gain.mean, gain.error, gain.units) == (pytest.approx(0.4), pytest.approx(0.1), 2)


def test_a_series_counts_once_in_the_choice_too() -> None:
    zero = candidate("zero-shot", *[1.0] * 6)
    often = candidate("full", 0.0, 0.0, 0.0, 0.0, 0.9, 0.9)  # the lower mean over windows, by one series of three
    evenly = candidate("head", 0.5, 0.5, 0.5, 0.5, 0.5, 0.5)
    choice = select([zero, often, evenly], np.array([0, 0, 0, 0, 1, 2])).candidate
    assert often.validation_loss < evenly.validation_loss
    assert choice.strategy == "head"


def test_one_window_is_no_evidence() -> None:
    choice = select([candidate("zero-shot", 1.0), candidate("full", 0.1)], np.array([0]))
    assert choice.candidate.strategy == "zero-shot"
    assert "full is only 0.9000 lower" in choice.reason


def test_zero_shot_alone_is_chosen_even_without_windows() -> None:
    alone = select([candidate("zero-shot")], np.array([], dtype=np.int64)).candidate
    assert (alone.strategy, alone.validation_loss) == ("zero-shot", float("inf"))


def test_a_harmful_training_ends_where_it_began_and_says_so(lively: Build) -> None:
    pretrained = lively()
    wild = QUICK.model_copy(update={"learning_rate": 1.0, "averaging": 0.0, "clip": 1e6})
    made = tune(pretrained, "full", material(), wild, seed=0)
    assert weights_digest(made.network) == weights_digest(pretrained)
    assert made.note == "as it began: no validation of its training was better"


@pytest.mark.usefixtures("always_better")
def test_a_training_that_helps_needs_no_note(lively: Build) -> None:
    assert tune(lively(), "full", material(), QUICK, seed=0).note == ""


# ---- upside down


def signs(step: int, seed: int = 0) -> torch.Tensor:
    """(B, 1) of a mirrored step: -1 where a window was turned."""
    own = material()
    return (mirrored(own.draw, seed)(step).target[:, 0] / own.draw(step).target[:, 0])[:, None]


def test_a_window_is_turned_with_its_target_and_nothing_else_changes() -> None:
    own = material()
    plain, batch, sign = own.draw(3), mirrored(own.draw, 0)(3), signs(3)
    assert set(sign.flatten().tolist()) == {1.0, -1.0}
    torch.testing.assert_close(batch.context, plain.context * sign, equal_nan=True, rtol=0, atol=0)
    torch.testing.assert_close(batch.target, plain.target * sign, equal_nan=True, rtol=0, atol=0)
    assert torch.equal(batch.periods, plain.periods)


def test_windows_are_turned_as_often_as_not() -> None:
    turned = torch.cat([signs(step) < 0 for step in range(50)])
    assert 0.4 < turned.double().mean() < 0.6


def test_turns_are_a_function_of_seed_and_step() -> None:
    assert torch.equal(signs(3), signs(3))
    some = [torch.cat([signs(step, seed) for step in steps]) for seed, steps in ((0, (3, 4)), (1, (3, 4)), (0, (5, 6)))]
    assert not torch.equal(some[0], some[1])
    assert not torch.equal(some[0], some[2])


def test_what_rests_on_zero_is_never_turned() -> None:
    context = torch.tensor([[0.0, 0, 3, 1], [4.0, 2, 3, 1]]).repeat(10, 1)
    batch = Batch(context, torch.ones(20, 2), torch.ones(20, 2))
    turned = torch.stack([mirrored(lambda _: batch, 0)(step).context[:, 2] < 0 for step in range(5)])
    assert not turned[:, ::2].any()
    assert turned[:, 1::2].any()


@pytest.mark.usefixtures("always_better")
def test_mirrored_is_full_on_windows_turned_upside_down(lively: Build) -> None:
    pretrained, own = lively(), material()
    turned = own._replace(draw=mirrored(own.draw, seed=4))
    made, full = tune(pretrained, "mirrored", own, QUICK, seed=4), tune(pretrained, "full", turned, QUICK, seed=4)
    assert weights_digest(made.network) == weights_digest(full.network)
    assert weights_digest(made.network) != weights_digest(tune(pretrained, "full", own, QUICK, seed=4).network)
