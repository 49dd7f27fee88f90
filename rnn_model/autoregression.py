"""Autoregressions fitted to each window: which mix of its past a window follows.

With a base lag l_0, other lags l_k and a disturbance u_t = phi u_{t-1} + e_t:

    z_t - z_{t-l_0} = c + sum_k b_k (z_{t-l_k} - z_{t-l_0}) + u_t

Once from a season ago (l_0 the short season, a prior that is a mean of cycles), and once from step to step (l_0 = 1, a
random walk the prior, u_t without memory). By ridge regression, so that few points leave the prior nearly as it is.

Shapes: B windows, T points of context in the scaled space (NaN where nothing was observed), S = 3 seasons (the short,
the long, and a measured one), K lags beside the base, H steps; R = K + 2 columns of a regression: the differences, 1
for the drift c, and what they explain.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as fn
from torch import Tensor

from rnn_model.lags import filled_end, lagged, recency

FITTED = 2  # autoregressions
CYCLES = (0.25, 0.15, 0.15, 0.0, 0.1)  # prior b of the first lags of `cycle_lags`, 0 of the others; the base keeps .35
STRENGTH = 60.0  # points that say the prior of each b, as large (root mean square) as what is explained
STILL = 2.0  # points that say there is no drift
FORGETFUL = 20.0  # points that say u has no memory
WIDE = 3.0  # a point's weight is halved at so many mean errors
FADING = 8.0  # weights of the first regression halve in so many half-lives of the scale
LEAST = 1e-2  # error that counts as none
REACH = 0.5  # a forecast leaves the range of its window by so much of that range at most


class Regression(NamedTuple):
    """A row is of its point and earlier ones only, so the rows of a shorter window are the first of these."""

    lags: Tensor  # (B, 1 + K), the base first
    rows: Tensor  # (B, T, R), 0 where a row does not count
    seen: Tensor  # (B, T): 1 where it does

    def until(self, end: int) -> "Regression":
        """The rows before the point `end`."""
        return Regression(self.lags, self.rows[:, :end], self.seen[:, :end])


Pair = tuple[Regression, Regression]  # from a season ago, and from step to step


def regressions(z: Tensor, periods: Tensor) -> Pair:
    """What both are fitted to: (B, T), (B, S)."""
    return regression(z, cycle_lags(periods)), regression(z, step_lags(periods))


def autoregressions(z: Tensor, half_life: Tensor, pair: Pair, steps: int) -> Tensor:
    """What both make of each window: z (B, T), half-life of its scale in steps (B, 1) -> (B, H, FITTED).

    NaN where the base is not known; of the second, that is a window without any point.
    """
    with torch.autocast(z.device.type, enabled=False):  # the products of a regression need all their digits
        cycles, step = pair
        weight = cycles.seen * recency(z, FADING * half_life)
        b = fit(cycles.rows, weight, CYCLES)
        from_season = carry_on(z, cycles.lags, b, *disturbance(cycles.rows, weight, b), steps)
        step_b, none = fit(step.rows, step.seen, ()), z.new_zeros(len(z), 1)
        from_step = carry_on(filled_end(z), step.lags, step_b, none, none, steps)
    return torch.stack([from_season, from_step], -1)


def cycle_lags(periods: Tensor) -> Tensor:
    """(B, S) -> (B, 1 + K): the short season, two of its cycles more, the long one's, the short one's neighbours, the
    measured one's."""
    short, long, measured = periods.unbind(1)
    near = (short + 1, (short - 1).clamp_min(1))
    long_cycles = (long, long + short, 2 * long)
    return torch.stack([short, 2 * short, 3 * short, *long_cycles, *near, measured, 2 * measured], 1)


def step_lags(periods: Tensor) -> Tensor:
    """(B, S) -> (B, 1 + K): one step, two more, and of each season the point so long ago and the one before."""
    short, long, measured = periods.unbind(1)
    step = torch.ones_like(short)
    cycles = (n + more for n in (short, 2 * short, long, measured) for more in (0, 1))
    return torch.stack([step, 2 * step, 3 * step, *cycles], 1)


def regression(z: Tensor, lags: Tensor) -> Regression:
    """(B, T), (B, 1 + K) -> the rows of every point that has a base.

    What is not known at another lag is taken to be what it was at the base.
    """
    values, known = lagged(z, lags)  # (B, T, 1 + K) each
    seen = known[..., 0] & ~z.isnan()
    differences = (values[..., 1:] - values[..., :1]) * (known[..., 1:] & seen[..., None])
    rise = torch.where(seen, z - values[..., 0], 0.0)
    counts = seen.to(z.dtype)
    return Regression(lags, torch.cat([differences, counts[..., None], rise[..., None]], -1), counts)


