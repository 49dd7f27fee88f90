"""Training losses over observed targets. Shapes: B windows, H horizon, Q quantiles."""

import torch
from torch import Tensor

from rnn_model.config import MEDIAN, QUANTILES

TARGET_CLAMP = 6.0  # arcsinh units, about 200 spreads: one wild target cannot own a batch


def pinball(deciles: Tensor, target: Tensor) -> Tensor:
    """Mean quantile loss: (B, H, Q), (B, H) -> scalar; NaN targets do not count (Koenker and Bassett, 1978)."""
    observed = ~target.isnan()
    y = torch.where(observed, target, 0.0).clamp(-TARGET_CLAMP, TARGET_CLAMP)
    levels = torch.tensor(QUANTILES, device=y.device, dtype=y.dtype)
    error = y[..., None] - deciles  # (B, H, Q)
    loss = torch.maximum(levels * error, (levels - 1) * error).mean(-1)
    return (loss * observed).sum() / observed.sum().clamp_min(1)


def squared(deciles: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of the centre: (B, H, Q), (B, H) -> scalar; NaN targets do not count."""
    observed = ~target.isnan()
    y = torch.where(observed, target, 0.0).clamp(-TARGET_CLAMP, TARGET_CLAMP)
    error = deciles[..., MEDIAN] - y
    return (error.square() * observed).sum() / observed.sum().clamp_min(1)
