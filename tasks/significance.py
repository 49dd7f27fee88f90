"""Whether a difference in loss could be chance: paired tests and intervals over arrays of losses.

Shapes: `N` comparisons made at once, `S` series, `C` cutoffs in order of time, `R` resamples. A loss is NaN where a
series has no window at that cutoff. Everything is in shares: a gain of 0.05 is a loss 5 % lower.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

MIN_CUTOFFS = 2  # one date cannot tell a better model from one that a common shock happened to suit
MIN_CUTOFFS_FEW = 8  # for so few series that only dates can be evidence
WORST = -1e6  # the gain on a champion without any loss, which is minus infinity, and no number in JSON
BLOCK = 1000  # resamples drawn at a time: bounds the memory


def fewest_series(level: float) -> int:
    """Series from which their signs alone can reach the level: 2^-S <= level, so 5 for 0.05."""
    return math.ceil(-math.log2(level))


def fewest_cutoffs(series: int, level: float, lags: int = 0) -> int:
    """Cutoffs without which nothing is decided, where a window overlaps `lags` later cutoffs."""
    return max(MIN_CUTOFFS if series >= fewest_series(level) else MIN_CUTOFFS_FEW, fewest_for_blocks(lags))


def fewest_for_blocks(lags: int) -> int:
    """Cutoffs that show how much time alone does: half as many again as one block of overlapping windows, so 2 without.

    Blocks of nearly all cutoffs hold nearly the same ones, which looks like certainty: over 9 cutoffs whose windows
    overlap 7 later ones, an interval at 5% leaves out 0 on either side in 17% of equal models; over 12 of them in 4%.
    """
    return math.ceil(1.5 * (lags + 1))


def shares(losses: Floats) -> Floats:
    """Losses (N, S, C) as parts of each series' mean loss over its own cutoffs: they sum to it, 0 where missing."""
    known = ~np.isnan(losses)
    return np.asarray(np.where(known, losses, 0.0) / np.maximum(known.sum(-1, keepdims=True), 1))


def relative_gain(champion: Floats, challenger: Floats) -> Floats:
    """1 - challenger / champion of summed losses; 0 where both are 0, WORST where only the champion's is."""
    ratio = np.divide(challenger, champion, out=np.full_like(champion, np.inf), where=champion > 0)
    return np.where(champion == challenger, 0.0, np.maximum(1 - ratio, WORST))


def proven(gain: Floats, low: Floats, p: Floats, level: float, min_effect: float) -> NDArray[np.bool_]:
    """Whether a gain is significant by the test and by its interval, and large enough to matter."""
    return np.asarray((p <= level) & (low > 0) & (gain >= min_effect))


def p_value(
    champion: Floats, challenger: Floats, lags: int, level: float, rng: np.random.Generator, resamples: int
) -> Floats:
    """One-sided p (N,) of losses (N, S, C) that the challenger's are no lower.

    The larger of two: signs flipped over series, which a shock common to all of them would mislead, and a
    Diebold-Mariano test over cutoffs, which it does not. Fewer series than `fewest_series` are taken as given.
    """
    difference = shares(champion) - shares(challenger)
    _, series, cutoffs = difference.shape
    p = diebold_mariano(difference.sum(1), lags)
    if series < fewest_series(level):
        return p
    flipped = sign_flip(difference.sum(2), resamples, rng)
    return flipped if cutoffs == 1 else np.maximum(p, flipped)


