"""Fine-tuning as pretraining plus a small difference: each strategy says what moves, from where, and how fast.

The pretrained network is never changed; every strategy works on a copy.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import torch

from rnn_model.config import FitConfig
from rnn_model.network import Network, build_network
from rnn_model.training import FitResult, Material, Watch, fit, set_residual_spread, validate

Strategy = Literal["zero-shot", "full", "biases", "head", "scratch", "average"]
RATE = {
    "full": 1.0,
    "head": 3.0,
    "biases": 10.0,
    "scratch": 5.0,
}  # times the fine-tuning rate: fewer weights, larger steps


@dataclass(frozen=True)
class Candidate:
    """One contender: its weights, its validation loss (scaled space), and how it was made."""

    strategy: Strategy
    network: Network
    validation_loss: float
    training: FitResult | None
    note: str = ""


def movable(strategy: Strategy, name: str) -> bool:
    """Whether the parameter of that name is trained under that strategy."""
    if strategy == "biases":
        return name.rsplit(".", 1)[-1].startswith(("bias", "b_"))
    if strategy == "head":
        return name.startswith(("readout.", "up.", "down.", "norm_head.", "embed_cycles.", "embed_position"))
    return strategy in ("full", "scratch")


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

    `zero-shot` trains nothing. `average` is made from a tuned candidate by `averaged_candidate`.
    """
    if strategy == "zero-shot":
        return Candidate(strategy, pretrained, choosing_loss(pretrained, material), None)
    network = (
        build_network(pretrained.config, pretrained.horizon, seed) if strategy == "scratch" else deepcopy(pretrained)
    )
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(movable(strategy, name))
    config = config.model_copy(update={"learning_rate": tuned_rate(config, strategy)})
    result = fit(network, material, config, watch)
    network.requires_grad_(True)
    set_residual_spread(network, material.validation)
    return Candidate(strategy, network, choosing_loss(network, material), result)


def choosing_loss(network: Network, material: Material) -> float:
    """The loss that ranks candidates: on windows that stopped no training, where there are any."""
    return validate(network, material.choosing or material.validation)


def averaged_candidate(zero_shot: Candidate, tuned: Candidate, material: Material) -> Candidate:
    """The network half-way between the two in weight space (Wortsman et al., 2022, "Robust fine-tuning")."""
    network = deepcopy(zero_shot.network)
    other = tuned.network.state_dict()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            value.lerp_(other[name], 0.5)
    note = f"half zero-shot, half {tuned.strategy}"
    return Candidate("average", network, choosing_loss(network, material), None, note)


def select(candidates: Sequence[Candidate], fallback: Strategy = "zero-shot") -> Candidate:
    """The candidate with the lowest validation loss; `fallback` unless another is strictly better than it."""
    base = next((c for c in candidates if c.strategy == fallback), candidates[0])
    best = min(candidates, key=lambda c: c.validation_loss)
    return best if best.validation_loss < base.validation_loss else base
