"""What is known of a window before any weight: its seasons, what may lie under the horizon, and how good that was.

Shapes: B windows, T points of context in the scaled space (NaN where nothing was observed), H steps, C candidates,
S = 3 seasons: the short and the long one as stated (equal where there is one), and the one measured in the window; D
cycles of each, in V = 4 versions: as it was, and moved by the level of 1 point, of 4 points and of the short season.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as fn
from torch import Tensor

from rnn_model.autoregression import FITTED, Pair, autoregressions, regressions
from rnn_model.lags import lagged, last_observed, look_up, recency
from rnn_model.scaling import Scale, weights_half_life
from rnn_model.smoothing import smoothed_seasons

SINGLE = ((0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (2, 1), (2, 2))  # (season, how many of its cycles back)
CYCLE_COUNT = len(SINGLE) + 3  # these, and of each season the mean of its cycles
DEPTH, FADE = 8, 0.8  # such a mean is of D cycles; each weighs FADE times what the next later one does
LEVELS = (1, 4)  # latest points that say how far a level has moved; and those of the short season
DRIFTING = 4  # versions of a smoothed season: its level stays, drifts with half or all of the slope, or a lasting one
LASTING = 4.0  # half-lives of the slope in one of the lasting slope
SEASONAL = (2 + len(LEVELS)) * CYCLE_COUNT + DRIFTING * 3  # every version of each
FITTED_AT = slice(SEASONAL, SEASONAL + FITTED)  # the place of autoregressions among the candidates
CANDIDATES = SEASONAL + FITTED + 4  # and two values, two lines
POINT_FEATURES = 8  # value, its mask, and both again one season of each kind earlier
WINDOW_FEATURES = 12 + CANDIDATES
RISE = 32  # points at most that tell how much a level has risen
LATEST = 32  # points whose median is a candidate
RIDGE = 0.02  # shrinks the slope of very short windows
LATELY = 3.0  # half-life of the steeper line, in steps
ORIGINS, TRIED = 3, 8  # the candidates are tried at so many past origins, that many steps apart
FEW = 4  # pairs that have to be known before their mean difference is believed
LEAST_ERROR = 1e-3  # of the spread: what has repeated itself exactly is not believed to go on so
MEASURED_PAIRS = 16  # points that must have one a season earlier before a season is measured
NEARLY = 1.1  # a shorter season is preferred to one that fits better by less than this
CLEARLY = 1.2  # a season has drifted only where another lag fits the latest cycles better by more than this
ROUNDING = 1e-4  # variances below are taken as equal
DRIFT = 0.15  # of the season, either way


class View(NamedTuple):
    """A window as the network is told of it."""

    periods: Tensor  # (B, S), the measured one last
    points: Tensor  # (B, T, POINT_FEATURES)
    window: Tensor  # (B, WINDOW_FEATURES)
    unit: Tensor  # (B,): the error of the best naive forecast, in which a forecast's own part is measured
    record: Tensor  # (B, C): minus the log of the errors each candidate has made lately, in units
    pair: Pair  # the regressions of the whole window


def view_window(z: Tensor, scale: Scale, stated: Tensor) -> View:
    """z (B, T) as scaled by `scale`, `stated` (B, 2) seasons in steps -> what the network is told."""
    measured, strength = measured_season(z)  # (B,) each
    periods = torch.cat([stated, measured[:, None]], -1)
    lags = torch.cat([torch.ones_like(measured)[:, None], periods], -1)  # (B, 1 + S)
    values, known = lagged(z, lags)  # (B, T, 1 + S) each
    errors = naive_errors(z, values, known, stated[:, 0])  # (B, 1 + S)
    values[..., 0], known[..., 0] = z.nan_to_num(0.0), ~z.isnan()  # the point itself stands where the one before it was
    unit = errors.amin(1)
    pair = regressions(z, periods)
    record = -torch.log(candidate_errors(z, periods, pair) / unit[:, None] + 0.3)
    window = torch.cat([window_features(z, scale, periods, strength), errors.log() / 2, record / 2], -1)
    return View(periods, torch.cat([values, known.float()], -1), window, unit, record, pair)


def window_features(z: Tensor, scale: Scale, periods: Tensor, strength: Tensor) -> Tensor:
    """(B, 8): where zero lies, the number of points, the seasons, the share of zeros, strength of the measured season,
    the latest value.

    Zero is told of by its share alone: where a series never is, its place says nothing of how it moves.
    """
    observed = ~z.isnan()
    count = observed.sum(1).clamp_min(1)
    zero = scale.apply(torch.zeros_like(scale.level))  # (B, 1): arcsinh of -level / spread
    zeros = ((z - zero).abs() < 1e-6).sum(1) / count  # NaN compares false
    logs = torch.log(torch.cat([count[:, None], periods], -1).float()) / 5  # (B, 1 + S)
    rest = torch.stack([zeros, strength, last_observed(z)], -1)
    return torch.cat([zero.clamp(-8, 8) / 4 * zeros[:, None], logs, rest], -1)


def naive_errors(z: Tensor, then: Tensor, known: Tensor, period: Tensor, untold: float = 1.0) -> Tensor:
    """z (B, T) and its lags (B, T, K) as `lagged` gives them, (B,) -> (B, K): mean |z_t - z_{t - lag}|, weighted as
    the scale is.

    `untold`, by default the spread of z, of a lag of which fewer than FEW pairs are known: one that agrees by chance is
    no evidence. LEAST_ERROR at least.
    """
    both = known & ~z.isnan()[..., None]
    weight = both * recency(z, weights_half_life(period))[..., None]
    total = weight.sum(1)  # (B, K)
    error = (weight * (z.nan_to_num(0.0)[..., None] - then).abs()).sum(1) / total.clamp_min(1e-30)
    return torch.where(both.sum(1) >= FEW, error, untold).clamp_min(LEAST_ERROR)


def predictability(z: Tensor, periods: Tensor) -> Tensor:
    """(B, T), (B, 2) -> (B,): how much the loss of a window weighs, more where the naive forecast errs less.

    The scaled space has every window's spread at 1, a scaled error (MASE) the seasonal naive's error; this is halfway.
    """
    return (naive_errors(z, *lagged(z, periods[:, :1]), periods[:, 0])[:, 0] + 0.05).rsqrt()


def seasonal_candidates(z: Tensor, periods: Tensor, pair: Pair, steps: int) -> tuple[Tensor, Tensor]:
    """What may lie under the horizon: values and masks, (B, steps, C) each; `pair` as `regressions` gives it.

    Past cycles, and the mean of a season's, as they were and moved by as much as a level has since; each season around
    a smoothed level that stays or drifts, with half of the slope as in the Theta method (Hyndman and Billah, 2003,
    "Unmasking the Theta method"), all of it, or a lasting one; what autoregressions make of the window; the last
    observed value; the median of the latest points, which of intermittent demand is nothing; the latest cycle (the last
    value, where that is unknown) carried on along the slope of the window; and the last value along the latest slope.
    """
    laid = past_cycles(z, periods, steps)  # (B, steps, V, S, D)
    season, back = torch.tensor(SINGLE, device=z.device).unbind(1)
    cycles = torch.cat([laid[..., season, back - 1], faded_mean(laid)], -1)  # (B, steps, V, CYCLE_COUNT)
    ahead = torch.arange(steps, device=z.device)[None]  # (1, steps)
    last, latest, m = last_observed(z)[:, None], laid[:, :, 0, 0, 0], periods[:, :1]
    distance = torch.where(latest.isnan(), ahead + 1, m * (ahead // m + 1))  # (B, steps)
    half_life = weights_half_life(periods[:, 0])  # (B, 1)
    slope = window_slope(z, half_life)
    line = torch.where(latest.isnan(), last, latest) + slope * distance
    level, age = smoothed_seasons(z, periods, steps)  # (B, steps, S), (B, 1, S)
    drifts = torch.stack([0 * slope, 0.5 * slope, slope, window_slope(z, LASTING * half_life)], -1)  # (B, 1, DRIFTING)
    smoothed = level[..., None] + drifts[:, :, None] * (ahead[..., None] + 1 + age)[..., None]
    steep = last + window_slope(z, torch.full_like(slope, LATELY)) * (ahead + 1)
    median = z[:, -LATEST:].nanquantile(0.5, 1, keepdim=True, interpolation="lower")  # (B, 1)
    rest = torch.stack([last.expand(-1, steps), median.expand(-1, steps), line, steep], -1)
    values = torch.cat([cycles.flatten(2), smoothed.flatten(2), autoregressions(z, half_life, pair, steps), rest], -1)
    return values.nan_to_num(0.0), ~values.isnan()


def past_cycles(z: Tensor, periods: Tensor, steps: int) -> Tensor:
    """(B, T), (B, S) -> (B, steps, V, S, D): the latest cycles of each season, laid under the horizon; NaN where
    nothing is known.

    Step t of cycle k of season m is the point m * (ceil((t + 1) / m) - 1 + k) steps before T + t.
    """
    ahead, back = (torch.arange(n, device=z.device) for n in (steps, DEPTH))
    m = periods[:, None, :, None]  # (B, 1, S, 1)
    ahead = ahead[:, None, None]  # (steps, 1, 1)
    place = z.shape[1] + ahead - m * (ahead // m + back + 1)  # (B, steps, S, D)
    values, known = look_up(z, place.flatten(2))  # (B, steps, S * D)
    levels = torch.stack([torch.full_like(periods[:, 0], n) for n in LEVELS] + [periods[:, 0]], 1)
    moved = season_rise(z, levels, (periods[..., None] * (back + 1)).flatten(1))  # (B, V - 1, S * D)
    moved = torch.cat([torch.zeros_like(moved[:, :1]), moved], 1)[:, None]
    laid = torch.where(known[:, :, None], values[:, :, None] + moved, math.nan)
    return laid.view(*laid.shape[:3], *place.shape[2:])


def faded_mean(cycles: Tensor) -> Tensor:
    """(..., D) cycles, the latest first -> (...): the mean of the known ones, later ones weigh more; NaN of none."""
    weight = FADE ** torch.arange(DEPTH, device=cycles.device) * ~cycles.isnan()
    mean: Tensor = (cycles.nan_to_num(0.0) * weight).sum(-1) / weight.sum(-1)  # 0 / 0 is NaN
    return mean


def season_rise(z: Tensor, points: Tensor, age: Tensor) -> Tensor:
    """(B, T), (B, N), (B, K) -> (B, N, K): how much the last `points` lie above those `age` steps before each.

    A mean over the pairs of which both were observed, RISE at most; NaN where there is none.
    """
    back = torch.arange(1, min(int(points.max()), RISE) + 1, device=z.device)  # (M,)
    place = (z.shape[1] - back)[None, :, None].expand(len(z), -1, -1)  # (B, M, 1)
    now, seen = look_up(z, place)
    then, known = look_up(z, place - age[:, None])  # (B, M, K)
    both = (seen & known).to(z.dtype)
    counts = (back <= points[..., None]).to(z.dtype)  # (B, N, M)
    with torch.autocast(z.device.type, enabled=False):  # a candidate is no matter of precision
        rise: Tensor = (counts @ ((now - then) * both)) / (counts @ both)  # 0 / 0 is NaN
    return rise


def candidate_errors(z: Tensor, periods: Tensor, pair: Pair) -> Tensor:
    """(B, T), (B, S), their regressions -> (B, C): the mean error each candidate would have made at the latest ORIGINS.

    Of one that cannot be tried the mean of the others, and of all the spread of z, 1.
    """
    total = count = z.new_zeros(len(z), CANDIDATES)
    for origin in range(z.shape[1] - TRIED, max(0, z.shape[1] - TRIED * (ORIGINS + 1)), -TRIED):
        past, truth = z[:, :origin], z[:, origin : origin + TRIED, None]
        then = (pair[0].until(origin), pair[1].until(origin))
        values, known = seasonal_candidates(past, periods, then, TRIED)  # (B, TRIED, C)
        tried = known & ~truth.isnan() & ~past.isnan().all(1)[:, None, None]
        total = total + ((values - truth.nan_to_num(0.0)).abs() * tried).sum(1)
        count = count + tried.sum(1)
    errors = total / count  # 0 / 0 is NaN
    return torch.where(errors.isnan(), errors.nanmean(1, keepdim=True).nan_to_num(1.0), errors)


def window_slope(z: Tensor, half_life: Tensor) -> Tensor:
    """(B, T), (B, 1) -> (B, 1): least-squares rise per step, shrunk on few points; `recency` weighs."""
    weight = recency(z, half_life) * ~z.isnan()
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-30)
    y = z.nan_to_num(0.0)
    age = torch.arange(z.shape[1] - 1, -1, -1, device=z.device) / half_life  # (B, T)
    age = age - (weight * age).sum(1, keepdim=True)
    rise = -(weight * age * (y - (weight * y).sum(1, keepdim=True))).sum(1, keepdim=True)
    return rise / ((weight * age.square()).sum(1, keepdim=True) + RIDGE) / half_life


def measured_season(z: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T) -> the season found in each window, in steps, and its strength from 0 to 1; (B,) each, 1 and 0 if none.

    The lag after which the series repeats itself best: `lagged_variance` has a dip there. Among dips about as deep
    the shortest counts. Three seasons at least must lie in the window. As the season may drift, the lags nearby are
    then compared over the latest cycles. The strength is the depth of the dip below the mean over all lags.
    """
    variance, pairs = lagged_variance(z, torch.ones_like(z))  # (B, T // 2 + 2) each
    lags = torch.arange(variance.shape[1], device=z.device)
    enough = (pairs >= (2 * lags).clamp_min(MEASURED_PAIRS)) & (lags > 0)
    mean = (variance * enough).sum(1) / enough.sum(1).clamp_min(1)  # (B,)
    before, here, after = variance[:, :-2], variance[:, 1:-1], variance[:, 2:]
    dip = fn.pad((here < before) & (here < after), (1, 1)) & enough & (lags > 1)
    depth = variance.masked_fill(~dip, torch.inf)
    good = dip & (depth <= NEARLY * depth.amin(1, keepdim=True) + 1e-3 * mean[:, None])
    lag = torch.where(good.any(1), good.int().argmax(1), 1)[:, None]  # (B, 1)
    strength = 1 - variance.gather(1, lag) / mean[:, None].clamp_min(1e-12)
    recent, _ = lagged_variance(z, recency(z, 2 * lag))
    near = recent.masked_fill(((lags - lag).abs() > DRIFT * lag) | ~enough, torch.inf)
    drifted = near.amin(1, keepdim=True) * CLEARLY < recent.gather(1, lag)
    lag = torch.where(drifted, near.argmin(1, keepdim=True), lag)
    return lag[:, 0], torch.where(lag > 1, strength.clamp(0.0, 1.0), 0.0)[:, 0]


def lagged_variance(z: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """z (B, T), weight (B, T) -> the variance of z_t - z_{t - lag}, weighted by t, and the sum of the weights.

    Lags 0 to T // 2 + 1, (B, lags) each. No linear trend changes the variance. By the correlation theorem:
    each sum over pairs is a product of spectra.
    """
    T = z.shape[1]
    seen, y = (~z.isnan()).float(), z.nan_to_num(0.0)
    parts = torch.stack([seen, y, y.square()])  # (3, B, T)
    then = torch.fft.rfft(parts, 2 * T).conj()  # padded, so nothing wraps
    now = torch.fft.rfft(parts * weight, 2 * T)
    pairs = now[0] * then[0]
    rise = now[1] * then[0] - now[0] * then[1]
    square = now[2] * then[0] + now[0] * then[2] - 2 * now[1] * then[1]
    count, total, squares = torch.fft.irfft(torch.stack([pairs, rise, square]), 2 * T)[..., : T // 2 + 2]
    count = count.clamp_min(1e-6)
    return (squares / count - (total / count).square()).clamp_min(ROUNDING), count.round(decimals=3)
