"""What the tests of rnn_model share: one thread, and small networks with weights that are not all zero."""

from collections.abc import Callable, Iterator

import pytest
import torch

from rnn_model.config import ModelConfig
from rnn_model.network import Network, build_network

TINY = {"width": 8, "patch": 4, "context": 32, "num_layers": 1}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny matrices are faster, and sums always in one order, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