def fit(rows: Tensor, weight: Tensor, prior: tuple[float, ...]) -> Tensor:
    """(B, T, R), (B, T), K numbers at most -> (B, R - 1): b and c of a ridge regression, made twice.

    The second time what the first left unexplained has less weight: Cauchy's, 1 / (1 + (u / s)^2) with s WIDE times the
    mean |u| (Holland and Welsch, 1977, "Robust regression using iteratively reweighted least-squares").
    """
    u = residual(rows, ridge(rows, weight, prior))
    wide = WIDE * mean_over(weight, u.abs())[:, None]  # (B, 1)
    return ridge(rows, weight / (1 + (u / wide.clamp_min(LEAST)).square()), prior)


def residual(rows: Tensor, b: Tensor) -> Tensor:
    """u: (B, T, R), (B, R - 1) -> (B, T), 0 where a row does not count."""
    return rows[..., -1] - (rows[..., :-1] @ b[..., None])[..., 0]


def ridge(rows: Tensor, weight: Tensor, prior: tuple[float, ...]) -> Tensor:
    """As `fit`, once (Hoerl and Kennard, 1970, "Ridge regression: biased estimation for nonorthogonal problems")."""
    products = rows.transpose(1, 2) @ (rows * weight[..., None])  # (B, R, R)
    K = rows.shape[2] - 2
    strength = STRENGTH * mean_over(weight, rows[..., -1].square()).clamp_min(LEAST**2)  # (B,)
    penalty = fn.pad(strength[:, None].expand(-1, K), (0, 1), value=STILL)  # (B, R - 1)
    towards = fn.pad(rows.new_tensor(prior), (0, K + 1 - len(prior)))  # (R - 1,)
    left = products[:, :-1, :-1] + torch.diag_embed(penalty)  # (B, R - 1, R - 1), positive definite
    found: Tensor = torch.linalg.solve_ex(left, products[:, :-1, -1] + penalty * towards)[0]
    return found


def mean_over(weight: Tensor, x: Tensor) -> Tensor:
    """(B, T) twice -> (B,): the weighted mean; less where all weights together are less than 1."""
    return (weight * x).sum(1) / weight.sum(1).clamp_min(1.0)


def disturbance(rows: Tensor, weight: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """phi, and what is left of u at the end of the window: (B, T, R), (B, T), (B, R - 1) -> (B, 1) each.

    phi is shrunk towards 0 by FORGETFUL points of average size, and is not negative.
    """
    u = residual(rows, b)  # (B, T)
    now, before, pairs = u[:, 1:], u[:, :-1], weight[:, 1:] * (weight[:, :-1] > 0)
    forgetful = FORGETFUL * mean_over(pairs, before.square()).clamp_min(LEAST**2)
    phi = ((pairs * now * before).sum(1) / ((pairs * before.square()).sum(1) + forgetful)).clamp(0.0, 1.0)[:, None]
    latest = (torch.arange(u.shape[1], device=u.device) * (weight > 0)).amax(1, keepdim=True)  # (B, 1)
    return phi, u.gather(1, latest) * phi ** (u.shape[1] - 1 - latest)


def carry_on(z: Tensor, lags: Tensor, b: Tensor, phi: Tensor, u: Tensor, steps: int) -> Tensor:
    """The forecast step by step, each step part of the past of the next ones.

    z (B, T), lags (B, 1 + K), b and c (B, K + 1), phi and u (B, 1) -> (B, H).

    NaN where the base is not known; another lag that is not known counts as the base. No farther outside the window's
    range than REACH of it.
    """
    T = z.shape[1]
    low, high = z.nan_to_num(torch.inf).amin(1), z.nan_to_num(-torch.inf).amax(1)  # (B,)
    reach = REACH * (high - low)
    path = fn.pad(z, (0, steps), value=torch.nan)  # (B, T + H)
    for step in range(steps):
        place = T + step - lags  # (B, 1 + K)
        then = torch.where(place >= 0, path.gather(1, place.clamp_min(0)), torch.nan)
        change = ((then[:, 1:] - then[:, :1]).nan_to_num(0.0) * b[:, :-1]).sum(1) + b[:, -1]
        u = u * phi
        path[:, T + step] = (then[:, 0] + change + u[:, 0]).clamp(low - reach, high + reach)
    return path[:, T:]
