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


def latest_observed(z: Tensor) -> Tensor:
    """(B, T) -> (B, 1): the place of the latest point that is not NaN, 0 where there is none."""
    return torch.arange(z.shape[1], device=z.device).masked_fill(z.isnan(), 0).amax(1, keepdim=True)


def last_observed(z: Tensor) -> Tensor:
    """(B, T) -> (B,): the latest point that is not NaN, 0 where there is none."""
    return z.gather(1, latest_observed(z))[:, 0].nan_to_num(0.0)


def filled_end(z: Tensor) -> Tensor:
    """(B, T) -> the same, the last observed value in the place of what is missing after it."""
    latest = latest_observed(z)
    return torch.where(torch.arange(z.shape[1], device=z.device) > latest, z.gather(1, latest), z)


def recency(z: Tensor, half_life: Tensor) -> Tensor:
    """(B, T), (B, 1) -> (B, T): weights that halve every `half_life` steps into the past, 1 for the latest observed."""
    age = latest_observed(z) - torch.arange(z.shape[1], device=z.device)
    return torch.exp2(-age.clamp_min(0) / half_life)
