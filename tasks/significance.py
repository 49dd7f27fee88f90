"""Whether a difference in loss could be chance: paired tests and intervals over arrays of losses.

Shapes: `N` comparisons made at once, `S` series, `C` cutoffs in order of time, `R` resamples. A loss is NaN where a
series has no window at that cutoff. Everything is in shares: a gain of 0.05 is a loss 5 % lower.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import fft, linalg, stats

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

    Over fewer, any two windows share most of their steps, and the test would rest on how overlap is assumed to act.
    """
    return math.ceil(1.5 * (lags + 1))


def shares(losses: Floats) -> Floats:
    """Losses (N, S, C) as parts of each series' mean loss over its own cutoffs: they sum to it, 0 where missing."""
    known = ~np.isnan(losses)
    return np.asarray(np.where(known, losses, 0.0) / np.maximum(known.sum(-1, keepdims=True), 1))


def date_weights(losses: Floats) -> Floats:
    """The part of each cutoff in the sum of losses (N, S, C): (N, C), each row sums to 1.

    Every series counts once, shared evenly among its own cutoffs. Where all have the same cutoffs, these weigh alike.
    """
    known = ~np.isnan(losses)
    each = (known / np.maximum(known.sum(-1, keepdims=True), 1)).sum(1)
    return np.asarray(each / np.maximum(each.sum(-1, keepdims=True), 1e-300))


def effective_cutoffs(weights: Floats) -> Floats:
    """How many equally filled cutoffs tell as much as these (..., C): 1 / sum of squared weights (Kish 1965).

    12 series cut on 3 days and one that is cut on 3 others have 3.5 of them, not 6.
    """
    return np.asarray((1 / (weights**2).sum(-1)).round(6))


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

    The largest of three: signs flipped over series, which a shock common to all of them would mislead; a
    Diebold-Mariano test over cutoffs, which series that suit a model would mislead; and a test that allows for both.
    Fewer series than `fewest_series` are taken as given, and cutoffs alone decide.
    """
    difference, weights = shares(champion) - shares(challenger), date_weights(champion)
    _, series, cutoffs = difference.shape
    p = diebold_mariano(difference.sum(1), lags, weights)
    if series < fewest_series(level):
        return p
    flipped = sign_flip(difference.sum(2), resamples, rng)
    if cutoffs == 1:
        return flipped
    return np.maximum(np.maximum(p, flipped), two_ways(difference, lags, ~np.isnan(champion)))


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


def diebold_mariano(difference: Floats, lags: int, weights: Floats | None = None) -> Floats:
    """One-sided p (N,) that the mean of differences (N, C) over time is not above 0; `weights` as `date_weights`.

    Diebold and Mariano (1995), by `error_in_time`. Without overlap it is Student's test, as Harvey, Leybourne and
    Newbold (1997) correct theirs. `lags`: later cutoffs that one forecast window overlaps, h - 1 of the papers.
    Fewer cutoffs than `fewest_for_blocks`, and an error of 0 over differences that do vary, say nothing: 1.
    """
    weights = alike(difference) if weights is None else weights
    total, size = difference.sum(1), np.abs(difference).max(1)
    error, freedom = error_in_time(difference, lags, weights)
    uneven = np.abs(difference - total[:, None] * weights).max(1)
    steady = uneven <= 1e-12 * size  # the same gain at every cutoff, but for rounding
    unseen = ~steady & (error <= 1e-10 * size) | (effective_cutoffs(weights) < fewest_for_blocks(lags))
    return np.where(unseen, 1.0, upper_tail(total, np.where(steady, 0.0, error), freedom))


def two_ways(difference: Floats, lags: int, known: NDArray[np.bool_] | None = None) -> Floats:
    """One-sided p (N,) that the sum of differences (N, S, C) is not above 0, where series and cutoffs are both chance.

    The variance is that over series, and that over cutoffs as far as series move together: what each does alone lies
    in the first (Cameron, Gelbach and Miller 2011). Degrees of freedom after Satterthwaite.
    """
    series, known = difference.shape[1], np.ones(difference.shape, dtype=bool) if known is None else known
    together, freedom = error_in_time(difference.sum(1), lags, date_weights(np.where(known, 0.0, np.nan)))
    alone = errors_alone(difference, known, lags)
    by_series = series * difference.sum(2).var(1, ddof=1)
    by_time = np.maximum(together**2 - (alone**2).sum(1), 0)
    variance = by_series + by_time
    spread = by_series**2 / (series - 1) + by_time**2 / freedom
    degrees = np.divide(variance**2, spread, out=np.ones_like(variance), where=spread > 0)
    return upper_tail(difference.sum((1, 2)), np.sqrt(variance), degrees)


def upper_tail(total: Floats, error: Floats, freedom: Floats | float) -> Floats:
    """Student's one-sided p of a sum with its standard error; without error, 0 of a positive sum and else 1."""
    statistic = np.divide(total, error, out=np.where(total > 0, np.inf, -np.inf), where=error > 0)
    return np.asarray(stats.t.sf(statistic, freedom))


