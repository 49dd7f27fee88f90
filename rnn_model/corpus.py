"""From the families of `synthetic` to a corpus on disk: mixing, artefacts of real data, lengths, chunks."""

from collections.abc import Callable

import numpy as np

from rnn_model.config import SyntheticConfig
from rnn_model.seeding import numpy_rng
from rnn_model.synthetic import FAMILIES, Array, Rng, column, long_season
from rnn_model.windows import Ints, Windows

LENGTH = 320  # points of the longest series where none is declared
SHORTEST = 10  # points of the shortest series
ODD = 96  # points from which on a series may have a season that no calendar knows
CHUNK = 2048  # series generated at a time: bounds memory, and fixes the random stream


def generate(
    config: SyntheticConfig, periods: tuple[int, ...], seed: int, report: Callable[[int], None] = lambda _: None
) -> Windows:
    """The corpus as windows, float32: equal for equal arguments. `report` gets the series made so far.

    `periods` are the seasons that are stated. A few series state another than their own, or have one that is none
    of them.
    """
    values, lengths, stated = [], [], []
    longest = config.length or LENGTH
    for chunk in range(0, config.series, CHUNK):
        size = min(CHUNK, config.series - chunk)
        rng = numpy_rng(seed, "corpus", chunk)
        usual = rng.choice(np.asarray(periods, dtype=np.int64), size)
        length = draw_lengths(rng, usual, longest)
        period = own_periods(rng, usual, length)
        block = make_chunk(rng, period, length, longest)
        keep = np.arange(longest) < column(length)
        values.append(block[keep].astype(np.float32))
        lengths.append(length)
        stated.append(state_periods(rng, period, periods))
        report(chunk + size)
    ends = np.concatenate(lengths)
    offsets = np.concatenate([[0], np.cumsum(ends)]).astype(np.int64)
    return Windows(np.concatenate(values), offsets, np.concatenate(stated), ends)


def own_periods(rng: Rng, periods: Ints, lengths: Ints) -> Ints:
    """(n,) the season each series really has: its usual one, or in some long series any."""
    other = np.exp(rng.uniform(np.log(2), np.log(np.maximum(lengths / 4, 2)))).astype(np.int64)
    return np.where((rng.random(len(periods)) < 0.1) & (lengths >= ODD), other, periods)


def draw_lengths(rng: Rng, periods: Ints, longest: int) -> Ints:
    """(n,) lengths, log-uniform from the shortest useful one: short series are as common as long ones.

    That holds two seasons; two of the long season in every other series that has one.
    """
    season = np.where(rng.random(len(periods)) < 0.5, periods, long_season(periods))
    shortest = np.minimum(np.maximum(SHORTEST, np.minimum(2 * season, longest // 2)), longest)
    low, high = np.log(shortest), np.full(len(periods), np.log(longest))
    return np.exp(rng.uniform(low, high)).astype(np.int64)


def make_chunk(rng: Rng, periods: Ints, lengths: Ints, size: int) -> Array:
    """(n, T): each series from one family, one in five mixed with a neighbour, then the artefacts."""
    names, shares = list(FAMILIES), np.array([share for _, share in FAMILIES.values()])
    family = rng.choice(len(names), len(periods), p=shares / shares.sum())
    out = np.empty((len(periods), size))
    for number, name in enumerate(names):
        rows = np.nonzero(family == number)[0]
        if len(rows):
            out[rows] = FAMILIES[name][0](rng, periods[rows], lengths[rows], size)
    # what lies past a series' own length is no part of it, and must not shape its spread, floor or mixture
    visible = np.where(np.arange(size) < column(lengths), out, np.nan)
    return add_artefacts(rng, mix(rng, visible, periods, lengths, family), lengths)


def mix(rng: Rng, series: Array, periods: Ints, lengths: Ints, family: Ints) -> Array:
    """Some series become a convex mix of two standardised ones of the same season (Ansari et al., 2024, TSMixup)."""
    order = np.lexsort((lengths, periods))
    partner = np.empty_like(order)
    partner[order] = np.roll(order, -1)  # of the same season and no shorter, but for the last of each season
    standard = (series - np.nanmean(series, 1, keepdims=True)) / spread_of(series)
    fits = (periods == periods[partner]) & (lengths <= lengths[partner])
    chosen = (rng.random(len(series)) < 0.2) & fits & (family != list(FAMILIES).index("counts"))
    weight = column(rng.uniform(0.2, 0.8, len(series)))
    return np.where(column(chosen), weight * standard + (1 - weight) * standard[partner], series)


def spread_of(series: Array) -> Array:
    """(n, T) -> (n, 1): standard deviation of what is visible, never 0."""
    spread: Array = np.nanstd(series, 1, keepdims=True) + 1e-9
    return spread


def add_artefacts(rng: Rng, series: Array, lengths: Ints) -> Array:
    """Shifts of level, spikes, censoring, rounding, and missing points or blocks."""
    n, size = series.shape
    spread = spread_of(series)
    time = np.arange(size)
    jump = time >= column(rng.integers(0, 1 << 30, n) % lengths)
    series = series + spread * jump * column(rng.normal(0, 1.5, n) * (rng.random(n) < 0.08))
    spikes = (rng.random((n, size)) < 0.01) & column(rng.random(n) < 0.10)
    series = series + spikes * rng.normal(0, 4, (n, size)) * spread
    floor = np.nanmean(series, 1, keepdims=True) - 0.5 * spread
    series = np.where(column(rng.random(n) < 0.03), np.maximum(series, floor), series)
    grid = spread * column(rng.uniform(0.05, 0.5, n))
    series = np.where(column(rng.random(n) < 0.05), np.round(series / grid) * grid, series)
    gap_start = rng.integers(0, 1 << 30, n) % lengths
    gap_width = (rng.random(n) < 0.05) * rng.integers(1, 1 + np.maximum(lengths // 5, 1))
    block = (time >= column(gap_start)) & (time < column(gap_start + gap_width))
    holes = (rng.random((n, size)) < 0.1) & column(rng.random(n) < 0.05)
    return np.where(block | holes, np.nan, series)


def state_periods(rng: Rng, periods: Ints, known: tuple[int, ...]) -> Ints:
    """(n, 2): the short and the long season as stated to the network; some are wrong or unknown (1)."""
    wrong = (rng.random(len(periods)) < 0.08) | ~np.isin(periods, known)
    other = rng.choice(np.asarray((1, *known), dtype=np.int64), len(periods))
    short = np.where(wrong, other, periods)
    return np.stack([short, long_season(short)], 1)
