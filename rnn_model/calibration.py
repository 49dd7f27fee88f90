"""Conformal calibration: how far each decile lies from the median, set by truths that no training has seen.

A decile's factor is the quantile of (y - median) / (decile - median) over windows whose end is known, after Romano et
al., 2019, "Conformalized quantile regression", with a ratio as its score, so that one factor fits series of every size.
Their correction for small samples, which can only widen, is left out; instead a quantile is moved towards 1, and not
past it, by half the standard error of its share (the interval is that of Woodruff, 1952, "Confidence intervals for
medians and other position measures"). Windows of one time share what happened then; so the windows are parted by time,
and a decile moves only as far as every part asks for. The median never moves. Shapes: B windows, H horizon, Q
quantiles, G groups of steps.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from rnn_model.config import MEDIAN, QUANTILES, Section
from rnn_model.windows import Floats, Ints

Bools = npt.NDArray[np.bool_]
LEAST = 30  # series without which nothing moves; those of a few, however many windows, made other times worse
PARTS = 3  # of the windows by time, at most: more would hardly ever agree
ENOUGH = 100  # series that a part by time needs for a say of its own, and for each group of steps
ERRORS = 0.5  # standard errors of the share below a quantile by which a part asks for less than it shows
RANGE = (0.5, 2.0)  # of a factor: what asks for more is a bias of the median, which no width mends


class Calibration(Section):
    """What was done to a model's deciles, and what that rests on."""

    factors: tuple[tuple[float, ...], ...] = Field(
        (), description="per group of steps: times the distance of each decile from the median; none: not adjusted"
    )
    until: tuple[int, ...] = Field((), description="last step of each group; beyond, the last group's factors hold")
    windows: int = Field(0, ge=0, description="windows it rests on")
    series: int = Field(0, ge=0, description="series they are of")
    parts: int = Field(0, ge=0, description="parts by time that had to agree")
    coverage_80: float | None = Field(None, description="share of their truths in the 80% interval, unadjusted")
    note: str = Field(description="in words")

    @model_validator(mode="after")
    def _rows_fit(self) -> "Calibration":
        rows, wanted = self.factors, len(QUANTILES)
        if len(rows) != len(self.until) or any(len(row) != wanted or row[MEDIAN] != 1 for row in rows):
            raise ValueError(f"factors are {wanted} for each of the {len(self.until)} groups of steps, 1 at the median")
        if not all(0 < factor < np.inf for row in rows for factor in row):
            raise ValueError("factors are positive and finite; calibrate the model anew")
        return self


class Known(NamedTuple):
    """Forecasts whose truth has come, in the data's units.

    deciles (B, H, Q); truth (B, H), NaN where missing; series (B,) by number; time (B,), larger for earlier windows.
    """

    deciles: Floats
    truth: Floats
    series: Ints
    time: Ints


def calibrate(known: Known) -> Calibration:
    """The factors that the windows agree on; none, with the reason, where they are of too few series."""
    seen, series = coverage_80(known.deciles, known.truth), count(known.series)
    base = Calibration(windows=len(known.series), series=series, coverage_80=seen, note="")
    rests = f"{base.windows} windows of {series} series"
    parts = parts_by_time(known)
    if not parts:
        return base.model_copy(update={"note": f"not adjusted: {rests}, {LEAST} series are needed"})
    groups = step_groups(known, parts)
    score = ratios(known.deciles, known.truth)  # (B, H, Q)
    factors = agreed(np.stack([part_factors(score[part], known.series[part], groups) for part in parts]))  # (G, Q)
    one, times = len(parts) == 1, f"{len(parts)} times"
    if (factors == 1).all():
        said = ", all times together, ask for no change" if one else f" at {times} agree on no decile"
        return base.model_copy(update={"parts": len(parts), "note": f"not adjusted: {rests}{said}"})
    said = "all times together" if one else f"{times} agreeing"
    moved = f"0.1 x{factors[:, 0].mean():.2f}, 0.9 x{factors[:, -1].mean():.2f}"
    if (factors[:, [0, -1]] == 1).all():
        moved = "only deciles between 0.1 and 0.9"
    return Calibration(
        factors=tuple(map(tuple, factors.tolist())),
        until=tuple(int(group[-1]) + 1 for group in groups),
        windows=base.windows,
        series=series,
        parts=len(parts),
        coverage_80=seen,
        note=f"adjusted on {rests}, {said}: {moved}",
    )


