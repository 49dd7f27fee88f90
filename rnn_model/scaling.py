"""Per-window scaling: every window is brought to its own recent level and spread, then arcsinh.

Shapes: B windows, T points of context, H horizon, Q quantiles.
"""

from typing import NamedTuple

import torch
from torch import Tensor

SPREAD_FLOOR = 1e-6  # of the window's largest magnitude: a constant window stays finite and stays constant
TINY = 1e-30  # the smallest magnitude that is told from zero


class Scale(NamedTuple):
    """Level and spread of each window, both (B, 1), float64."""

    level: Tensor
    spread: Tensor

    def apply(self, values: Tensor) -> Tensor:
        """(B, H) or (B, H, Q) in the data's units -> float32 arcsinh((y - level) / spread); NaN stays NaN."""
        level, spread = self._beside(values)
        return torch.asinh((values.double() - level) / spread).float()

    def invert(self, scaled: Tensor) -> Tensor:
        """(B, H) or (B, H, Q) scaled -> the same shape in the data's units, float64."""
        level, spread = self._beside(scaled)
        return torch.sinh(scaled.double()) * spread + level

    def _beside(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Level and spread with as many dimensions as the values."""
        extra = (1,) * (values.dim() - 2)
        return self.level.view(-1, 1, *extra), self.spread.view(-1, 1, *extra)


def weights_half_life(period: Tensor) -> Tensor:
    """(B,) -> (B, 1): steps in which the weight of a point halves, two seasons or 16 points."""
    return (2.0 * period).clamp_min(16.0)[:, None]


def window_scale(context: Tensor, period: Tensor) -> Scale:
    """Scale of each window from its observed points, recent ones counting most.

    `context` (B, T) in the data's units with NaN where nothing was observed; `period` (B,) in steps.
    The weights halve as `weights_half_life` says. A window without any
    observation gets level 0 and spread 1.
    """
    context = context.double()
    observed = ~context.isnan()
    filled = torch.where(observed, context, 0.0)
    largest = filled.abs().amax(1, keepdim=True).clamp_min(TINY)
    unit = filled / largest  # squares of 1e300 would overflow
    age = torch.arange(context.shape[1] - 1, -1, -1, device=context.device, dtype=torch.float64)
    weight = torch.exp2(-age / weights_half_life(period).double()) * observed
    total = weight.sum(1, keepdim=True).clamp_min(1e-300)  # a point 4096 steps old weighs 2^-256
    level = (weight * unit).sum(1, keepdim=True) / total
    variance = (weight * (unit - level).square()).sum(1, keepdim=True) / total
    spread = variance.sqrt().clamp_min(SPREAD_FLOOR)
    empty = ~observed.any(1, keepdim=True)
    return Scale(torch.where(empty, 0.0, level * largest), torch.where(empty, 1.0, spread * largest))
