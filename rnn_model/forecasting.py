"""Forecasts in the data's units: averaged over views, deciles in order, rolled past the trained horizon.

Shapes: B windows, T context, H horizon, Q quantiles.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from rnn_model.config import HORIZON_LIMIT, MEDIAN, ModelConfig
from rnn_model.errors import ConfigError
from rnn_model.features import naive_errors, window_slope
from rnn_model.lags import lagged
from rnn_model.network import Network
from rnn_model.scaling import SPREAD_FLOOR, TINY, weights_half_life

PREDICT_BATCH = 512  # windows per pass: bounds memory
LIMIT = 1.5  # forecasts reach at most this many trained horizons
RISEN, GROWING = 1.5, 0.2  # a rise by that factor (of a shrunk line), and that share of the naive error, is growth
REACH = 2.0  # logarithms reach so far beyond the largest observed one, or as far as they have ranged
LOG_LIMIT = 700.0  # exp overflows at 709
RESTING = 0.25  # share of zeros from which on a series (intermittent demand, the sun's power) rests on zero
NOTHING = TINY * SPREAD_FLOOR  # magnitude of a scaled unit of a window of zeros
FARTHEST = 20.0  # arcsinh units; observed points reach 15 (the spread has a floor), and sinh overflows at 710


def check_horizon(trained: int, horizon: int) -> None:
    """Raise ConfigError for a horizon that a network trained on `trained` steps does not answer."""
    allowed = min(HORIZON_LIMIT, int(LIMIT * trained))
    if not 1 <= horizon <= allowed:
        raise ConfigError(
            f"horizon {horizon}: this model answers 1 to {allowed} steps (it was trained on {trained}); "
            "shorten --window.horizon, or train one for it by carryover run with --pretrain.from nothing"
        )


def predict(network: Network, context: Tensor, periods: Tensor, horizon: int) -> Tensor:
    """Deciles of the next `horizon` steps: context (B, T) and periods (B, S) -> (B, H, Q) float64, never NaN.

    `context` is in the data's units with NaN where nothing was observed, any T; it is cut or padded to what the
    network sees. Where no observed value is negative, no forecast is; what is smaller than NOTHING is 0. The mode of
    the network is restored.
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
    deciles = torch.cat(parts)
    return torch.where(deciles.abs() < NOTHING, 0.0, deciles)


def fit_context(context: Tensor, config: ModelConfig) -> Tensor:
    """(B, T) -> (B, T'): cut or left-padded to the T' points that the network sees."""
    missing = max(config.context - context.shape[1], 0)
    padded = torch.nn.functional.pad(context.double(), (missing, 0), value=float("nan"))
    return padded[:, -config.context :]


class _Known(NamedTuple):
    """What holds for the whole of a forecast, however far it rolls on."""

    mirrored: Tensor  # (B,): which series are seen upside down as well
    highest: Tensor  # (B, 1): what no logarithm of a forecast exceeds


def _roll(network: Network, context: Tensor, periods: Tensor, horizon: int, known: _Known | None = None) -> Tensor:
    """One pass where the horizon fits, else the median is appended to the context and decoding goes on."""
    known = known or _Known(~rests_on_zero(context), highest_logarithm(context))
    floor = torch.where((context < 0).any(1), -math.inf, 0.0)[:, None, None]  # NaN compares false
    deciles = torch.maximum(_views_averaged(network, context, periods, min(horizon, network.horizon), known), floor)
    if horizon > network.horizon:
        longer = fit_context(torch.cat([context, deciles[..., MEDIAN]], 1), network.config)
        rest = _roll(network, longer, periods, horizon - network.horizon, known)
        spread = (deciles[:, -1:] - deciles[:, -1:, MEDIAN : MEDIAN + 1]).abs()  # it cannot shrink again
        centre = rest[..., MEDIAN : MEDIAN + 1]
        wide = torch.maximum((rest - centre).abs(), spread)
        sign = torch.sign(torch.arange(rest.shape[-1], device=rest.device) - MEDIAN)
        deciles = torch.cat([deciles, torch.maximum(centre + sign * wide, floor)], 1)
    return deciles


