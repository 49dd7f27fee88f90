"""What tests of the network and its parts draw and write down."""

import torch
from torch import Tensor


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal, float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seasons(*rows: tuple[int, ...]) -> Tensor:
    """A row for each window: (B, S)."""
    return torch.tensor(rows)
