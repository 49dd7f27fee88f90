"""Accuracy of forecasts beside what came, point by point: a mean over any part of them is then one grouping.

The same figures as `tasks.metrics` gives for whole windows, whose cost grows with cutoffs times history: too much where
every day adds a cutoff.
"""

from collections.abc import Iterable

import polars as pl

from rnn_model.config import DECILES
from tasks.metrics import DEFINITIONS, KEYS, MEDIAN, quantile_loss
from tasks.scale import scales

__all__ = ["MEANING", "PARTS", "by_part", "points", "scales"]

PARTS = ("MASE", "SQL", "WQL", "coverage_80", "bias")
MEANING = {name: DEFINITIONS[name] for name in ("MASE", "SQL", "WQL", "coverage_80", "season", "weights")} | {
    "bias": "mean (median - y) over the scale of MASE: above 0 where forecasts are too high"
}
Y = pl.col("y")


def points(forecasts: pl.DataFrame, scale: pl.DataFrame) -> pl.DataFrame:
    """One line per forecast of a value that came, with MASE, SQL, bias (null without a scale), ql, size and hit.

    `forecasts`: unique_id, cutoff, ds, step, y, the deciles, and what else there is, which is kept.
    """
    above = pl.col(MEDIAN) - Y
    return (
        forecasts.filter(Y.is_not_null())
        .join(scale, on=KEYS, how="left", maintain_order="left")
        .with_columns(ql=quantile_loss(), size=Y.abs(), hit=Y.is_between(pl.col("0.1"), pl.col("0.9")))
        .with_columns(
            MASE=above.abs() / pl.col("scale"), SQL=2 * pl.col("ql") / pl.col("scale"), bias=above / pl.col("scale")
        )
        .drop(DECILES)
    )


def by_part(scored: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """part (all, step=1 ..., and the groups'), forecasts, MASE, SQL, WQL, coverage_80, bias, in this order.

    `scored`: as `points` gives it. `groups`: unique_id, part. A figure that nothing is known of is null.
    """
    steps = scored.sort("step").with_columns(part=pl.format("step={}", "step"))
    grouped = scored.join(groups, on="unique_id").sort("part")
    return pl.concat([_means(scored.with_columns(part=pl.lit("all"))), _means(steps), _means(grouped)])


def _means(labelled: pl.DataFrame) -> pl.DataFrame:
    size = pl.col("size").sum()
    means: Iterable[pl.Expr] = [
        pl.len().cast(pl.Int64).alias("forecasts"),
        pl.col("MASE").mean(),
        pl.col("SQL").mean(),
        pl.when(size > 0).then(2 * pl.col("ql").sum() / size).alias("WQL"),
        pl.col("hit").mean().alias("coverage_80"),
        pl.col("bias").mean(),
    ]
    return labelled.group_by("part", maintain_order=True).agg(*means)
