"""How much better one model is than another: over all series, in each segment, at each step ahead."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rnn_model.seeding import numpy_rng
from tasks.config import JudgingConfig
from tasks.handles import Effect
from tasks.pairing import Pairs
from tasks.significance import Floats, gain_interval, p_value, relative_gain, shares


@dataclass(frozen=True)
class Trial:
    """Losses (N, S, C) of both models, NaN where a series has no window at that date."""

    champion: Floats
    challenger: Floats
    lags: int

    def among(self, series: NDArray[np.bool_]) -> "Trial":
        """The same with some of the series, and the dates they have."""
        dates = ~np.isnan(self.champion[:, series]).all((0, 1))
        return Trial(self.champion[:, series][:, :, dates], self.challenger[:, series][:, :, dates], self.lags)


def effects_table(pairs: Pairs, groups: pl.DataFrame, config: JudgingConfig, seed: int = 0) -> tuple[Effect, ...]:
    """The effect over all series with its p, then in each segment, then at each step; empty without a window.

    `groups`: unique_id, part, as `tasks.segments.segments` makes them. Gains and interval ends are shares.
    """
    if pairs.windows.is_empty():
        return ()
    names = pairs.windows["unique_id"].unique().sort()
    whole = lay_out(pairs.windows.with_columns(step=0), names, pairs.lags)
    rng = numpy_rng(seed, "gate signs")
    p = p_value(whole.champion, whole.challenger, whole.lags, config.level, rng, config.resamples)
    effects = [effect.model_copy(update={"p": float(p[0])}) for effect in measure(["all"], whole, config, seed)]
    for (part,), members in groups.sort("part").group_by("part", maintain_order=True):
        inside = names.is_in(members["unique_id"].implode()).to_numpy()
        if inside.any():
            effects += measure([str(part)], whole.among(inside), config, seed)
    steps = pairs.steps["step"].unique().sort()
    ahead = lay_out(pairs.steps, names, pairs.lags)
    return (*effects, *measure([f"step={step}" for step in steps], ahead, config, seed))


def lay_out(losses: pl.DataFrame, names: pl.Series, lags: int) -> Trial:
    """A frame of unique_id, date, step, champion, challenger as arrays (step, series, date).

    Raises ValueError where two windows of one series share a date: one would take the other's place.
    """
    place = ["unique_id", "date", "step"]
    full = losses.group_by(place).len().filter(pl.col("len") > 1).sort(place)
    if full.height:
        name, date, step, n = full.row(0)
        raise ValueError(
            f"series {name!r} has {n} windows at date {date}, step {step}; one is allowed, so date each apart"
        )
    frame = losses.select(
        pl.col("step").rank("dense").cast(pl.Int64) - 1,
        pl.col("unique_id").replace_strict(names, np.arange(len(names)), return_dtype=pl.Int64),
        pl.col("date").rank("dense").cast(pl.Int64) - 1,
        "champion",
        "challenger",
    )
    at = tuple(frame[name].to_numpy() for name in ("step", "unique_id", "date"))
    shape = (at[0].max() + 1, len(names), at[2].max() + 1)
    arrays = {name: np.full(shape, np.nan) for name in ("champion", "challenger")}
    for name, array in arrays.items():
        array[at] = frame[name].to_numpy()
    return Trial(**arrays, lags=lags)


def measure(parts: list[str], trial: Trial, config: JudgingConfig, seed: int) -> list[Effect]:
    """One effect per part, the parts being the first axis of the trial. Series count alike, whatever their windows."""
    old, new = shares(trial.champion).sum((1, 2)), shares(trial.challenger).sum((1, 2))
    known = ~np.isnan(trial.champion)
    series, windows = known.any(2).sum(1), known.sum((1, 2))
    gain = relative_gain(old, new)
    rng = numpy_rng(seed, "gate interval")
    low, high = gain_interval(trial.champion, trial.challenger, trial.lags, config.level, rng, config.resamples)
    return [
        Effect(
            part=part,
            series=int(series[i]),
            windows=int(windows[i]),
            champion=float(old[i] / series[i]),
            challenger=float(new[i] / series[i]),
            gain=float(gain[i]),
            low=float(low[i]),
            high=float(high[i]),
        )
        for i, part in enumerate(parts)
    ]
