"""How the weights move beside the gradient: the learning rate, their average, and the pull towards their start."""

import math

import torch
from torch import Tensor, nn

from rnn_model.config import FitConfig


def learning_rate(config: FitConfig, step: int) -> float:
    """Linear warm-up, then cosine to a twentieth of the peak at the last step, or constant."""
    warm = max(1, round(config.warmup * config.steps))
    if step <= warm:
        return config.learning_rate * step / warm
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - warm) / max(1, config.steps - warm)
    return config.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def pull_back(parameters: list[nn.Parameter], start: list[Tensor], share: float) -> None:
    """Move the weights by that share towards where they began: AdamW's decay with another centre.

    The penalty is L2-SP (Li et al., 2018, "Explicit inductive bias for transfer learning"), decoupled.
    """
    with torch.no_grad():
        for value, origin in zip(parameters, start, strict=False):  # no origins where nothing pulls
            value.lerp_(origin, min(1.0, share))


def update_average(average: list[Tensor], parameters: list[nn.Parameter], decay: float, step: int) -> None:
    """Exponential moving average of the weights, in place; young averages forget faster."""
    keep = min(decay, step / (step + 9)) if decay else 0.0
    with torch.no_grad():
        for mean, value in zip(average, parameters, strict=True):
            mean.lerp_(value, 1 - keep)


class averaged:
    """The averaged weights stand in the network for the length of a `with` block."""

    def __init__(self, parameters: list[nn.Parameter], average: list[Tensor]) -> None:
        self.parameters, self.average = parameters, average

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()

    def _swap(self) -> None:
        with torch.no_grad():
            for value, mean in zip(self.parameters, self.average, strict=True):
                held = value.clone()
                value.copy_(mean)
                mean.copy_(held)