def _views_averaged(network: Network, context: Tensor, periods: Tensor, horizon: int, known: _Known) -> Tensor:
    """Mean of the forecast of the values and, of a series that `grows`, of that of its logarithms."""
    deciles = _flip_averaged(network, context, periods, horizon, known.mirrored)
    rows = grows(context, periods[:, 0]).nonzero().squeeze(1)
    if len(rows):
        logs = context[rows].log()
        least = logs.nan_to_num(math.inf).amin(1, keepdim=True)  # (R, 1)
        ahead = _flip_averaged(network, logs - least + 1, periods[rows], horizon, known.mirrored[rows])
        ahead = torch.minimum(ahead + (least - 1)[..., None], known.highest[rows, :, None])
        deciles[rows] = 0.5 * (deciles[rows].clamp_min(0.0) + ahead.exp())
    return deciles


def highest_logarithm(context: Tensor) -> Tensor:
    """(B, T) -> (B, 1): as far above the largest observed logarithm as those have ranged, or twice as far as it lies
    above their median, whichever is less; REACH at least.

    Without meaning where not all of that is positive: such a series does not grow by a factor.
    """
    least = context.nan_to_num(math.inf).amin(1, keepdim=True).log()
    most = context.nan_to_num(-math.inf).amax(1, keepdim=True).log()
    median = context.nanquantile(0.5, 1, keepdim=True, interpolation="lower").log()
    rise = torch.minimum(most - least, 2 * (most - median))  # the range of a line; one low point does not stretch it
    return (most + rise.clamp_min(REACH)).clamp_max(LOG_LIMIT)


def grows(context: Tensor, period: Tensor) -> Tensor:
    """(B, T), (B,) -> (B,): whether all that was observed is positive, has risen by a factor, and goes on to do so.

    The line through the logarithms, shrunk as `window_slope` is, rises by log RISEN from the first observed point on;
    and lately, in a step or in a season, by GROWING times the naive error of as many steps, where that is told by FEW
    pairs of points. A fall counts as a rise does.
    """
    observed = ~context.isnan()
    positive = observed.any(1) & ((context > 0) | ~observed).all(1)
    logs = torch.where(positive[:, None], context, math.nan).log()
    lags = torch.stack([torch.ones_like(period), period], -1)  # (B, 2)
    errors = naive_errors(logs, *lagged(logs, lags), period, untold=math.inf)  # (B, 2)
    lately = window_slope(logs, weights_half_life(period)).abs() * lags >= GROWING * errors  # (B, 2)
    span = context.shape[1] - observed.int().argmax(1, keepdim=True)  # (B, 1)
    risen = window_slope(logs, span).abs() * span >= math.log(RISEN)
    return positive & lately.any(1) & risen[:, 0]


def _flip_averaged(network: Network, context: Tensor, periods: Tensor, horizon: int, mirrored: Tensor) -> Tensor:
    """Mean of the forecast and, of the series that are `mirrored`, of the mirrored forecast of the mirrored past: what
    has no sign bias."""
    rows = mirrored.nonzero().squeeze(1)
    both, scale = network(torch.cat([context, -context[rows]]), torch.cat([periods, periods[rows]]), horizon)
    natural = scale.invert(both.clamp(-FARTHEST, FARTHEST))  # (B + R, H, Q)
    deciles, turned = natural.split([len(context), len(rows)])
    mean: Tensor = deciles.index_copy(0, rows, 0.5 * (deciles[rows] - turned.flip(-1)))
    return mean


def rests_on_zero(context: Tensor) -> Tensor:
    """(B, T) -> (B,): whether nothing observed was negative and a share of at least RESTING was zero.

    Upside down such a series would have a ceiling at zero, which is another kind; so it is seen as it is alone.
    """
    observed = (~context.isnan()).sum(1)
    zeros = (context == 0).sum(1)
    return (zeros > 0) & (zeros >= RESTING * observed) & ~(context < 0).any(1)
