"""One training as plain functions: draw, forward, backward, step; validate; keep the best.

Shapes: B windows, T context, H horizon, Q quantiles.
"""

import math
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rnn_model.config import MEDIAN, FitConfig
from rnn_model.errors import DataError, TrainingError
from rnn_model.losses import pinball, squared
from rnn_model.network import Network, PlainForecaster
from rnn_model.windows import Batch


class Material(NamedTuple):
    """What a training learns from, and what it is judged by."""

    draw: Callable[[int], Batch]  # step -> the windows of that step
    validation: Sequence[Batch]  # stops it, and says which weights are kept
    choosing: Sequence[Batch] = ()  # ranks it among others; what stopped a training flatters it


@dataclass(frozen=True)
class Progress:
    """One validation: what a caller may show or log. Losses are in the scaled space."""

    step: int
    steps: int
    train_loss: float
    validation_loss: float
    learning_rate: float
    gradient_norm: float
    windows_per_second: float


class Watch(NamedTuple):
    """Who is told: `report` of every validation, `tick` of every step."""

    report: Callable[[Progress], None] = lambda _: None
    tick: Callable[[int], None] = lambda _: None


@dataclass(frozen=True)
class FitResult:
    """What a training did: every validation, and the one whose weights were kept."""

    history: tuple[Progress, ...]
    best_step: int
    best_loss: float
    stopped_early: bool
    clipped: int


@dataclass
class _Track:
    """Running state of one training."""

    history: list[Progress] = field(default_factory=list)
    best_step: int = 0
    best_loss: float = math.inf
    since_best: int = 0
    clipped: int = 0


def fit(network: Network, material: Material, config: FitConfig, watch: Watch = Watch()) -> FitResult:
    """Train the parameters of `network` that require a gradient, in place; end on the best validated weights.

    The validation windows are scored before the first step and every `validate_every`. The mode of `network` is
    as it was afterwards. Raises TrainingError before a step with a loss or gradient that is not finite, and
    DataError without validation windows, as no weights could be called the best.
    """
    if not any(len(batch.context) for batch in material.validation):
        raise DataError("no validation windows, so no weights can be chosen; bring longer series, or more of them")
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    average = [p.detach().clone() for p in parameters]
    track, was_training = _Track(), network.training
    track.best_loss = validate(network, material.validation)
    best = deepcopy(network.state_dict())
    try:
        network.train()
        losses: list[float] = []
        started = time.perf_counter()
        for step in range(1, config.steps + 1):
            rate = learning_rate(config, step)
            for group in optimiser.param_groups:
                group["lr"] = rate
            loss, norm = train_step(network, material.draw(step), optimiser, parameters, config.clip, step)
            losses.append(loss)
            track.clipped += norm > config.clip
            update_average(average, parameters, config.averaging, step)
            watch.tick(step)
            if step % config.validate_every and step != config.steps:
                continue
            seconds = max(time.perf_counter() - started, 1e-9)
            with averaged(parameters, average):
                validated = validate(network, material.validation)
                if validated < track.best_loss:
                    track.best_loss, track.best_step, track.since_best = validated, step, 0
                    best = deepcopy(network.state_dict())
                else:
                    track.since_best += 1
            mean = sum(losses) / len(losses)
            pace = len(losses) * config.batch_size / seconds
            track.history.append(Progress(step, config.steps, mean, validated, rate, norm, pace))
            watch.report(track.history[-1])
            if track.since_best >= config.patience:
                break
            losses, started = [], time.perf_counter()
    finally:
        network.load_state_dict(best)
        network.train(was_training)
    stopped = bool(track.history) and track.history[-1].step < config.steps
    return FitResult(tuple(track.history), track.best_step, track.best_loss, stopped, track.clipped)


def train_step(
    network: Network,
    batch: Batch,
    optimiser: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
    clip: float,
    step: int,
) -> tuple[float, float]:
    """One update; the loss and the gradient norm before clipping. Nothing is updated if either is not finite."""
    loss = batch_loss(network, batch)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = float(nn.utils.clip_grad_norm_(parameters, clip))
    value = loss.item()
    if not (math.isfinite(value) and math.isfinite(norm)):
        raise TrainingError(
            f"step {step}: loss {value}, gradient norm {norm}; both must be finite. No step was taken: "
            "lower the learning rate, or look for extreme values in the data."
        )
    optimiser.step()
    return value, norm


def batch_loss(network: Network, batch: Batch, per_window: bool = False) -> Tensor:
    """The training loss of one batch in the scaled space: a scalar, or (B,)."""
    deciles, scale = network(batch.context, batch.periods, batch.target.shape[1])
    target = scale.apply(batch.target)  # (B, H)
    loss = squared if isinstance(network, PlainForecaster) else pinball
    return loss(deciles, target, per_window)


def window_losses(network: Network, batches: Sequence[Batch]) -> Tensor:
    """(N,) the loss of every window of the batches, float64; the network's mode is restored.

    Raises TrainingError for a loss that is not finite.
    """
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            losses = [batch_loss(network, batch, per_window=True).double() for batch in batches]
    finally:
        network.train(was_training)
    joined = torch.cat([torch.zeros(0, dtype=torch.float64), *losses])
    if not joined.isfinite().all():
        raise TrainingError("the validation loss is not finite; look for extreme values in the validation windows")
    return joined


def validate(network: Network, batches: Sequence[Batch]) -> float:
    """Mean loss over the windows of the batches; inf without windows."""
    losses = window_losses(network, batches)
    return float(losses.mean()) if len(losses) else math.inf


def learning_rate(config: FitConfig, step: int) -> float:
    """Linear warm-up, then cosine to a twentieth of the peak at the last step, or constant."""
    warm = max(1, round(config.warmup * config.steps))
    if step <= warm:
        return config.learning_rate * step / warm
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - warm) / max(1, config.steps - warm)
    return config.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


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


def set_residual_spread(network: Network, batches: Sequence[Batch]) -> None:
    """Give a mean-only network the spread of its own validation residuals, step by step (in the scaled space)."""
    if not isinstance(network, PlainForecaster):
        return
    residuals = []
    with torch.no_grad():
        for batch in batches:
            deciles, scale = network(batch.context, batch.periods, batch.target.shape[1])
            residuals.append(scale.apply(batch.target) - deciles[..., MEDIAN])
    errors = torch.cat(residuals)  # (B, H)
    known = ~errors.isnan()
    mean_square = (errors.nan_to_num(0.0).square() * known).sum(0) / known.sum(0).clamp_min(1)
    pooled = mean_square[known.any(0)].mean() if known.any() else torch.tensor(1.0)
    network.residual_spread[: len(mean_square)] = torch.where(known.any(0), mean_square, pooled).sqrt().clamp_min(1e-3)
