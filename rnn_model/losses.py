"""Training losses over observed targets. Shapes: B windows, H horizon, Q quantiles."""

import torch
from torch import Tensor, nn

from rnn_model.config import MEDIAN, QUANTILES
from rnn_model.features import predictability
from rnn_model.network import PlainForecaster, members_of
from rnn_model.scaling import Scale
from rnn_model.windows import Batch

TARGET_CLAMP = 6.0  # arcsinh units, about 200 spreads: one wild target cannot own a batch


def scaled_loss(network: nn.Module, deciles: Tensor, scale: Scale, batch: Batch, per_window: bool = False) -> Tensor:
    """Deciles (B, H, Q) in the scaled space against a batch in the data's units: a scalar, or (B,).

    Of a network that gives means the squared error, else the quantile loss, weighted by `predictability`.
    """
    target = scale.apply(batch.target)  # (B, H)
    if any(isinstance(member, PlainForecaster) for member in members_of(getattr(network, "module", network))):
        return squared(deciles, target, per_window)
    weight = predictability(scale.apply(batch.context), batch.periods)
    return pinball(deciles, target, per_window, weight=weight)


def pinball(deciles: Tensor, target: Tensor, per_window: bool = False, weight: Tensor | None = None) -> Tensor:
    """Mean quantile loss: (B, H, Q), (B, H) -> scalar, or (B,) per window (Koenker and Bassett, 1978).

    NaN targets do not count; without any the loss is 0. `weight` (B,) multiplies the loss of each window.
    """
    observed, y = observed_target(target)
    levels = torch.tensor(QUANTILES, device=y.device, dtype=y.dtype)
    error = y[..., None] - deciles  # (B, H, Q)
    loss = torch.maximum(levels * error, (levels - 1) * error).mean(-1)
    if weight is not None:
        loss = loss * weight[:, None]
    return observed_mean(loss, observed, per_window)


def squared(deciles: Tensor, target: Tensor, per_window: bool = False) -> Tensor:
    """Mean squared error of the centre; shapes and missing targets as in `pinball`."""
    observed, y = observed_target(target)
    return observed_mean((deciles[..., MEDIAN] - y).square(), observed, per_window)


def observed_target(target: Tensor) -> tuple[Tensor, Tensor]:
    """(B, H) -> which targets were observed, and the targets clamped, 0 where there is none."""
    observed = ~target.isnan()
    return observed, torch.where(observed, target, 0.0).clamp(-TARGET_CLAMP, TARGET_CLAMP)


def observed_mean(loss: Tensor, observed: Tensor, per_window: bool) -> Tensor:
    """(B, H) -> the mean over what was observed: a scalar, or (B,)."""
    dim = 1 if per_window else None
    return (loss * observed).sum(dim) / observed.sum(dim).clamp_min(1)
