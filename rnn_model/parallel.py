"""One training on several processes, as torchrun starts them: each has a share of every batch.

The first process does everything else: it reads, validates, keeps the states and tells. The others wait for it to
announce a training, and take part in that. Outside such a training every process is alone.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from rnn_model.errors import ConfigError
from rnn_model.windows import Batch

LOOK = 0.2  # seconds from one look of the others for a training to the next


def processes() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that does everything else."""
    return int(os.environ.get("RANK", "0")) == 0


class _Board:
    """Where the first process announces its trainings, numbered from 1."""

    def __init__(self) -> None:
        self.store, self.rank, self.size = next(iter(rendezvous("env://")))
        self.number = 0

    def next_message(self, message: str) -> str:
        self.number += 1
        name = f"training-{self.number}"
        if self.rank == 0:
            self.store.set(name, message)
            return message
        while not self.store.check([name]):  # a wait of the store's own would print each of its timeouts
            time.sleep(LOOK)
        return bytes(self.store.get(name)).decode()


@cache
def _board() -> _Board:
    return _Board()


def announce(message: str = "") -> str:
    """What the first process says next, in every process; empty where it is the end, or where it is alone."""
    return _board().next_message(message) if processes() > 1 else ""


@contextmanager
def together() -> Iterator[None]:
    """Within the block the processes train as one; nothing happens where there is one."""
    if processes() == 1:
        yield
        return
    board = _board()
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    store = dist.PrefixStore(f"group-{board.number}", board.store)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=board.rank, world_size=board.size)
    try:
        yield
    finally:
        dist.destroy_process_group()


def team() -> tuple[int, int]:
    """The number of this process, and how many train together: 0 and 1 where it is alone."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def own_device(name: str) -> str:
    """The device of this process: where several train, each takes the GPU of its number on its machine.

    Raises ConfigError where they would share one.
    """
    if team()[1] == 1 or name == "cpu":
        return name
    if name != "cuda":
        raise ConfigError(f"device {name}: the processes of torchrun would share it; use cuda, a GPU for each")
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


def spread(network: nn.Module) -> nn.Module:
    """The network as this process trains it: where several do, its gradients are the mean over them."""
    return DistributedDataParallel(network) if team()[1] > 1 else network


def share_of(batch: Batch) -> tuple[Batch, float]:
    """The rows of a batch that this process computes, and what their mean loss counts in the mean over processes.

    Raises ConfigError for a batch of fewer windows than processes.
    """
    rank, size = team()
    if size == 1:
        return batch, 1.0
    if len(batch.context) < size:
        raise ConfigError(f"batch_size {len(batch.context)} is under the {size} processes; raise it")
    own = Batch(*(part[rank::size] for part in batch))
    every, mine = (int((~part.target.isnan()).sum()) for part in (batch, own))
    return own, size * mine / max(every, 1)


def mean_over_team(value: float) -> float:
    """The mean of every process' number."""
    return _exchanged(value, dist.all_reduce) / team()[1]


def first_of_team(value: float) -> float:
    """The number of the first process."""
    return _exchanged(value, lambda number: dist.broadcast(number, 0))


def _exchanged(value: float, collective: Callable[[Tensor], object]) -> float:
    if team()[1] == 1:
        return value
    number = torch.tensor([value], dtype=torch.float64)
    collective(number)
    return number.item()