def errors_alone(difference: Floats, known: NDArray[np.bool_], lags: int) -> Floats:
    """Standard error in time of each series' own sum, (N, S), over the cutoffs it has; 0 where it has but one."""
    _, series, cutoffs = difference.shape
    values, own = difference.reshape(-1, cutoffs), known.reshape(-1, cutoffs)
    error = np.zeros(len(values))
    patterns, places = np.unique(own, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        if pattern.sum() > 1:
            rows = places.ravel() == number
            error[rows] = error_in_time(values[rows][:, pattern], lags)[0]
    return error.reshape(-1, series)


def alike(values: Floats) -> Floats:
    """Equal weights of the cutoffs of values (N, C)."""
    return np.full_like(values, 1 / values.shape[-1])


def error_in_time(values: Floats, lags: int, weights: Floats | None = None) -> tuple[Floats, Floats]:
    """Standard error of the sum of values (N, C) over time, and its degrees of freedom, (N,) each.

    What counts is how far a cutoff lies from its part of the sum: from its weight (N, C) times the sum. So a cutoff of
    one series among a hundred is no evidence of its own. Where all weigh alike (none given), it is the distance from
    the mean.

    The equal-weighted cosine estimator of Lazarus, Lewis, Stock and Watson (2018): the squares of the first
    0.4 C^(2/3) cosine coefficients, never negative. Windows that overlap make those smaller than the mean's own; by
    how much is known, where correlation falls evenly to 0 over `lags` + 1 cutoffs, and is made good, and no more
    coefficients count than C holds windows apart. Without overlap all C - 1 count: the usual standard error.
    """
    weights = alike(values) if weights is None else weights
    apart = values - values.sum(-1, keepdims=True) * weights
    error, freedom = np.zeros(len(values)), np.ones(len(values))
    ways, places = np.unique(weights, axis=0, return_inverse=True)
    for number, way in enumerate(ways):
        rows = places.ravel() == number
        count, factor, degrees = _error_factor(way, lags)
        seen = fft.dct(apart[rows], norm="ortho")[:, 1 : count + 1]
        error[rows], freedom[rows] = np.sqrt(factor * (seen**2).sum(-1)), degrees
    return error, freedom


def _error_factor(weights: Floats, lags: int) -> tuple[int, float, float]:
    """Of weights (C,): how many cosines count, by how much their squares fall short of the sum's variance, and their
    degrees of freedom (Satterthwaite), where shocks are common to the series of a cutoff."""
    n, whole = len(weights), float(effective_cutoffs(weights))
    count = max(1, min(round(0.4 * whole ** (2 / 3)), int(whole // (lags + 1)))) if lags else n - 1
    overlap = linalg.toeplitz(np.maximum(0, 1 - np.arange(n) / (lags + 1)))
    distance = np.diag(weights) - np.outer(weights, weights)
    kept = fft.dctn(distance @ overlap @ distance.T, norm="ortho")[1 : count + 1, 1 : count + 1]
    trace = float(np.trace(kept))
    if trace <= 0:  # one cutoff holds everything
        return count, 0.0, 1.0
    return count, float(weights @ overlap @ weights) / trace, trace**2 / float((kept**2).sum())


def gain_interval(
    champion: Floats, challenger: Floats, lags: int, level: float, rng: np.random.Generator, resamples: int
) -> tuple[Floats, Floats]:
    """Lower and upper end (N,) of the central 1 - 2 * level interval of the gain, from losses (N, S, C).

    A bootstrap over series, widened for small samples as Hesterberg (2015) does, and for time Student's t with the
    standard error of `error_in_time`. What both do adds up: chance that lies in neither alone counts twice, which
    errs towards a wide interval. It is that of the ratio's logarithm, which is the same with the two models' places
    exchanged, linearised at the observed losses, so that no draw divides by a sum near 0.
    Over fewer cutoffs than `fewest_for_blocks` it is unknown, from WORST to 1: chance in time cannot be seen.
    """
    old, new, weights = shares(champion), shares(challenger), date_weights(champion)
    series = old.shape[1]
    gain = relative_gain(old.sum((1, 2)), new.sum((1, 2)))
    unknown = effective_cutoffs(weights) < fewest_for_blocks(lags)
    if unknown.all():
        return np.full_like(gain, WORST), np.ones_like(gain)
    influence = parts(old) - parts(new)  # sums to 0
    error, freedom = error_in_time(influence.sum(1), lags, weights)
    drawn = rng.standard_t(freedom, (resamples, len(gain))) * error  # (R, N)
    if series >= fewest_series(level):
        counts = rng.multinomial(series, np.full(series, 1 / series), resamples)
        drawn += (counts @ influence.sum(2).T) * widening(series, level)
    below, above = np.quantile(drawn, (level, 1 - level), axis=0)
    low, high = (1 - (1 - gain) * np.exp(-np.clip(end, -50, 50)) for end in (below, above))
    low, high = np.clip(low, WORST, gain), np.maximum(high, gain)
    return np.where(unknown, WORST, low), np.where(unknown, 1.0, high)


def parts(losses: Floats) -> Floats:
    """Losses (N, S, C) as parts of their sum; 0 where that is 0."""
    total = losses.sum((1, 2), keepdims=True)
    return losses / np.where(total > 0, total, 1.0)


def widening(n: int, level: float) -> float:
    """By how much a bootstrap of n draws is too narrow: sqrt(n / (n - 1)) times Student's over the normal quantile."""
    return float(math.sqrt(n / (n - 1)) * stats.t.isf(level, n - 1) / stats.norm.isf(level))
