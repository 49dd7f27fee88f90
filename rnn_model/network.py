"""The forecaster: scaled patches through recurrent blocks, then every future patch decoded in one pass.

Shapes: B windows, T points of context, L = T / P patches of P points, H horizon, F = ceil(H / P) future
patches, D width, Q quantiles, C candidates, S = 2 seasons (the short one and the long one; equal where
there is one).
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from rnn_model.cells import Readout, build_cell
from rnn_model.config import MEDIAN, QUANTILES, ModelConfig
from rnn_model.scaling import Scale, weights_half_life, window_scale

CYCLES = ((0, 1), (0, 2), (0, 3), (1, 1), (1, 2))  # (season, how many of its cycles back) laid under the horizon
CANDIDATES = 2 * len(CYCLES) + 2  # each cycle as it was and as risen since, the last value, the line
RIDGE = 0.02  # shrinks the slope of very short windows
POINT_FEATURES = 6  # value, its mask, and both again one short and one long season earlier
WINDOW_FEATURES = 6
WIDTH_BIAS = -2.0  # softplus(-2) = 0.13: narrow quantile steps to begin with


class Block(nn.Module):
    """Norm, recurrent cell, residual; norm, gated MLP, residual: (B, L, D) -> (B, L, D)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.norm_cell, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.cell = build_cell(config.cell, width, width, config.activation)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # low precision adds up along a recurrence
            x = x + self.cell(self.norm_cell(x.float()))
        gate, value = self.up(self.norm_mlp(x)).chunk(2, -1)
        mixed: Tensor = x + self.down(fn.silu(gate) * value)
        return mixed