def adjust(deciles: Floats, calibration: Calibration | None, negative: Bools) -> Floats:
    """Deciles (B, H, Q) with calibrated distances from the median, in order; the median is bit-equal.

    `negative` (B,) says of which windows an observed value is negative; of the others no decile is. Past the steps
    that were calibrated the last group's factors hold. Without factors the deciles come back as they are.
    """
    if calibration is None or not calibration.factors:
        return deciles
    steps = np.arange(1, deciles.shape[1] + 1)
    group = np.searchsorted(calibration.until, steps).clip(max=len(calibration.until) - 1)
    factor = np.array(calibration.factors)[group]  # (H, Q)
    centre = deciles[..., MEDIAN : MEDIAN + 1]
    moved = np.where(factor == 1, deciles, centre + factor * (deciles - centre))
    moved = np.where(negative[:, None, None], moved, np.maximum(moved, 0.0))
    above = np.maximum.accumulate(moved[..., MEDIAN:], -1)
    below = np.minimum.accumulate(moved[..., MEDIAN::-1], -1)[..., ::-1]
    return np.concatenate([below[..., :-1], above], -1)


def coverage_80(deciles: Floats, truth: Floats) -> float | None:
    """Share of the observed truths (B, H) from the first to the last of the deciles (B, H, Q); None without any."""
    seen = ~np.isnan(truth)
    inside = (truth >= deciles[..., 0]) & (truth <= deciles[..., -1])
    return float(inside[seen].mean()) if seen.any() else None


def parts_by_time(known: Known) -> list[Bools]:
    """Which windows (B,) are of which part: one of under ENOUGH series joins its neighbour; none of under LEAST."""
    times = np.unique(known.time)
    parts: list[Bools] = []
    for chunk in np.array_split(times, min(PARTS, max(len(times), 1))):
        part = np.isin(known.time, chunk)
        if parts and min(count(known.series[p]) for p in (part, parts[-1])) < ENOUGH:
            parts[-1] = parts[-1] | part
        else:
            parts.append(part)
    return [part for part in parts if count(known.series[part]) >= LEAST]


def step_groups(known: Known, parts: Sequence[Bools]) -> list[Ints]:
    """Neighbouring steps (from 0) that are calibrated together: each by itself where the series allow it."""
    horizon = known.truth.shape[1]
    fewest = min(count(known.series[part]) for part in parts)
    return np.array_split(np.arange(horizon), min(horizon, max(1, fewest // ENOUGH)))


def ratios(deciles: Floats, truth: Floats) -> Floats:
    """(B, H, Q) how far the truth lies from the median, in distances of each decile; NaN where there is none."""
    centre = deciles[..., MEDIAN : MEDIAN + 1]
    distance = np.where(deciles == centre, np.nan, deciles - centre)
    with np.errstate(over="ignore", invalid="ignore"):  # distances next to nothing; missing values that signal
        score: Floats = (truth[..., None] - centre) / distance
    return score


def part_factors(score: Floats, series: Ints, groups: Sequence[Ints]) -> Floats:
    """(G, Q) the factors that the windows of one part ask for: nearest to 1 within the error of their quantile.

    The steps of a series count as one observation; what rests on under LEAST series asks for nothing.
    """
    factors = np.ones((len(groups), len(QUANTILES)))
    for row, group in zip(factors, groups, strict=True):
        for k, q in enumerate(QUANTILES):
            own = score[:, group, k]
            told = np.isfinite(own)
            units = count(series[told.any(1)])
            if k != MEDIAN and units >= LEAST:
                level = max(q, 1 - q)
                error = ERRORS * np.sqrt(level * (1 - level) / units)
                row[k] = np.clip(1.0, *np.quantile(own[told], [level - error, level + error])).clip(*RANGE)
    return factors


def agreed(asked: Floats) -> Floats:
    """(parts, G, Q) -> (G, Q): the factor nearest to 1, and 1 where one part would widen what another would narrow."""
    log = np.log(asked)
    same = (np.sign(log) == np.sign(log[0])).all(0)
    nearest = np.take_along_axis(asked, np.abs(log).argmin(0)[None], 0)[0]
    return np.where(same, nearest, 1.0)


def count(series: Ints) -> int:
    """How many different series there are."""
    return len(np.unique(series))