def sign_flip(difference: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """One-sided p (N,) of paired differences (N, S): how often random signs give a sum as large.

    Exact where all 2^S signs are no more than `resamples`; else by drawing, the observed signs counted in
    (Phipson and Smyth 2010). All comparisons share the draws.
    """
    n, series = difference.shape
    bound = difference.sum(1) - 1e-12 * np.abs(difference).sum(1)  # ties that rounding has parted stay ties
    if series < 62 and 2**series <= resamples:
        signs = 1.0 - 2 * (np.arange(2**series)[:, None] >> np.arange(series) & 1)
        return np.asarray((signs @ difference.T >= bound).mean(0))
    hits = np.zeros(n)
    for start in range(0, resamples, BLOCK):
        signs = 1.0 - 2 * rng.integers(0, 2, (min(BLOCK, resamples - start), series), dtype=np.int8)
        hits += (signs @ difference.T >= bound).sum(0)
    return (hits + 1) / (resamples + 1)


def diebold_mariano(difference: Floats, lags: int) -> Floats:
    """One-sided p (N,) that the mean of differences (N, C) over time is not above 0.

    Diebold and Mariano (1995) with the correction for small samples and the t distribution of Harvey, Leybourne and
    Newbold (1997). `lags`: later cutoffs that one forecast window overlaps, h - 1 of the papers. A long-run variance
    that is not positive says nothing: 1.
    """
    n = difference.shape[1]
    if n <= lags + 1:
        return np.ones(len(difference))
    mean = difference.mean(1)
    rest = difference - mean[:, None]
    rest[np.abs(rest).max(1) <= 1e-12 * np.abs(mean)] = 0  # rounding is no variance
    covariances = [(rest[:, k:] * rest[:, : n - k]).sum(1) / n for k in range(lags + 1)]
    variance = (covariances[0] + 2 * sum(covariances[1:], np.zeros_like(mean))) / n
    h = lags + 1
    corrected = math.sqrt(max(0.0, (n + 1 - 2 * h + h * (h - 1) / n) / n))
    statistic = corrected * np.divide(
        mean, np.sqrt(np.maximum(variance, 0)), out=np.zeros_like(mean), where=variance > 0
    )
    steady = (covariances[0] == 0) & (mean > 0)  # the same gain at every cutoff
    return np.where(steady, 0.0, np.where(variance > 0, stats.t.sf(statistic, n - 1), 1.0))


def gain_interval(
    champion: Floats, challenger: Floats, lags: int, level: float, rng: np.random.Generator, resamples: int
) -> tuple[Floats, Floats]:
    """Lower and upper end (N,) of the central 1 - 2 * level interval of the gain, from losses (N, S, C).

    The bootstrap draws series, and circular blocks of cutoffs, and adds up what both do to the gain: chance that lies
    in neither alone counts twice, which errs towards a wide interval. Each is widened for small samples as
    Hesterberg (2015) does. The ratio is linearised at the observed gain, so that no draw divides by a sum near 0.
    Over fewer cutoffs than `fewest_for_blocks` it is unknown, from WORST to 1: chance in time cannot be drawn.
    """
    old, new = shares(champion), shares(challenger)
    _, series, cutoffs = old.shape
    total = old.sum((1, 2))
    gain = relative_gain(total, new.sum((1, 2)))
    if cutoffs < fewest_for_blocks(lags):
        return np.full_like(gain, WORST), np.ones_like(gain)
    safe = np.where(total > 0, total, 1.0)[:, None, None]
    influence = (old - new - gain[:, None, None] * old) / safe  # sums to 0
    drawn = cutoff_counts(cutoffs, lags, resamples, rng) @ influence.sum(1).T  # (R, N)
    drawn *= widening(block_size(cutoffs, lags)[1], level)
    if series >= fewest_series(level):
        counts = rng.multinomial(series, np.full(series, 1 / series), resamples)
        drawn += (counts @ influence.sum(2).T) * widening(series, level)
    low, high = np.quantile(drawn, (level, 1 - level), axis=0)
    return np.minimum(gain + low, gain), np.maximum(gain + high, gain)


def cutoff_counts(cutoffs: int, lags: int, resamples: int, rng: np.random.Generator) -> Floats:
    """How often each cutoff is drawn (R, C): in circular blocks."""
    length, blocks = block_size(cutoffs, lags)
    starts = rng.integers(0, cutoffs, (resamples, blocks))
    drawn = (starts[:, :, None] + np.arange(length)) % cutoffs
    places = drawn.reshape(resamples, -1)[:, :cutoffs] + cutoffs * np.arange(resamples)[:, None]
    return np.bincount(places.ravel(), minlength=resamples * cutoffs).reshape(resamples, cutoffs).astype(np.float64)


def block_size(cutoffs: int, lags: int) -> tuple[int, int]:
    """Cutoffs in a block (C^(1/3), and no fewer than overlap), and blocks that are drawn."""
    length = min(cutoffs, max(lags + 1, round(cutoffs ** (1 / 3))))
    return length, math.ceil(cutoffs / length)


def widening(n: int, level: float) -> float:
    """By how much a bootstrap of n draws is too narrow: sqrt(n / (n - 1)) times Student's over the normal quantile."""
    return float(math.sqrt(n / (n - 1)) * stats.t.isf(level, n - 1) / stats.norm.isf(level))
