"""The forecaster: scaled patches through recurrent blocks, then every future patch decoded in one pass.

Shapes: B windows, T points of context, L = T / P patches of P points, H horizon, F = ceil(H / P) future
patches, D width, Q quantiles, C candidates.
"""

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from rnn_model.cells import Readout, build_cell
from rnn_model.config import MEDIAN, QUANTILES, ModelConfig
from rnn_model.features import (
    CANDIDATES,
    FITTED_AT,
    POINT_FEATURES,
    WINDOW_FEATURES,
    seasonal_candidates,
    view_window,
)
from rnn_model.lags import last_observed
from rnn_model.scaling import Scale, window_scale

TRUST = 2.0  # to begin with, candidates weigh by this power of the inverse of their errors
HEAD_START = 3.0  # and fitted ones, two among nearly sixty, e^3 times as much as another of equal error
WIDTH_BIAS = -1.0  # softplus(-1) = 0.31: the deciles of a first step's errors to begin with


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
        self.trust = nn.Parameter(torch.full((CANDIDATES,), TRUST))  # in how a candidate has done lately
        nn.init.zeros_(self.readout.weight)  # an untrained network is a blend of the candidates by their record
        nn.init.zeros_(self.readout.bias)
        nn.init.constant_(self.readout.bias[-CANDIDATES:][FITTED_AT], HEAD_START)

    def forward(self, context: Tensor, periods: Tensor, horizon: int) -> tuple[Tensor, Scale]:
        """Deciles of the next `horizon` steps.

        `context` (B, T) in the data's units, the latest point last, NaN where nothing was observed; T a multiple
        of P. `periods` (B, 2) in steps, as stated. Returns (B, H, Q) in the scaled space and the scale that inverts it.
        """
        B, P, F = len(context), self.config.patch, math.ceil(horizon / self.config.patch)
        context = trim(context, P)
        scale = window_scale(context, periods[:, 0])  # (B, 1) each
        z = scale.apply(context)  # (B, T), NaN where missing
        view = view_window(z, scale, periods)
        window = self.embed_window(view.window)  # (B, D)
        x = self.embed_patch(view.points.reshape(B, -1, P * POINT_FEATURES))  # (B, L, D)
        x, last = skip_padding(x + window[:, None], z)  # (B, L, D), (B,)
        for block in self.blocks:
            x = block(x)  # (B, L, D)
        past, known = seasonal_candidates(z, view.periods, view.pair, F * P)  # (B, F*P, C) each
        unit = view.unit[:, None, None]  # (B, 1, 1)
        near = torch.asinh((past - last_observed(z)[:, None, None]) / unit) * known  # (B, F*P, C)
        laid = torch.cat([near, known.float()], -1).reshape(B, F, -1)  # (B, F, 2*C*P)
        state = (self.norm_state(pick(x, last)) + window)[:, None]  # (B, 1, D)
        h = state + self.embed_cycles(laid) + self.embed_position[:F]  # (B, F, D)
        gate, value = self.up(self.norm_head(h)).chunk(2, -1)
        out = self.readout(h + self.down(fn.silu(gate) * value))  # (B, F, P*Q + C)
        trust = out[..., -CANDIDATES:] + self.trust * view.record[:, None]  # (B, F, C)
        blend = trust.repeat_interleave(P, 1).masked_fill(~known, -1e9).softmax(-1)  # (B, F*P, C)
        base = (blend * past).sum(-1, keepdim=True)  # (B, F*P, 1): what is known, carried on
        steps = monotone(out[..., :-CANDIDATES].reshape(B, F * P, -1))  # (B, F*P, Q)
        return (base + unit * steps)[:, :horizon], scale


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
        context = trim(context, self.config.patch)
        scale = window_scale(context, periods[:, 0])
        z = scale.apply(context)  # (B, T)
        x = torch.stack([z.nan_to_num(0.0), (~z.isnan()).float()], -1)  # (B, T, 2)
        x = x.reshape(len(x), -1, 2 * self.config.patch)  # (B, L, 2*P)
        x, last = skip_padding(x, z)  # (B, L, 2*P), (B,)
        with torch.autocast(x.device.type, enabled=False):
            for cell in self.cells:
                x = cell(x)  # (B, L, D)
        mean = self.readout(pick(x, last))[:, :horizon]  # (B, H)
        normal = torch.special.ndtri(torch.tensor(QUANTILES, device=z.device, dtype=torch.float64)).float()  # (Q,)
        return mean[..., None] + self.residual_spread[:horizon, None] * normal, scale


class Ensemble(nn.Module):
    """Networks of one config and horizon, forecasting together: in the scaled space the mean of theirs, by decile.

    So deciles in order cannot cross (Lichtendahl, Grushka-Cockayne and Winkler, 2013, "Is it better to average
    probabilities or quantiles?").
    """

    def __init__(self, members: Sequence[Forecaster | PlainForecaster]) -> None:
        super().__init__()
        self.config, self.horizon = members[0].config, members[0].horizon
        self.members = nn.ModuleList(members)

    def forward(self, context: Tensor, periods: Tensor, horizon: int) -> tuple[Tensor, Scale]:
        """As `Forecaster.forward`: (B, T), (B, S) -> (B, H, Q) scaled, and the scale, which is the members' own."""
        made = [member(context, periods, horizon) for member in self.members]
        return torch.stack([deciles for deciles, _ in made]).mean(0), made[0][1]


Network = Forecaster | PlainForecaster | Ensemble


def build_network(config: ModelConfig, horizon: int, seed: int, members: int = 1) -> Network:
    """A fresh network that decodes `horizon` steps in one pass; its weights are a function of all four."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        kind = Forecaster if config.spine == "residual" else PlainForecaster
        networks = [kind(config, horizon) for _ in range(members)]
    return Ensemble(networks) if members > 1 else networks[0]


def members_of(network: nn.Module) -> list[Forecaster | PlainForecaster]:
    """The networks that forecast together; of a single one, that one."""
    members = list(network.members) if isinstance(network, Ensemble) else [network]
    return cast("list[Forecaster | PlainForecaster]", members)


def own_name(parameter: str) -> str:
    """What a parameter of any member is called in its network: members.1.readout.bias -> readout.bias."""
    return re.sub(r"^members\.\d+\.", "", parameter)


def trim(context: Tensor, patch: int) -> Tensor:
    """(B, T) -> (B, T'): without the patches in front in which no window has an observation; one stays at least."""
    first = int((~context.isnan()).any(0).int().argmax())
    start = min(first, context.shape[1] - patch) // patch * patch
    return context[:, start:]


def skip_padding(x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (B, L, D) of z (B, T) -> the same without wholly unobserved patches in front, and where each window ends.

    Such patches go behind the end, where a causal recurrence does not see them. So a forecast does not depend on how
    much padding a window, or its neighbours, have.
    """
    B, L, _ = x.shape
    observed = (~z.isnan()).reshape(B, L, -1).any(-1)  # (B, L)
    front = torch.where(observed.any(1), observed.int().argmax(1), L - 1)  # (B,): unobserved patches in front
    order = (torch.arange(L, device=x.device) + front[:, None]).clamp_max(L - 1)  # (B, L)
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
