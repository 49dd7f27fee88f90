"""How sure the table is: bootstrap intervals of its figures, with whole series drawn again.

The windows of one series resemble each other, so it is series that are resampled, each with all its windows. Every
model sees the same draws, which makes differences between models paired.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from rnn_model.seeding import numpy_rng

Array = np.ndarray[Any, np.dtype[np.float64]]
LEVEL = 0.95  # share of draws inside an interval
RESAMPLES = 2000
AT_ONCE = 200  # draws held in memory together
N = pl.col("n")
SUMS = {  # metric -> what is summed over series above and below the line, as `metrics.overall` does
    "MASE": (pl.col("MASE") * N, N.filter(pl.col("MASE").is_not_null())),
    "SQL": (pl.col("SQL") * N, N.filter(pl.col("SQL").is_not_null())),
    "WQL": (2 * pl.col("QL") * N, pl.col("sum_abs")),
    "coverage_80": (pl.col("coverage_80") * N, N),
}


@dataclass(frozen=True)
class Interval:
    """A figure with the ends of its interval; they are NaN where fewer than two series tell nothing of it."""

    value: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))


def intervals(scores: pl.DataFrame, metric: str, seed: int = 0, against: str | None = None) -> dict[str, Interval]:
    """Model -> its figure over all series, with a percentile interval at LEVEL.

    `scores` holds one line per (model, unique_id, cutoff). With `against`, the figure is the loss relative to that
    model's, less 1: positive is worse. Drawn are series alone; how much other times could change, the gate looks at.
    """
    models, above, below = series_sums(scores, metric)
    value, drawn = divided(above.sum(1), below.sum(1)), resampled(above, below, seed)
    if against is not None:
        place = models.index(against)
        value, drawn = divided(value, value[place]) - 1, divided(drawn, drawn[:, [place]]) - 1
    low, high = ends(drawn) if above.shape[1] > 1 else (np.full_like(value, np.nan),) * 2
    triples = zip(value.tolist(), low.tolist(), high.tolist(), strict=True)
    return {model: Interval(*triple) for model, triple in zip(models, triples, strict=True)}


def series_sums(scores: pl.DataFrame, metric: str) -> tuple[list[str], Array, Array]:
    """Models, and the two sums (M, S) of a metric's fraction for each of them and each series."""
    above, below = SUMS[metric]
    sums = scores.group_by("model", "unique_id", maintain_order=True).agg(above=above.sum(), below=below.sum())
    models = sums["model"].unique(maintain_order=True).to_list()
    wide = [sums.pivot("model", index="unique_id", values=part).fill_null(0.0) for part in ("above", "below")]
    both = [table.sort("unique_id").select(models).to_numpy().T.astype(np.float64) for table in wide]
    return models, both[0], both[1]


def resampled(above: Array, below: Array, seed: int) -> Array:
    """The fraction of sums (R, M) over RESAMPLES draws of as many series as there are, with replacement."""
    rng, size = numpy_rng(seed, "leaderboard intervals"), above.shape[1]
    parts = []
    for _ in range(RESAMPLES // AT_ONCE):
        drawn = rng.integers(0, size, (AT_ONCE, size))
        times = np.stack([np.bincount(row, minlength=size) for row in drawn]).astype(np.float64)  # (AT_ONCE, S)
        parts.append(divided(times @ above.T, times @ below.T))
    return np.concatenate(parts)


def ends(drawn: Array) -> tuple[Array, Array]:
    """Lower and upper end (M,) of draws (R, M); a draw without a figure, of series that have none, does not count."""
    tail = 100 * (1 - LEVEL) / 2
    masked = np.where(np.isfinite(drawn).any(0), drawn, 0.0)  # a model without any figure gets its NaN back below
    low, high = np.nanpercentile(masked, [tail, 100 - tail], axis=0)
    empty = ~np.isfinite(drawn).any(0)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def divided(above: Array, below: Array) -> Array:
    """A quotient that is NaN, without a warning, where the divisor is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient: Array = np.where(below == 0, np.nan, above / below)
    return quotient
