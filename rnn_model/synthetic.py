"""The synthetic corpus: seeded families of dynamics, vectorised over series.

Every family is a function (rng, periods (n,), lengths (n,), T) -> (n, T) float64 of order one; `corpus` mixes
them. Shapes: n series, T points.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from rnn_model.config import LONG_SEASON
from rnn_model.windows import Ints

Rng = np.random.Generator
Array = npt.NDArray[np.float64]
Family = Callable[[Rng, Ints, Ints, int], Array]

DRIFTING = 0.08  # of the seasons of twelve steps or more
EVOLVING = 0.35  # of the seasons become another over time, and perhaps back again
SLOW, SHORT = 4, 128  # up to this season, and so many points: yearly and quarterly data, which mostly grow


def column(values: npt.ArrayLike) -> npt.NDArray[Any]:
    """(n,) -> (n, 1)."""
    return np.asarray(values)[:, None]


def seasonal_cycle(rng: Rng, periods: Ints) -> Array:
    """(n, longest period): one cycle per series, smooth or spiky; mean 0, spread 1; zero where the period is 1."""
    n, longest = len(periods), int(periods.max())
    angle = 2 * np.pi * np.arange(longest) / column(periods)  # (n, longest)
    smooth = np.zeros((n, longest))
    decay = column(rng.uniform(0.0, 2.0, n))
    for k in range(1, 7):
        weight = rng.normal(size=(n, 2)) / k**decay * (2 * k <= column(np.maximum(periods, 2)))
        smooth += weight[:, :1] * np.sin(k * angle) + weight[:, 1:] * np.cos(k * angle)
    spiky = rng.normal(size=(n, longest)) * (rng.random((n, longest)) < column(rng.uniform(0.1, 1.0, n)))
    cycle = np.where(column(rng.random(n) < 0.65), smooth, spiky)
    inside = np.arange(longest) < column(periods)
    mean = (cycle * inside).sum(1, keepdims=True) / column(periods)
    spread = np.sqrt((np.square(cycle - mean) * inside).sum(1, keepdims=True) / column(periods))
    out: Array = (cycle - mean) / np.maximum(spread, 1e-6) * (column(periods) > 1)
    return out


def seasonal_pattern(rng: Rng, periods: Ints, size: int) -> Array:
    """(n, T): one cycle per series, repeated from a random place in it."""
    n = len(periods)
    drifts = (rng.random(n) < DRIFTING) & (periods >= 12)  # a clock that is not the calendar's
    speed = column(np.where(drifts, rng.uniform(0.9, 1.1, n), 1.0))
    phase = (np.arange(size) * speed + rng.integers(0, 10_000, (n, 1))).astype(np.int64) % column(periods)  # (n, T)
    pattern: Array = np.take_along_axis(seasonal_cycle(rng, periods), phase, 1)
    return pattern


def evolving_pattern(rng: Rng, periods: Ints, size: int) -> Array:
    """(n, T): as `seasonal_pattern`, but some move towards another pattern, and perhaps back, as habits do."""
    out = seasonal_pattern(rng, periods, size)
    moving = np.nonzero(rng.random(len(periods)) < EVOLVING)[0]
    if len(moving):
        n = len(moving)
        turns = column(np.exp(rng.uniform(np.log(0.3), np.log(3.0), n)))  # half waves over the whole
        wave = 0.5 + 0.5 * np.sin(np.pi * turns * np.arange(size) / size + column(rng.uniform(0, 2 * np.pi, n)))
        share = column(rng.uniform(0.1, 1.0, n)) * wave  # (n, T)
        out[moving] = (1 - share) * out[moving] + share * seasonal_pattern(rng, periods[moving], size)
    return out


def slow(periods: Ints, lengths: Ints) -> npt.NDArray[np.bool_]:
    """(n,): which series are like yearly or quarterly data."""
    return (periods <= SLOW) & (lengths <= SHORT)


def often_trending(rng: Rng, periods: Ints, lengths: Ints) -> npt.NDArray[np.bool_]:
    """(n,): which series have a trend; three in four, and nearly all of the slow ones."""
    return rng.random(len(periods)) < np.where(slow(periods, lengths), 0.93, 0.75)


def seasons(rng: Rng, periods: Ints, size: int) -> Array:
    """(n, T): the short season, slowly changing for some, and the long one around it where there is one."""
    n = len(periods)
    time = np.arange(size) / size
    swing = column(rng.uniform(0, 0.5, n) * (rng.random(n) < 0.4))
    modulation = 1 + swing * np.sin(2 * np.pi * (time * column(rng.uniform(0.3, 3, n)) + column(rng.random(n))))
    out: Array = evolving_pattern(rng, periods, size) * modulation
    long = long_season(periods)
    has = (long > periods) & (rng.random(n) < 0.85)
    if has.any():
        out[has] = inside_long_season(rng, out[has], periods[has], (long // periods)[has])
    return out


def inside_long_season(rng: Rng, short: Array, periods: Ints, cycles: Ints) -> Array:
    """(n, T) -> (n, T): a level for each short cycle of the long season, and another profile on some (weekends)."""
    n, size = short.shape
    number = (np.arange(size) + rng.integers(0, 10_000, (n, 1))) // column(periods)  # which short cycle a point is in
    level = np.take_along_axis(seasonal_pattern(rng, cycles, int(number.max()) + 1), number, 1)
    other = number % column(cycles) < column(rng.integers(1, 3, n))  # one or two of the cycles
    share = column(rng.uniform(0.2, 1.0, n) * (rng.random(n) < 0.6)) * other
    mixed = (1 - share) * short + share * seasonal_pattern(rng, periods, size) * column(rng.uniform(0.3, 1.2, n))
    out: Array = mixed + column(rng.lognormal(-0.8, 0.8, n)) * level
    return out


def long_season(periods: Ints) -> Ints:
    """(n,) -> (n,): the season around each short one, the same where there is none."""
    out = periods.copy()
    for short, long in LONG_SEASON.items():
        out[periods == short] = long
    return out


def trend(rng: Rng, lengths: Ints, size: int) -> Array:
    """(n, T): a line, a damped line or one with up to five bends, to some a slope that wanders is added.

    The rise over a series' length is of order one.
    """
    n = len(lengths)
    time = np.arange(size) / column(lengths)  # 0 to 1 over each series, so slopes do not depend on the length
    rise = column(rng.normal(0, 1, n) * rng.lognormal(1.6, 1.0, n))
    rate = column(rng.uniform(1, 6, n))
    damped = (1 - np.exp(-rate * time)) / (1 - np.exp(-rate))
    bends = np.zeros((n, size))
    often = rng.uniform(0, 1, n)
    for _ in range(5):  # each bend may turn the line around
        turn = rng.normal(0, 1, n) * rng.lognormal(1.5, 0.9, n) * (rng.random(n) < often)
        bends += np.maximum(time - column(rng.uniform(0.05, 1.0, n)), 0) * column(turn)
    kind = column(rng.integers(0, 4, n))
    out: Array = rise * np.where(kind == 1, damped, time) + np.where(kind >= 2, bends, 0.0)
    wanders = np.nonzero(rng.random(n) < 0.25)[0]  # a slope that is a random walk itself
    strength = rng.lognormal(1.0, 1.0, len(wanders)) / lengths[wanders] ** 1.5
    out[wanders] += (rng.normal(size=(len(wanders), size)) * column(strength)).cumsum(1).cumsum(1)
    return out


def decomposed(rng: Rng, periods: Ints, lengths: Ints, size: int) -> Array:
    """Trend, season and autocorrelated noise, added or multiplied."""
    n = len(periods)
    level = trend(rng, lengths, size) * column(often_trending(rng, periods, lengths))
    season = column(rng.lognormal(-0.5, 0.9, n)) * seasons(rng, periods, size)
    clean = np.where((rng.random(n) < 0.25) & (periods >= 7), rng.uniform(0.05, 0.5, n), 1.0)  # as machines are
    noise = column(clean * rng.lognormal(-1.3, 0.9, n)) * autoregressive_noise(rng, n, size, rng.uniform(-0.2, 0.9, n))
    growth = np.exp(np.clip(0.5 * level + 0.25 * season + 0.25 * noise, -8, 8))
    out: Array = np.where(column(rng.random(n) < 0.4), growth, level + season + noise)
    return out


def autoregressive_noise(rng: Rng, n: int, size: int, phi: Array, volatility: Array | None = None) -> Array:
    """(n, T): x_t = phi x_{t-1} + e_t with unit stationary spread; `volatility` (n, T) scales e_t."""
    shocks = rng.normal(size=(n, size)) * (1.0 if volatility is None else volatility)
    heavy = rng.random(n) < 0.15
    shocks[heavy] = rng.standard_t(3, (heavy.sum(), size)) / np.sqrt(3)
    shocks *= column(np.sqrt(1 - np.square(phi)))
    out = np.empty_like(shocks)
    state = rng.normal(size=n)
    for t in range(size):
        state = phi * state + shocks[:, t]
        out[:, t] = state
    return out


def exponential_smoothing(rng: Rng, periods: Ints, lengths: Ints, size: int) -> Array:
    """The innovations model ETS(A, Ad, A): level, damped slope and season all learn from each shock.

    Hyndman et al. (2008), "Forecasting with exponential smoothing", equations of the additive model.
    """
    n = len(periods)
    alpha, beta = rng.beta(1.2, 1.5, n), rng.beta(1, 3, n) * (rng.random(n) < 0.8)
    gamma, phi = rng.beta(1, 6, n) * (periods > 1), np.where(rng.random(n) < 0.5, 1.0, rng.uniform(0.8, 0.99, n))
    sigma = rng.lognormal(-1.0, 0.8, n)
    slope = rng.normal(0, 1, n) * rng.lognormal(1.6, 1.0, n) / lengths * often_trending(rng, periods, lengths)
    strength = rng.lognormal(-0.5, 0.9, n) * (rng.random(n) < 0.8)
    cycle = column(strength) * seasonal_cycle(rng, periods)  # (n, longest)
    level, rows, out = np.zeros(n), np.arange(n), np.empty((n, size))
    shocks = rng.normal(size=(n, size)) * column(sigma)
    for t in range(size):
        place = t % periods
        season = cycle[rows, place]
        out[:, t] = level + phi * slope + season + shocks[:, t]
        level = level + phi * slope + alpha * shocks[:, t]
        slope = phi * slope + alpha * beta * shocks[:, t]
        cycle[rows, place] = season + gamma * shocks[:, t]
    bounded = out / np.maximum(np.abs(out).max(1, keepdims=True) / 3, 1)  # exp of it spans at most e^6
    return np.where(column(rng.random(n) < 0.35), np.exp(bounded), out)


def random_walk(rng: Rng, periods: Ints, lengths: Ints, size: int) -> Array:
    """Near-unit-root walks with drift, momentum, changing volatility and sometimes a season; half exponentiated."""
    n = len(periods)
    phi = 1 - rng.choice([0.0, 0.001, 0.01, 0.05], n)
    calm = autoregressive_noise(rng, n, size, np.full(n, 0.98))
    volatility = np.exp(column(rng.uniform(0, 0.8, n) * (rng.random(n) < 0.5)) * calm)
    drift = rng.normal(0, 1, n) * rng.lognormal(1.5, 0.9, n) * often_trending(rng, periods, lengths) / np.sqrt(lengths)
    persistence = np.where(rng.random(n) < 0.35, rng.uniform(0.2, 0.95, n), 0.0)  # of the steps: momentum
    shocks = autoregressive_noise(rng, n, size, persistence, volatility) + column(drift)
    state, out = np.zeros(n), np.empty((n, size))
    for t in range(size):
        state = phi * state + shocks[:, t]
        out[:, t] = state
    out /= column(np.sqrt(lengths))
    seasonal = rng.lognormal(-1.0, 0.8, n) * (rng.random(n) < 0.4)
    out += column(seasonal) * seasons(rng, periods, size)
    return np.where(column(rng.random(n) < 0.5), np.exp(np.clip(column(rng.uniform(0.1, 0.8, n)) * out, -8, 8)), out)


def gaussian_process(rng: Rng, periods: Ints, lengths: Ints, size: int, features: int = 24) -> Array:
    """Smooth curves: random Fourier features of a squared-exponential kernel, plus a season and some noise.

    Rahimi and Recht (2007), "Random features for large-scale kernel machines".
    """
    n = len(periods)
    scale = np.exp(rng.uniform(np.log(0.05), np.log(1.0), n)) * lengths  # length scale in steps
    time, out = np.arange(size), np.zeros((n, size))
    for _ in range(features):
        frequency = rng.normal(size=n) / scale
        out += np.cos(column(frequency) * time + column(rng.uniform(0, 2 * np.pi, n)))
    out *= np.sqrt(2 / features)
    season = column(rng.lognormal(-0.8, 0.8, n) * (rng.random(n) < 0.7)) * seasons(rng, periods, size)
    return out + season + column(rng.lognormal(-2.0, 0.9, n)) * rng.normal(size=(n, size))


def counts(rng: Rng, periods: Ints, lengths: Ints, size: int) -> Array:
    """Demand in whole numbers: Poisson or overdispersed, seasonal, some of it intermittent."""
    n = len(periods)
    rate = np.exp(rng.uniform(np.log(0.05), np.log(30), n))
    shape = 0.4 * seasons(rng, periods, size) + 0.5 * trend(rng, lengths, size) * column(rng.random(n) < 0.4)
    intensity = column(rate) * np.exp(np.clip(shape, -4, 3))
    dispersion = column(rng.uniform(0.5, 8, n))
    mixed = np.where(column(rng.random(n) < 0.5), rng.gamma(dispersion, 1 / dispersion, (n, size)), 1.0)
    occurs = rng.random((n, size)) < column(np.where(rng.random(n) < 0.4, rng.uniform(0.1, 0.9, n), 1.0))
    return np.asarray(rng.poisson(np.minimum(intensity * mixed, 1e6) * occurs), dtype=np.float64)


FAMILIES: dict[str, tuple[Family, float]] = {  # name: (generator, share of the corpus)
    "decomposed": (decomposed, 0.30),
    "exponential_smoothing": (exponential_smoothing, 0.28),
    "random_walk": (random_walk, 0.24),
    "gaussian_process": (gaussian_process, 0.07),
    "counts": (counts, 0.11),
}
