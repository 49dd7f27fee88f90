"""A season around a smoothed level: what exponential smoothing makes of a window, for every window at once.

Shapes: B windows, T points of context in the scaled space (NaN where nothing was observed), H steps, S seasons, R rows
of one season each (B * S at most), M columns for the phases of the longest season, A rates, N latest points.
"""

import torch
import torch.nn.functional as fn
from torch import Tensor

RATES = (0.05, 0.1, 0.2, 0.35, 0.6, 0.9)
LATEST = 448  # points that levels are of, and are judged by
BLOCK = 32  # of them are summed as one product
WARM_UP = 3  # points that a level is of before its error counts
OLDER = 0.9  # a cycle says so many times as much of the seasonal indices as the next later one
LEAST = 1e-6  # squared error that counts as none
HEARD = 1e-12  # weight of what was observed, under which a level knows of nothing


def smoothed_seasons(z: Tensor, periods: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The indices of each season around the level that is left without it: (B, T), (B, S) -> (B, H, S) and (B, 1, S).

    The second tells how many steps before the latest point that level lies on average: so far it lags behind a trend.
    Both are NaN where nothing was observed lately.
    """
    periods = torch.where(periods < z.shape[1], periods, 1)  # no longer one has a whole cycle
    twin = (periods[:, :, None] == periods[:, None]).int().argmax(2)  # (B, S): equal seasons are smoothed once
    single = twin == torch.arange(periods.shape[1], device=z.device)
    rows, m = z[single.nonzero()[:, 0]], periods[single][:, None]  # (R, T), (R, 1)
    with torch.autocast(z.device.type, enabled=False):  # a candidate is no matter of precision
        back = torch.arange(z.shape[1] - 1, -1, -1, device=z.device)
        cycle = back // m  # (R, T), before the latest
        phase = back - cycle * m
        indices = seasonal_indices(rows, m, cycle, phase)  # (R, M)
        level, age = smoothed_level(rows - indices.gather(1, phase))  # (R, 1) each
        ahead = torch.arange(1, steps + 1, device=z.device)
        laid = level + indices.gather(1, -ahead % m)  # (R, H)
    row = (single.flatten().cumsum(0) - 1).view_as(single).gather(1, twin)  # (B, S)
    return laid[row].transpose(1, 2), age[row].transpose(1, 2)


def seasonal_indices(z: Tensor, m: Tensor, cycle: Tensor, phase: Tensor) -> Tensor:
    """How far each phase lies from the centred mean of a season, on average: (R, T), (R, 1), (R, T) twice -> (R, M).

    `phase` and `cycle` say how many steps, and whole seasons before those, a point lies before the latest. Classical
    decomposition, later cycles counting more; of an even season the mean of two means. Indices sum to 0 over the
    known phases and are 0 at the others; all are 0 where no more than half of the phases are known.
    """
    R, T = z.shape
    place = torch.arange(T, device=z.device)
    seen, values = ~z.isnan(), z.nan_to_num(0.0)
    sums = fn.pad(torch.stack([values, seen.to(z.dtype)]).cumsum(-1), (1, 0))  # (2, R, T + 1)
    start, end = place - m // 2, place + m // 2  # (R, T): of the season around each point
    inside = (start >= seen.int().argmax(1, keepdim=True)) & (end < T - seen.flip(1).int().argmax(1, keepdim=True))
    edges = (start, start + 1 - m % 2, end + m % 2, end + 1)
    first, second, before, after = (sums.gather(2, edge.clamp(0, T).expand(2, -1, -1)) for edge in edges)
    total = before - first + after - second  # (2, R, T): both means' sums and counts
    weight = (inside & seen & (total[1] >= m)).to(z.dtype) * OLDER**cycle  # half of it observed
    deviation = values - total[0] / total[1].clamp_min(1.0)
    empty = z.new_zeros(R, int(m.max()))
    weights = empty.scatter_add(1, phase, weight)
    known = weights > 0
    indices = torch.where(known, empty.scatter_add(1, phase, weight * deviation) / weights, 0.0)
    count = known.sum(1, keepdim=True)
    return (indices - indices.sum(1, keepdim=True) / count.clamp_min(1)) * (known & (2 * count > m))


def smoothed_level(y: Tensor) -> tuple[Tensor, Tensor]:
    """The exponentially weighted mean at the end and its mean age in steps: (R, T) -> (R, 1) each.

    The mean over RATES, each weighted by the likelihood of its one-step forecasts, (mean squared error)^(-n / 2) for n
    errors: Akaike weights of models of equal size (Burnham and Anderson, 2002, "Model selection and multimodel
    inference"). Only steps that all rates forecast are judged.
    """
    y = y[:, -LATEST:]
    y = fn.pad(y, (-y.shape[1] % BLOCK, 0), value=torch.nan)  # (R, N)
    values, seen = y.nan_to_num(0.0), (~y.isnan()).to(y.dtype)
    total, weight = decayed_sums(torch.stack([values, seen]))  # (R, N, A) each
    levels, heard = total / weight.clamp_min(HEARD), weight >= HEARD
    warm = seen.cumsum(1)[:, :-1] >= WARM_UP
    judged = (heard[:, :-1].all(2) & warm & (seen[:, 1:] > 0))[..., None]  # (R, N - 1, 1)
    squares = ((values[:, 1:, None] - levels[:, :-1]).square() * judged).sum(1)  # (R, A)
    count = judged.sum(1)  # (R, 1)
    likelihood = -count / 2 * torch.log(squares / count.clamp_min(1) + LEAST)  # its logarithm
    share = likelihood.masked_fill(~heard[:, -1], -torch.inf).softmax(1)  # (R, A), NaN where none is heard
    ages = torch.arange(y.shape[1] - 1, -1, -1, dtype=y.dtype, device=y.device)[:, None]
    age = (seen @ (ages * decay(y) ** ages)) / weight[:, -1].clamp_min(HEARD)  # (R, A)
    return (share * levels[:, -1]).sum(1, keepdim=True), (share * age).sum(1, keepdim=True)


def decayed_sums(x: Tensor) -> Tensor:
    """(..., N) -> (..., N, A): s_t = x_t + (1 - rate) s_{t-1} at every rate; within each BLOCK as one product."""
    kept = decay(x)  # (A,)
    step = torch.arange(BLOCK, device=x.device)
    lag = step - step[:, None]  # (BLOCK from, BLOCK to)
    kernel = torch.where(lag[..., None] >= 0, kept ** lag.clamp_min(0)[..., None], 0.0)  # (BLOCK, BLOCK, A)
    inner = x.reshape(*x.shape[:-1], -1, BLOCK) @ kernel.flatten(1)
    inner = inner.view(*inner.shape[:-1], BLOCK, -1)  # (..., N / BLOCK, BLOCK, A)
    carried = kept ** (step[:, None] + 1)  # (BLOCK, A)
    blocks = [inner[..., 0, :, :]]
    for number in range(1, inner.shape[-3]):
        blocks.append(inner[..., number, :, :] + carried * blocks[-1][..., -1:, :])
    return torch.cat(blocks, -2)


def decay(like: Tensor) -> Tensor:
    """(A,): what each rate keeps of a level from one step to the next."""
    return 1 - torch.tensor(RATES, dtype=like.dtype, device=like.device)
