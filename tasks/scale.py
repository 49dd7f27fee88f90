"""The scale of MASE, RMSSE and SQL: how far a history moves from one season to the next.

A history that repeats itself but for rounding error has no scale, like one that never changes. Divided by what rounding
left of its differences, its errors would be a billion times those of any other series, and the mean would be theirs.
"""

import polars as pl

WINDOW = ["unique_id", "cutoff"]
Y = pl.col("y")
LEVEL_FLOOR = 2.0**-42  # of the largest value: 1024 units in its last place (double precision keeps 53 bits)
SINGLE_FLOOR = 2.0**-20  # the same where every value is one of single precision (24 bits): 8 units
RANGE_FLOOR = 1e-9  # of highest less lowest: a computed season, sin(2 pi t / m), strays by 2e-11 after a million steps


def scales(history: pl.DataFrame, windows: pl.DataFrame, season: int) -> pl.DataFrame:
    """unique_id, cutoff, scale: the mean absolute seasonal difference up to each cutoff, null where there is none.

    `history`: unique_id, ds, y. `windows`: unique_id, cutoff. Differences are one step apart in a history no longer
    than a season. Missing values are left out before differences are taken. There is none where no difference exceeds
    rounding error (`rounding`), so a history that changed once by an amount that counts has its scale.
    """
    seen = history.filter(Y.is_not_null()).sort("unique_id", "ds")
    known = pl.int_range(1, pl.len() + 1).over("unique_id")

    def mean_difference(lag: int) -> pl.Expr:
        step = (Y - Y.shift(lag)).abs().fill_null(0.0)
        total, largest = step.cum_sum().over("unique_id"), step.cum_max().over("unique_id")
        return pl.when((known > lag) & (largest > rounding())).then(total / (known - lag))

    scale = pl.when(known > season).then(mean_difference(season)).otherwise(mean_difference(1))
    upto = seen.select("unique_id", "ds", scale=scale).sort("ds")
    asked = windows.select(WINDOW).unique().sort("cutoff")
    found = asked.join_asof(upto, left_on="cutoff", right_on="ds", by="unique_id", check_sortedness=False)
    return found.select(*WINDOW, "scale").sort(WINDOW)


def rounding() -> pl.Expr:
    """The largest difference that rounding alone could make in each history up to each of its rows.

    It is relative to the largest value, by the precision that the values are kept in, and to the range: a season that
    is computed anew every year carries the rounding of its argument. It is far below what is measured: 1e9 + N(0, 1)
    moves by 4 million units in the last place, and by half of its range.
    """
    single = (Y.cast(pl.Float32).cast(pl.Float64) == Y).cum_min().over("unique_id")
    whole = (Y.round() == Y).cum_min().over("unique_id")  # counts are exact in either precision
    precision = pl.when(single & ~whole).then(SINGLE_FLOOR).otherwise(LEVEL_FLOOR)
    largest = Y.abs().cum_max().over("unique_id")
    span = (Y.cum_max() - Y.cum_min()).over("unique_id")
    return pl.max_horizontal(precision * largest, RANGE_FLOOR * span)


def unscaled(scores: pl.DataFrame) -> dict[str, int]:
    """Series -> how many of its scored windows have no scale, of a frame that `tasks.metrics.per_series` made."""
    without = scores.filter(pl.col("MASE").is_null() & pl.col("MAE").is_finite())
    counts = without.group_by("unique_id").len().sort("unique_id")
    return {str(name): int(n) for name, n in counts.iter_rows()}
