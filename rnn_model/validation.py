"""What a network's forecasts are worth on windows whose end is known, and how far they miss.

Losses are in the scaled space. Shapes: B windows, T context, H horizon, Q quantiles.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rnn_model.config import MEDIAN, QUANTILES
from rnn_model.errors import TrainingError
from rnn_model.forecasting import predict
from rnn_model.losses import scaled_loss
from rnn_model.network import Network, PlainForecaster, members_of
from rnn_model.scaling import Scale, window_scale
from rnn_model.windows import Batch

COVERED = QUANTILES[-1] - QUANTILES[0]


def on_device(network: nn.Module, batch: Batch) -> Batch:
    """The batch where the network is."""
    device = next(network.parameters()).device
    return Batch(*(part.to(device, non_blocking=True) for part in batch))


def scaled_forecast(network: Network, batch: Batch) -> tuple[Tensor, Scale]:
    """The forecast that `predict` makes of each window, of all views together: (B, H, Q) in the scaled space."""
    scale = window_scale(batch.context, batch.periods[:, 0])
    return scale.apply(predict(network, batch.context, batch.periods, batch.target.shape[1])), scale


def window_losses(network: Network, batches: Sequence[Batch]) -> Tensor:
    """(N,) the loss of the forecast of every window of the batches, float64, NaN of one without any observed target.

    What is judged is what will be used, but for calibration: not one pass of the network, as in training. The
    network's mode is restored. Raises TrainingError for a loss that is not finite.
    """
    losses = [forecast_losses(network, on_device(network, batch)).double().cpu() for batch in batches]
    joined = torch.cat([torch.zeros(0, dtype=torch.float64), *losses])
    if not joined.isfinite().all():
        raise TrainingError("the validation loss is not finite; look for extreme values in the validation windows")
    blank = torch.cat([torch.zeros(0, dtype=torch.bool), *(batch.target.isnan().all(1) for batch in batches)])
    return joined.masked_fill(blank, math.nan)


def forecast_losses(network: Network, batch: Batch) -> Tensor:
    """(B,) the loss of each window's forecast."""
    deciles, scale = scaled_forecast(network, batch)
    return scaled_loss(network, deciles, scale, batch, per_window=True)


def validate(network: Network, batches: Sequence[Batch]) -> float:
    """Mean loss over the windows of the batches that have an observed target; inf without any."""
    return mean_loss(window_losses(network, batches))


def mean_loss(losses: Tensor) -> float:
    """(N,) losses, NaN of windows that say nothing -> the mean of the others; inf without any."""
    mean = float(losses.nanmean())
    return math.inf if math.isnan(mean) else mean


def set_residual_spread(network: Network, batches: Sequence[Batch]) -> None:
    """Give a mean-only network the spread of its forecasts' residuals on the batches, in the scaled space, by step.

    It is set so that the central interval of COVERED, from the first decile to the last, covers that share of them. Of
    an ensemble that is its own interval, around the mean of the means: its members get one spread.
    """
    means = [member for member in members_of(network) if isinstance(member, PlainForecaster)]
    if not means:
        return
    for member in means:
        member.residual_spread.fill_(1.0)
    errors = []
    for batch in batches:
        deciles, scale = scaled_forecast(network, batch)
        half = (deciles[..., -1] - deciles[..., 0]).clamp_min(1e-3) / 2  # the interval of a spread of 1
        errors.append((scale.apply(batch.target) - deciles[..., MEDIAN]).abs() / half)  # (B, H)
    spread = torch.nanquantile(torch.cat(errors), COVERED, 0)  # (H,): a few wild targets would own a variance
    other = spread.nanmean().nan_to_num(1.0)  # of a step without any residual
    for member in means:
        member.residual_spread[: len(spread)] = torch.where(spread.isnan(), other, spread).clamp_min(1e-3)
