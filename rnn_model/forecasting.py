"""Forecasts in the data's units: sign-flip averaging, deciles in order, rolled past the trained horizon.

Shapes: B windows, T context, H horizon, Q quantiles.
"""

import torch
from torch import Tensor

from rnn_model.config import HORIZON_LIMIT, MEDIAN, ModelConfig
from rnn_model.errors import ConfigError
from rnn_model.network import Network

PREDICT_BATCH = 512  # windows per pass: bounds memory
LIMIT = 1.5  # forecasts reach at most this many trained horizons
FARTHEST = 20.0  # arcsinh units; observed points reach 15 (the spread has a floor), and sinh overflows at 710


def check_horizon(trained: int, horizon: int) -> None:
    """Raise ConfigError for a horizon that a network trained on `trained` steps does not answer."""
    allowed = min(HORIZON_LIMIT, int(LIMIT * trained))
    if not 1 <= horizon <= allowed:
        raise ConfigError(
            f"horizon {horizon}: this model answers 1 to {allowed} steps (it was trained on {trained}); "
            f"shorten --window.horizon, or train one: carryover run --pretrain.from nothing --window.horizon {horizon}"
        )


def predict(network: Network, context: Tensor, periods: Tensor, horizon: int) -> Tensor:
    """Deciles of the next `horizon` steps: context (B, T) and periods (B, S) -> (B, H, Q) float64, never NaN.

    `context` is in the data's units with NaN where nothing was observed, any T; it is cut or padded to what the
    network sees. Where no observed value is negative, no forecast is. The mode of the network is restored.
    """
    check_horizon(network.horizon, horizon)
    if not len(context):
        return context.new_zeros(0, horizon, 2 * MEDIAN + 1, dtype=torch.float64)
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            parts = [
                _roll(network, fit_context(part, network.config), period, horizon)
                for part, period in zip(
                    torch.split(context, PREDICT_BATCH), torch.split(periods, PREDICT_BATCH), strict=True
                )
            ]
    finally:
        network.train(was_training)
    return torch.cat(parts)


def fit_context(context: Tensor, config: ModelConfig) -> Tensor:
    """(B, T) -> (B, T'): cut or left-padded to the T' points that the network sees."""
    missing = max(config.context - context.shape[1], 0)
    padded = torch.nn.functional.pad(context.double(), (missing, 0), value=float("nan"))
    return padded[:, -config.context :]


def _roll(network: Network, context: Tensor, periods: Tensor, horizon: int) -> Tensor:
    """One pass where the horizon fits, else the median is appended to the context and decoding goes on."""
    deciles = _flip_averaged(network, context, periods, min(horizon, network.horizon))
    if horizon > network.horizon:
        longer = fit_context(torch.cat([context, deciles[..., MEDIAN]], 1), network.config)
        rest = _roll(network, longer, periods, horizon - network.horizon)
        spread = (deciles[:, -1:] - deciles[:, -1:, MEDIAN : MEDIAN + 1]).abs()  # it cannot shrink again
        centre = rest[..., MEDIAN : MEDIAN + 1]
        wide = torch.maximum((rest - centre).abs(), spread)
        sign = torch.sign(torch.arange(rest.shape[-1], device=rest.device) - MEDIAN)
        deciles = torch.cat([deciles, centre + sign * wide], 1)
    negative = (context < 0).any(1)[:, None, None]  # NaN compares false
    result: Tensor = torch.where(negative, deciles, deciles.clamp_min(0.0))
    return result


def _flip_averaged(network: Network, context: Tensor, periods: Tensor, horizon: int) -> Tensor:
    """Mean of the forecast and the mirrored forecast of the mirrored past: what has no sign bias."""
    both, scale = network(torch.cat([context, -context]), torch.cat([periods, periods]), horizon)
    natural = scale.invert(both.clamp(-FARTHEST, FARTHEST))  # (2B, H, Q)
    straight, mirrored = natural.chunk(2)
    mean: Tensor = 0.5 * (straight - mirrored.flip(-1))
    return mean
