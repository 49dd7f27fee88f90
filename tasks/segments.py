"""Groups of series that a good mean must not hide: by length, by size, by how often nothing happens.

Only what stood before a series' first cutoff counts, so the groups are the same whichever model is asked.
"""

from collections.abc import Iterable

import polars as pl

ADI, CV2 = 1.32, 0.49  # cut-offs of Syntetos, Boylan and Croston (2005), J. Oper. Res. Soc. 56, 495-503
Y = pl.col("y")
KINDS = ("length", "volume", "intermittency")
OWN = "segment"  # the grouping that the data brings along


def segments(
    history: pl.DataFrame, windows: pl.DataFrame, kinds: Iterable[str], labels: pl.DataFrame | None = None
) -> pl.DataFrame:
    """unique_id, part (e.g. length=short), a line per series and grouping; a grouping of one group is left out.

    `history`: unique_id, ds, y. `windows`: unique_id, cutoff. `kinds` of length, volume, intermittency.
    `labels`: a grouping of one's own, unique_id and label; a series without a label stands in no group of it.
    """
    first = windows.group_by("unique_id").agg(first=pl.col("cutoff").min())
    before = history.join(first, on="unique_id").filter((pl.col("ds") <= pl.col("first")) & Y.is_not_null())
    profile = before.group_by("unique_id").agg(
        length=pl.len(),
        volume=Y.abs().mean(),
        intervals=pl.len() / (Y != 0).sum(),  # ADI: periods per demand
        spread=(Y.abs().filter(Y != 0).std(ddof=0) / Y.abs().filter(Y != 0).mean()) ** 2,
    )
    made = {
        "length": thirds("length", ("short", "middle", "long")),
        "volume": thirds("volume", ("low", "middle", "high")),
        "intermittency": demand(),
    }
    parts = [profile.select("unique_id", part=pl.lit(f"{kind}=") + made[kind]) for kind in kinds]
    if labels is not None:
        own = labels.join(first, on="unique_id", how="semi").filter(pl.col("label").is_not_null())
        parts.append(own.select("unique_id", part=pl.lit(f"{OWN}=") + pl.col("label").cast(pl.String)))
    several = [part for part in parts if part["part"].n_unique() > 1]
    return pl.concat(several or [pl.DataFrame(schema={"unique_id": pl.String, "part": pl.String})]).sort(
        "part", "unique_id"
    )


def thirds(column: str, names: tuple[str, str, str]) -> pl.Expr:
    """Three groups of about a third each; equal values stay together, so few distinct values make fewer groups."""
    place = (pl.col(column).rank("average") - 0.5) / pl.len()
    low, middle, high = map(pl.lit, names)
    return pl.when(place < 1 / 3).then(low).when(place < 2 / 3).then(middle).otherwise(high)


def demand() -> pl.Expr:
    """The four kinds of demand, and the series in which nothing happens at all."""
    often, even = pl.col("intervals") < ADI, pl.col("spread") < CV2
    steady = pl.when(even).then(pl.lit("smooth")).otherwise(pl.lit("erratic"))
    seldom = pl.when(even).then(pl.lit("intermittent")).otherwise(pl.lit("lumpy"))
    return pl.when(pl.col("intervals").is_infinite()).then(pl.lit("zero")).when(often).then(steady).otherwise(seldom)
