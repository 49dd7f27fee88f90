"""Values that are a million times as large as what is usual in their series: told, as they may be typing errors.

They are kept: what is an error and what is not, the numbers alone do not say.
"""

import polars as pl

TIMES = 1e6  # the usual size of the series: units that were mixed up differ by a thousand, and are not told here
MOST = 0.05  # share of a series; more of them are usual themselves
LEAST = 5  # values that are not zero, under which nothing is usual


def absurd_values(rows: pl.DataFrame) -> tuple[str, ...]:
    """What a person has to know, 0 or 1 line. `rows`: unique_id, ds, y, sorted; the usual size is the median one."""
    size = pl.col("y").abs()
    sizes = rows.filter(size > 0)
    spread = sizes.group_by("unique_id").agg(
        usual=size.median(), largest=size.max(), values=pl.len(), absurd=(size > TIMES * size.median()).sum()
    )
    found = spread.filter(
        (pl.col("values") >= LEAST) & (pl.col("absurd") > 0) & (pl.col("absurd") <= MOST * pl.col("values") + 1)
    ).sort("unique_id")
    if found.is_empty():
        return ()
    name, usual, largest = found.select("unique_id", "usual", "largest").row(0)
    when = sizes.filter((pl.col("unique_id") == name) & (size == largest)).select(
        pl.col("ds").dt.strftime("%Y-%m-%d %H:%M")
    )
    where = f"{largest:.3g} at {when.item(0, 0)} in series {name!r}, where {usual:.3g} is usual"
    return (
        f"values over {TIMES:,.0f} times the usual size in {found.height} series, e.g. {where}; they spoil forecasts "
        "and errors: make them missing if they are mistakes",
    )
