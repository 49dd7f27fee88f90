"""Fine-tuning as pretraining plus a small difference: each strategy says what moves, from where, and how fast.

The pretrained network is never changed; every strategy works on a copy.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnn_model.config import TUNED, FitConfig, Strategy
from rnn_model.forecasting import rests_on_zero
from rnn_model.network import Ensemble, Network, build_network, members_of, own_name
from rnn_model.seeding import torch_rng
from rnn_model.training import FitResult, Material, Progress, Watch, fit
from rnn_model.validation import mean_loss, set_residual_spread, validate, window_losses
from rnn_model.windows import Batch, Ints

RATE = {
    "full": 1.0,
    "mirrored": 1.0,
    "gradual": 1.0,
    "l2": 1.0,
    "head": 3.0,
    "biases": 10.0,
    "scratch": 5.0,
}  # times the fine-tuning rate: fewer weights, larger steps
NEAREST: tuple[Strategy, ...] = (  # to zero-shot first
    "average",
    "biases",
    "head",
    "l2",
    "gradual",
    "full",
    "mirrored",  # as free as full, and often tuned for longer
    "ensemble",
    "scratch",
)
COMBINED: tuple[Strategy, ...] = ("average", "ensemble")  # made from other candidates, in this order
PULL = 10.0  # of strategy l2: decay towards the pretrained weights, in place of AdamW's towards zero
EVIDENCE = 2.0  # standard errors that a gain has to exceed: of several candidates one is soon ahead by chance
SHARES = (0.25, 0.5, 0.75)  # of the tuned weights, tried by an average


@dataclass(frozen=True)
class Candidate:
    """One contender: its weights, its loss on each choosing window (scaled space), and how it was made."""

    strategy: Strategy
    network: Network
    losses: Tensor
    training: FitResult | None
    note: str = ""

    @property
    def validation_loss(self) -> float:
        """The mean of its losses; inf without any."""
        return mean_loss(self.losses)


class Gain(NamedTuple):
    """How much lower one candidate's loss is than another's, and how sure that is."""

    mean: float
    error: float  # standard error of the mean; inf where it rests on one difference
    units: int

    @property
    def proven(self) -> bool:
        """Whether it exceeds EVIDENCE standard errors."""
        return self.mean > EVIDENCE * self.error

    def __str__(self) -> str:
        return f"{self.mean:.4f} lower than zero-shot (standard error {self.error:.4f}, n = {self.units})"


class Choice(NamedTuple):
    """The chosen candidate, and the sentence that says why."""

    candidate: Candidate
    reason: str


def movable(strategy: Strategy, name: str) -> bool:
    """Whether the parameter of that name is trained under that strategy; of an ensemble, in each of its networks."""
    name = own_name(name)
    if strategy == "biases":
        return name.rsplit(".", 1)[-1].startswith(("bias", "b_"))
    if strategy == "head":
        return name.startswith(("readout.", "up.", "down.", "norm_head.", "embed_cycles.", "embed_position", "trust"))
    return strategy in ("full", "mirrored", "l2", "scratch")


def stages(strategy: Strategy, network: Network) -> list[Callable[[str], bool]]:
    """Which parameters move, one training after another: a single one, but for gradual unfreezing.

    That opens the decoder, then the last recurrent layer too, then everything (Howard and Ruder, 2018, "Universal
    language model fine-tuning").
    """
    if strategy != "gradual":
        return [partial(movable, strategy)]
    last = f".{network.config.num_layers - 1}."  # of blocks.1.cell..., or cells.1...
    decoder = partial(movable, "head")
    return [decoder, lambda name: decoder(name) or last in own_name(name), lambda _: True]


def tuned_rate(config: FitConfig, strategy: Strategy) -> float:
    """The peak learning rate of a strategy; 0 for those that train nothing."""
    return min(1.0, config.learning_rate * RATE.get(strategy, 0.0))


def tune(
    pretrained: Network,
    strategy: Strategy,
    material: Material,
    config: FitConfig,
    seed: int,
    watch: Watch = Watch(),
) -> Candidate:
    """Train a copy of `pretrained` (or, for scratch, a fresh network of its config) by one strategy.

    `zero-shot` trains nothing. `average` and `ensemble` are made from other candidates, by `combine`.
    """
    if strategy == "zero-shot":
        return Candidate(strategy, pretrained, choosing_losses(pretrained, material), None)
    network = (
        build_network(pretrained.config, pretrained.horizon, seed) if strategy == "scratch" else deepcopy(pretrained)
    )
    if strategy == "mirrored":
        material = material._replace(draw=mirrored(material.draw, seed))
    opened = stages(strategy, network)
    each = {"learning_rate": tuned_rate(config, strategy), "steps": max(1, config.steps // len(opened))}
    each |= {"weight_decay": 0.0} if strategy == "l2" else {}
    config, results, pull = config.model_copy(update=each), [], PULL if strategy == "l2" else 0.0
    for number, moves in enumerate(opened):
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(moves(name))
        own, told = later(material, watch, number * config.steps, len(opened) * config.steps)
        results.append(fit(network, own, config, told, pull=pull))
    network.requires_grad_(True)
    set_residual_spread(network, material.validation)
    result = joined(results, config.steps)
    note = "" if result.best_step else "as it began: no validation of its training was better"
    return Candidate(strategy, network, choosing_losses(network, material), result, note)


def mirrored(draw: Callable[[int], Batch], seed: int) -> Callable[[int], Batch]:
    """The same windows, each as likely upside down as not: forecasts see both, but of what `rests_on_zero`."""

    def turned(step: int) -> Batch:
        context, target, periods = draw(step)
        chance = torch.rand(len(context), generator=torch_rng(seed, "mirrored", step)) < 0.5
        sign = torch.where(chance & ~rests_on_zero(context), -1.0, 1.0).to(context.dtype)[:, None]
        return Batch(context * sign, target * sign, periods)

    return turned


def later(material: Material, watch: Watch, offset: int, steps: int) -> tuple[Material, Watch]:
    """The same for a part of a training, that many steps on: what it draws, and what is told of it."""

    def report(progress: Progress) -> None:
        watch.report(replace(progress, step=progress.step + offset, steps=steps))

    told = Watch(report, lambda step: watch.tick(step + offset))
    return material._replace(draw=lambda step: material.draw(step + offset)), told


def joined(results: Sequence[FitResult], steps: int) -> FitResult:
    """Trainings of at most `steps` one after the other, as one: each went on from the best weights of the last."""
    total = steps * len(results)
    history = [
        replace(p, step=p.step + n * steps, steps=total) for n, result in enumerate(results) for p in result.history
    ]
    number, best = max(
        ((n, r) for n, r in enumerate(results) if r.best_step), default=(0, results[0]), key=itemgetter(0)
    )
    stopped, clipped = results[-1].stopped_early, sum(result.clipped for result in results)
    return FitResult(tuple(history), best.best_step + number * steps, results[-1].best_loss, stopped, clipped)


def choosing_losses(network: Network, material: Material) -> Tensor:
    """(N,) the losses that rank candidates: of windows that stopped no training, where there are any."""
    return window_losses(network, material.choosing or material.validation)


def combine(strategy: Strategy, made: Mapping[Strategy, Candidate], material: Material) -> Candidate:
    """One of COMBINED, from the candidates before it: an average of zero-shot and the best tuned one, or an ensemble of
    the one from scratch and the best other. Best is who has the lowest validation loss.
    """
    if strategy == "average":
        tuned = min((made[s] for s in TUNED if s in made), key=lambda c: c.validation_loss)
        return averaged_candidate(made["zero-shot"], tuned, material)
    other = min((c for s, c in made.items() if s != "scratch"), key=lambda c: c.validation_loss)
    return ensemble_candidate(other, made["scratch"], material)


def averaged_candidate(zero_shot: Candidate, tuned: Candidate, material: Material) -> Candidate:
    """The network between the two in weight space (Wortsman et al., 2022, "Robust fine-tuning").

    How far between is chosen on the windows that stop trainings.
    """
    tried = {share: between(zero_shot.network, tuned.network, share) for share in SHARES}
    share = min(SHARES, key=lambda s: validate(tried[s], material.validation))
    note = f"{1 - share:.0%} zero-shot, {share:.0%} {tuned.strategy}"
    return Candidate("average", tried[share], choosing_losses(tried[share], material), None, note)


def ensemble_candidate(other: Candidate, scratch: Candidate, material: Material) -> Candidate:
    """The mean forecast of two networks, of which one has seen nothing but the target: they err in other places.

    In equal shares, as an estimated one is seldom better (Claeskens, Magnus, Vasnev and Wang, 2016, "The forecast
    combination puzzle").
    """
    network = Ensemble([deepcopy(member) for c in (other, scratch) for member in members_of(c.network)]).eval()
    set_residual_spread(network, material.validation)
    note = f"mean of {other.strategy} and {scratch.strategy}"
    return Candidate("ensemble", network, choosing_losses(network, material), None, note)


def between(start: Network, end: Network, share: float) -> Network:
    """A network whose weights lie that share of the way from `start` to `end`."""
    network, other = deepcopy(start), end.state_dict()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            value.lerp_(other[name], share)
    return network


def paired_gain(base: Candidate, other: Candidate, series: Ints) -> Gain:
    """How much `other` is better than `base`: paired by window, the windows of one series taken together.

    `series` (N,) says which series each choosing window is of. Where all are of one, each window counts by itself.
    """
    difference = (base.losses - other.losses).numpy()
    known = ~np.isnan(difference)  # a window without observed targets says nothing
    difference, (_, unit) = difference[known], np.unique(series[known], return_inverse=True)
    if unit.max(initial=0) > 0:
        difference = np.bincount(unit, difference) / np.bincount(unit)
    n = len(difference)
    error = float(difference.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    return Gain(float(difference.mean()) if n else 0.0, error, n)


def select(candidates: Sequence[Candidate], series: Ints) -> Choice:
    """Zero-shot, unless some gain more than EVIDENCE standard errors on it: of those, the one nearest to it (NEAREST)
    that no other beats by as much.

    So a candidate that moves far from the pretrained weights has to earn it (after the one-standard-error rule of
    Breiman et al., 1984, "Classification and regression trees"). `series` as in `paired_gain`.
    """
    base = next(c for c in candidates if c.strategy == "zero-shot")
    others = sorted((c for c in candidates if c is not base), key=lambda c: NEAREST.index(c.strategy))
    gains = {c.strategy: paired_gain(base, c, series) for c in others}
    proven = [c for c in others if gains[c.strategy].proven]
    passed = ""
    for candidate in proven:
        better = next((c for c in proven if paired_gain(candidate, c, series).proven), None)
        if better is None:
            lowest = max(proven, key=lambda c: gains[c.strategy].mean)
            farther = f"; {lowest.strategy}, ranked farther from zero-shot, is not proven better than that"
            more = "" if lowest is candidate else farther
            return Choice(candidate, f"{candidate.strategy}: validation loss {gains[candidate.strategy]}{passed}{more}")
        passed += f"; {candidate.strategy}, ranked nearer to zero-shot, is proven worse than {better.strategy}"
    best = max(others, key=lambda c: gains[c.strategy].mean, default=None)
    if best is not None and gains[best.strategy].mean > 0:
        return Choice(base, f"zero-shot: {best.strategy} is only {gains[best.strategy]}, which is no evidence")
    return Choice(base, "zero-shot: " + ("no candidate had a lower validation loss" if others else "nothing competed"))
