"""One training as plain functions: draw, forward, backward, step; validate; keep the best.

Shapes: B windows, T context, H horizon, Q quantiles.
"""

import math
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rnn_model.config import FitConfig
from rnn_model.errors import ConfigError, DataError, TrainingError
from rnn_model.failpoints import failpoint
from rnn_model.losses import scaled_loss
from rnn_model.network import Network
from rnn_model.parallel import first_of_team, mean_over_team, own_device, share_of, spread, team
from rnn_model.resume import State, States
from rnn_model.schedule import averaged, learning_rate, pull_back, update_average
from rnn_model.validation import on_device, validate
from rnn_model.windows import Batch


class Material(NamedTuple):
    """What a training learns from, and what it is judged by."""

    draw: Callable[[int], Batch]  # step -> the windows of that step
    validation: Sequence[Batch]  # stops it, and says which weights are kept
    choosing: Sequence[Batch] = ()  # ranks it among others; what stopped a training flatters it


@dataclass(frozen=True)
class Progress:
    """One validation: what a caller may show or log.

    Both losses are in the scaled space: the training loss is of one pass, the validation loss of the forecast.
    """

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
    """Running state of one training beside its tensors."""

    history: list[Progress] = field(default_factory=list)
    step: int = 0
    best_step: int = 0
    best_loss: float = math.inf
    since_best: int = 0
    clipped: int = 0


class _Training:
    """The tensors that change while a network is trained: weights, moments, their average, and the best so far."""

    def __init__(self, network: Network, config: FitConfig, pull: float) -> None:
        self.network, self.config = network.to(usable_device(own_device(config.device))), config
        self.spread = spread(network)
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.average = [p.detach().clone() for p in self.parameters]
        self.start = [p.detach().clone() for p in self.parameters] if pull else []
        self.pull = pull
        self.best = deepcopy(network.state_dict())

    def pack(self, track: _Track) -> State:
        """All of it, by name."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        tensors |= {f"average.{i}": value for i, value in enumerate(self.average)}
        tensors |= {f"start.{i}": value for i, value in enumerate(self.start)}
        for i, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{i}.{name}": value for name, value in moments.items()}
        return State(tensors, asdict(track))

    def unpack(self, state: State) -> _Track:
        """Go on from there."""
        tensors, about = state
        self.network.load_state_dict({name: tensors[f"network.{name}"] for name in self.best})
        self.best = {name: tensors[f"best.{name}"] for name in self.best}
        self.average = [tensors[f"average.{i}"].to(p.device) for i, p in enumerate(self.parameters)]
        self.start = [tensors[f"start.{i}"].to(p.device) for i, p in enumerate(self.parameters) if self.pull]
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            kind, _, rest = key.partition(".")
            if kind == "optimiser":
                number, _, name = rest.partition(".")
                moments.setdefault(int(number), {})[name] = value
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": moments})
        return _Track(**about | {"history": [Progress(**row) for row in about["history"]]})


def fit(
    network: Network,
    material: Material,
    config: FitConfig,
    watch: Watch = Watch(),
    states: States | None = None,
    pull: float = 0.0,
) -> FitResult:
    """Train the parameters of `network` that require a gradient, in place; end on the best validated weights.

    The validation windows are scored before the first step and every `validate_every`. With `states`, the training
    is kept at each validation, and an earlier one of equal arguments goes on where it was interrupted, to the same
    bits. `pull` is a decay towards the weights it began with. The mode of `network` is as it was afterwards. Raises
    TrainingError before a step with a loss or gradient that is not finite, and DataError without validation windows,
    as no weights could be called the best.
    """
    if not any(len(batch.context) for batch in material.validation):
        raise DataError("no validation windows, so no weights can be chosen; bring longer series, or more of them")
    training, was_training = _Training(network, config, pull), network.training
    known = states.latest() if states else None
    begun = known.about["step"] if known else 0
    if begun != first_of_team(begun):
        raise ConfigError("the processes found different states of the training; give them one CARRYOVER_HOME")
    track = training.unpack(known) if known else _Track(best_loss=judge(network, material))
    for progress in track.history:
        watch.report(progress)
    if known:
        watch.tick(track.step)
    try:
        network.train()
        while track.step < config.steps and track.since_best < config.patience:
            run_to_validation(training, track, material, watch)
            if states and team()[0] == 0:
                states.save(track.step, training.pack(track))
    finally:
        network.to("cpu").load_state_dict(training.best)
        network.train(was_training)
    return FitResult(tuple(track.history), track.best_step, track.best_loss, track.step < config.steps, track.clipped)


def run_to_validation(training: _Training, track: _Track, material: Material, watch: Watch) -> None:
    """Steps up to the next validation, and that validation."""
    network, config, parameters = training.network, training.config, training.parameters
    losses, norm, rate, started = [], 0.0, 0.0, time.perf_counter()
    last = min(config.steps, (track.step // config.validate_every + 1) * config.validate_every)
    for step in range(track.step + 1, last + 1):
        rate = learning_rate(config, step)
        for group in training.optimiser.param_groups:
            group["lr"] = rate
        loss, norm = train_step(training.spread, material.draw(step), training.optimiser, parameters, config, step)
        losses.append(loss)
        pull_back(parameters, training.start, rate * training.pull)
        track.clipped += norm > config.clip
        update_average(training.average, parameters, config.averaging, step)
        watch.tick(step)
        failpoint("training step")
    pace = len(losses) * config.batch_size / max(time.perf_counter() - started, 1e-9)
    with averaged(parameters, training.average):
        validated = judge(network, material)
        if validated < track.best_loss:
            track.best_loss, track.best_step, track.since_best = validated, last, 0
            training.best = deepcopy(network.state_dict())
        else:
            track.since_best += 1
    track.step = last
    mean = sum(losses) / len(losses)
    track.history.append(Progress(last, config.steps, mean, validated, rate, norm, pace))
    watch.report(track.history[-1])


def usable_device(name: str) -> torch.device:
    """The device of that name. Raises ConfigError where this machine has none."""
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {name}: this machine shows {torch.cuda.device_count()} GPUs; use cpu")
    return device


def train_step(
    network: nn.Module,
    batch: Batch,
    optimiser: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
    config: FitConfig,
    step: int,
) -> tuple[float, float]:
    """One update; the loss and the gradient norm before clipping. Nothing is updated if either is not finite.

    `network` is one, or one `spread` over processes, each of which computes its share of the batch.
    """
    own, counts = share_of(batch)
    with torch.autocast(parameters[0].device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        loss = batch_loss(network, own) * counts
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = float(nn.utils.clip_grad_norm_(parameters, config.clip))
    value = mean_over_team(loss.item())
    if not (math.isfinite(value) and math.isfinite(norm)):
        raise TrainingError(
            f"step {step}: loss {value}, gradient norm {norm}; both must be finite. No step was taken: "
            "lower the learning rate, or look for extreme values in the data."
        )
    optimiser.step()
    return value, norm


def batch_loss(network: nn.Module, batch: Batch) -> Tensor:
    """The training loss of one batch in the scaled space, a scalar: of one pass, the series as they are."""
    batch = on_device(network, batch)
    deciles, scale = network(batch.context, batch.periods, batch.target.shape[1])
    return scaled_loss(network, deciles.float(), scale, batch)


def judge(network: Network, material: Material) -> float:
    """The validation loss as the first of the processes finds it; the others wait for that."""
    return first_of_team(validate(network, material.validation) if team()[0] == 0 else math.nan)