class Forecaster(nn.Module):
    """Context in, scaled deciles out; `predict` gives them in the data's units."""

    def __init__(self, config: ModelConfig, horizon: int) -> None:
        super().__init__()
        self.config, self.horizon = config, horizon
        width, patch = config.width, config.patch
        future = math.ceil(horizon / patch)
        self.embed_patch = nn.Linear(POINT_FEATURES * patch, width)
        self.embed_window = nn.Linear(WINDOW_FEATURES, width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm_state = nn.LayerNorm(width)
        self.embed_cycles = nn.Linear(2 * CANDIDATES * patch, width)
        self.embed_position = nn.Parameter(0.02 * torch.randn(future, width))
        self.norm_head, self.up, self.down = (
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.Linear(2 * width, width),
        )
        self.readout = nn.Linear(width, patch * len(QUANTILES) + CANDIDATES)
        nn.init.zeros_(self.readout.weight)  # an untrained network is a blend of the seasonal continuations
        nn.init.zeros_(self.readout.bias)

    def forward(self, context: Tensor, periods: Tensor, horizon: int) -> tuple[Tensor, Scale]:
        """Deciles of the next `horizon` steps.

        `context` (B, T) in the data's units, the latest point last, NaN where nothing was observed; T a multiple
        of P. `periods` (B, S) in steps. Returns (B, H, Q) in the scaled space and the scale that inverts it.
        """
        B, P, F = len(context), self.config.patch, math.ceil(horizon / self.config.patch)
        scale = window_scale(context, periods[:, 0])  # (B, 1) each
        z = scale.apply(context)  # (B, T), NaN where missing
        window = self.embed_window(window_features(z, scale, periods))  # (B, D)
        x = self.embed_patch(point_features(z, periods).reshape(B, -1, P * POINT_FEATURES))  # (B, L, D)
        x, last = skip_padding(x + window[:, None], z)  # (B, L', D), (B,)
        for block in self.blocks:
            x = block(x)  # (B, L', D)
        cycles, known = seasonal_candidates(z, periods, F * P)  # (B, F*P, C) each
        laid = torch.cat([cycles, known.float()], -1).reshape(B, F, -1)  # (B, F, 2*C*P)
        state = (self.norm_state(pick(x, last)) + window)[:, None]  # (B, 1, D)
        h = state + self.embed_cycles(laid) + self.embed_position[:F]  # (B, F, D)
        gate, value = self.up(self.norm_head(h)).chunk(2, -1)
        out = self.readout(h + self.down(fn.silu(gate) * value))  # (B, F, P*Q + C)
        blend = out[..., -CANDIDATES:].repeat_interleave(P, 1).masked_fill(~known, -1e9).softmax(-1)  # (B, F*P, C)
        base = (blend * cycles).sum(-1)  # (B, F*P): the seasonal continuation
        steps = out[..., :-CANDIDATES].reshape(B, F * P, -1)  # (B, F*P, Q)
        return (base[..., None] + monotone(steps))[:, :horizon], scale


class PlainForecaster(nn.Module):
    """Stacked cells and one dense output over the whole horizon, as in the article: no seasons, no blocks.

    The dense gives the mean of each step; the deciles around it are normal, with the spread of the
    validation residuals (`residual_spread`, set after training, 1 before).
    """

    residual_spread: Tensor

    def __init__(self, config: ModelConfig, horizon: int) -> None:
        super().__init__()
        self.config, self.horizon = config, horizon
        sizes = [2 * config.patch] + [config.width] * config.num_layers
        self.cells = nn.ModuleList(build_cell(config.cell, i, o, config.activation) for i, o in pairwise(sizes))
        self.readout = Readout(config.width, horizon)
        self.register_buffer("residual_spread", torch.ones(horizon))

    def forward(self, context: Tensor, periods: Tensor, horizon: int) -> tuple[Tensor, Scale]:
        """As `Forecaster.forward`: (B, T), (B, S) -> (B, H, Q) scaled, and the scale."""
        scale = window_scale(context, periods[:, 0])
        z = scale.apply(context)  # (B, T)
        x = torch.stack([z.nan_to_num(0.0), (~z.isnan()).float()], -1)  # (B, T, 2)
        x = x.reshape(len(x), -1, 2 * self.config.patch)  # (B, L, 2*P)
        x, last = skip_padding(x, z)  # (B, L', 2*P), (B,)
        with torch.autocast(x.device.type, enabled=False):
            for cell in self.cells:
                x = cell(x)  # (B, L', D)
        mean = self.readout(pick(x, last))[:, :horizon]  # (B, H)
        normal = torch.special.ndtri(torch.tensor(QUANTILES, device=z.device, dtype=torch.float64)).float()  # (Q,)
        return mean[..., None] + self.residual_spread[:horizon, None] * normal, scale


Network = Forecaster | PlainForecaster


def build_network(config: ModelConfig, horizon: int, seed: int) -> Network:
    """A fresh network that decodes `horizon` steps in one pass; its weights are a function of all three."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Forecaster(config, horizon) if config.spine == "residual" else PlainForecaster(config, horizon)


def skip_padding(x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (B, L, D) of z (B, T) -> the same without wholly unobserved patches in front, and where each window ends.

    Such patches go behind the end, where a causal recurrence does not see them, and are cut off where no window of
    the batch needs the room. So a forecast does not depend on how much padding a window, or its neighbours, have.
    """
    B, L, _ = x.shape
    observed = (~z.isnan()).reshape(B, L, -1).any(-1)  # (B, L)
    front = torch.where(observed.any(1), observed.int().argmax(1), L - 1)  # (B,): unobserved patches in front
    order = (torch.arange(L - int(front.min()), device=x.device) + front[:, None]).clamp_max(L - 1)  # (B, L')
    return x.gather(1, order[..., None].expand(-1, -1, x.shape[2])), L - 1 - front


def pick(x: Tensor, index: Tensor) -> Tensor:
    """(B, L, D) at (B,) -> (B, D)."""
    return x[torch.arange(len(x), device=x.device), index]


def monotone(steps: Tensor) -> Tensor:
    """(..., Q) free numbers -> (..., Q) deciles that cannot cross: the median, and cumulated softplus widths."""
    median = steps[..., MEDIAN : MEDIAN + 1]
    below = fn.softplus(steps[..., :MEDIAN] + WIDTH_BIAS).flip(-1).cumsum(-1).flip(-1)
    above = fn.softplus(steps[..., MEDIAN + 1 :] + WIDTH_BIAS).cumsum(-1)
    return torch.cat([median - below, median, median + above], -1)


def point_features(z: Tensor, periods: Tensor) -> Tensor:
    """(B, T), (B, S) -> (B, T, 6): each point and its mask, now, one short and one long season earlier."""
    here = torch.arange(z.shape[1], device=z.device)[None, :, None]  # (1, T, 1)
    now = here.expand(z.shape[0], -1, -1)  # (B, T, 1)
    values, known = look_up(z, torch.cat([now, here - periods[:, None, :]], -1))  # (B, T, 3)
    return torch.cat([values, known.float()], -1)


def seasonal_candidates(z: Tensor, periods: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """What may lie under the horizon: values and masks, (B, steps, C) each.

    Past cycles as they were; the same raised by as much as the level has risen since; the last observed value; and
    the latest cycle (the last value, where that is unknown) carried on along the slope of the window. Step t of
    cycle k of season m is the point m * (ceil((t + 1) / m) - 1 + k) steps before T + t.
    """
    T, ahead = z.shape[1], torch.arange(steps, device=z.device)[None, :]  # (1, steps)
    seasons = torch.stack([periods[:, season] for season, _ in CYCLES], -1)  # (B, K)
    back = torch.tensor([back for _, back in CYCLES], device=z.device)  # (K,)
    m = seasons[:, None]  # (B, 1, K)
    cycles, known = look_up(z, T + ahead[..., None] - m * (ahead[..., None] // m + back))  # (B, steps, K)
    lifted = cycles + season_rise(z, periods[:, 0], seasons * back)[:, None]  # (B, steps, K), NaN where unknown
    last = last_observed(z)[:, None].expand(-1, steps)  # (B, steps)
    distance = torch.where(known[..., 0], m[..., 0] * (ahead // m[..., 0] + 1), ahead + 1)  # (B, steps)
    line = torch.where(known[..., 0], cycles[..., 0], last) + window_slope(z, periods[:, 0]) * distance
    values = torch.cat([cycles, lifted.nan_to_num(0.0), last[..., None], line[..., None]], -1)
    always = torch.ones_like(known[..., :2])
    return values, torch.cat([known, known & ~lifted.isnan(), always], -1)


def season_rise(z: Tensor, period: Tensor, age: Tensor) -> Tensor:
    """(B, T), (B,), (B, K) -> (B, K): how much the last `period` points lie above those `age` steps before each.

    A mean over the pairs of which both were observed; NaN where there is none.
    """
    back = torch.arange(1, int(period.max()) + 1, device=z.device)[None, :, None]  # (1, M, 1)
    place = (z.shape[1] - back).expand(len(z), -1, -1)  # (B, M, 1)
    now, seen = look_up(z, place)
    then, known = look_up(z, place - age[:, None])  # (B, M, K)
    both = seen & known & (back <= period[:, None, None])
    rise: Tensor = ((now - then) * both).sum(1) / both.sum(1)  # 0 / 0 is NaN
    return rise


def window_slope(z: Tensor, period: Tensor) -> Tensor:
    """(B, T), (B,) -> (B, 1): least-squares rise per step, weighted as the scale is, shrunk on few points."""
    observed = ~z.isnan()
    half_life = weights_half_life(period)  # (B, 1)
    age = torch.arange(z.shape[1] - 1, -1, -1, device=z.device) / half_life  # (B, T)
    weight = torch.exp2(-age) * observed
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-30)
    y = z.nan_to_num(0.0)
    age = age - (weight * age).sum(1, keepdim=True)
    rise = -(weight * age * (y - (weight * y).sum(1, keepdim=True))).sum(1, keepdim=True)
    return rise / ((weight * age.square()).sum(1, keepdim=True) + RIDGE) / half_life


def look_up(z: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """z (B, T) at index (B, N, K): values with 0 where there is none, and whether there is one."""
    inside = (index >= 0) & (index < z.shape[1])
    flat = index.clamp(0, z.shape[1] - 1).flatten(1)
    values = z.gather(1, flat).view(index.shape)
    known = inside & ~values.isnan()
    return torch.where(known, values, 0.0), known


def last_observed(z: Tensor) -> Tensor:
    """(B, T) -> (B,): the latest point that is not NaN, 0 where there is none."""
    position = torch.arange(z.shape[1], device=z.device).masked_fill(z.isnan(), -1).amax(1)  # (B,)
    value = z.gather(1, position.clamp_min(0)[:, None]).squeeze(1)
    return torch.where(position >= 0, value, 0.0)


def window_features(z: Tensor, scale: Scale, periods: Tensor) -> Tensor:
    """(B, 6): where zero lies, the share of zeros, the number of points, both seasons, the latest value."""
    observed = ~z.isnan()
    count = observed.sum(1).clamp_min(1)
    zero = scale.apply(torch.zeros_like(scale.level))  # (B, 1): arcsinh of -level / spread
    zeros = ((z - zero).abs() < 1e-6).sum(1) / count  # NaN compares false
    logs = torch.log(torch.stack([count, periods[:, 0], periods[:, 1]], -1).float()) / 5
    return torch.cat([zero.clamp(-8, 8) / 4, zeros[:, None], logs, last_observed(z)[:, None]], -1)
