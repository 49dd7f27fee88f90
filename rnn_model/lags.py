"""What a window held some steps ago, and how long ago that was.

Shapes: B windows, T points of context in the scaled space (NaN where nothing was observed), K lags.
"""

import torch
from torch import Tensor


def look_up(z: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """z (B, T) at index (B, N, K): values with 0 where there is none, and whether there is one."""
    inside = (index >= 0) & (index < z.shape[1])
    flat = index.clamp(0, z.shape[1] - 1).flatten(1)
    values = z.gather(1, flat).view(index.shape)
    known = inside & ~values.isnan()
    return torch.where(known, values, 0.0), known


def lagged(z: Tensor, lags: Tensor) -> tuple[Tensor, Tensor]:
    """z (B, T), lags (B, K) in steps -> (B, T, K): the value so long before each point, and whether there is one."""
    here = torch.arange(z.shape[1], device=z.device)[None, :, None]  # (1, T, 1)
    return look_up(z, here - lags[:, None, :])


def last_observed(z: Tensor) -> Tensor:
    """(B, T) -> (B,): the latest point that is not NaN, 0 where there is none."""
    position = torch.arange(z.shape[1], device=z.device).masked_fill(z.isnan(), -1).amax(1)  # (B,)
    value = z.gather(1, position.clamp_min(0)[:, None]).squeeze(1)
    return torch.where(position >= 0, value, 0.0)


def recency(z: Tensor, half_life: Tensor) -> Tensor:
    """(B, T), (B, 1) -> (B, T): weights that halve every `half_life` steps into the past, 1 for the latest observed."""
    place = torch.arange(z.shape[1], device=z.device)
    latest = place.masked_fill(z.isnan(), 0).amax(1, keepdim=True)  # (B, 1)
    return torch.exp2((place - latest).clamp_max(0) / half_life)
