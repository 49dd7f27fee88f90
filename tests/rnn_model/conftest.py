"""What the tests of rnn_model share: one thread, small networks with weights that are not all zero, and material."""

import math
from collections.abc import Callable
from itertools import count

import numpy as np
import pytest
import torch

from rnn_model import training
from rnn_model.config import ModelConfig
from rnn_model.network import Network, build_network
from rnn_model.training import Material
from rnn_model.windows import Batch, Windows, from_arrays

TINY = {"width": 8, "patch": 4, "context": 32, "num_layers": 1}


@pytest.fixture(autouse=True, scope="module")
def on_one_thread(one_thread: None) -> None:
    """Every module here."""


@pytest.fixture
def always_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every validation is better than the one before, so the last weights are the ones kept."""
    losses = (1 / n for n in count(1))
    monkeypatch.setattr(training, "validate", lambda *_: next(losses))


@pytest.fixture(scope="session")
def fresh() -> Callable[..., Network]:
    """A function: horizon, seed and what differs from TINY -> an untrained network."""

    def build(horizon: int = 8, seed: int = 0, **config: object) -> Network:
        return build_network(ModelConfig.model_validate(TINY | config), horizon, seed)

    return build


@pytest.fixture(scope="session")
def lively(fresh: Callable[..., Network]) -> Callable[..., Network]:
    """As `fresh`, with noise on every weight: the readout of a fresh one is zero and would hide most faults."""

    def build(horizon: int = 8, seed: int = 0, noise: float = 0.1, **config: object) -> Network:
        network = fresh(horizon, seed, **config)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(noise * torch.randn(parameter.shape, generator=generator))
        return network

    return build


def slopes(seed: int) -> Windows:
    """Straight lines: no seasonal continuation is right about them, so there is something to learn."""
    rng = np.random.default_rng(seed)
    lines = [rng.normal() * 10 + rng.choice([-1, 1]) * np.arange(60.0) for _ in range(12)]
    return from_arrays(lines, np.full((12, 2), 4))


@pytest.fixture(scope="session")
def material() -> Callable[..., Material]:
    """A function: seed -> eight windows a step from twelve slopes, and twelve others to validate on."""

    def make(seed: int = 0) -> Material:
        check = slopes(99)
        return Material(slopes(0).drawing(8, 32, 8, 8, seed), check.batches(check.at(check.end - 8), 32, 8))

    return make


@pytest.fixture(scope="session")
def poisoned(material: Callable[..., Material]) -> Callable[[int], Material]:
    """As `material`, with a NaN loss at one step: the context of one window holds an infinity."""

    def make(at: int) -> Material:
        good = material()

        def draw(step: int) -> Batch:
            batch = good.draw(step)
            if step == at:
                batch.context[0, -1] = math.inf
            return batch

        return Material(draw, good.validation)

    return make
