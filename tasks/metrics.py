"""Accuracy of forecasts, by the definitions the published tables use; the sums themselves come from utilsforecast.

A forecast frame is long: unique_id, cutoff, ds, step (1 to h), y, and the deciles 0.1 to 0.9.
"""

import numpy as np
import polars as pl
from utilsforecast import losses

from rnn_model.config import DECILES, QUANTILES
from tasks.scale import scales

MEDIAN = "0.5"
METRICS = ("MASE", "RMSSE", "sMAPE", "MAE", "WQL", "SQL", "coverage_80", "OWA")
DEFINITIONS = {
    "MASE": "mean |y - median| over series and steps, each over the mean absolute seasonal difference of its history",
    "RMSSE": "root of mean squared error over mean squared seasonal difference of the history, averaged over series",
    "sMAPE": "mean of 200 |y - median| / (|y| + |median|), in percent; steps where both are 0 are left out",
    "MAE": "mean |y - median|, in the data's units",
    "WQL": "2 * summed quantile loss / summed |y|, averaged over the nine deciles; unknown where every y is 0",
    "SQL": "2 * mean quantile loss over steps and the nine deciles, over the scale of MASE, averaged over series",
    "coverage_80": "share of y from the 0.1 to the 0.9 decile",
    "OWA": "mean of sMAPE and MASE, each relative to SeasonalNaive on the same windows",
    "season": "differences are one season apart; one step where the history is no longer than a season",
    "weights": "every observed (series, cutoff, step) counts once; MASE, RMSSE and SQL skip it where there is no scale",
    "no scale": "no seasonal difference of the history exceeds rounding error: 2^-42 of its largest value (2^-20 where "
    "all values are of single precision) or 1e-9 of its range",
}
KEYS = ["unique_id", "cutoff"]
SCALED = ("MASE", "RMSSE", "SQL")  # unknown where the history never changes, but for rounding error
NOT_BOTH_ZERO = (pl.col("y") != 0) | (pl.col(MEDIAN) != 0)


def per_series(forecast: pl.DataFrame, history: pl.DataFrame, season: int) -> pl.DataFrame:
    """One line per (unique_id, cutoff): n observed steps, MASE, RMSSE, SQL, sMAPE, MAE, QL, coverage_80, sum_abs.

    `history` holds unique_id, ds, y of every series; rows after a cutoff do not count towards its scale.
    MASE, RMSSE and SQL are null where the history has no scale (`tasks.scale.scales`).
    """
    seen = forecast.filter(pl.col("y").is_not_null())
    past = history.filter(pl.col("y").is_not_null()).select("unique_id", "ds", "y")
    frame = seen.select(*KEYS, "ds", "y", *DECILES, m=MEDIAN, **{"m-lo-80": pl.col("0.1"), "m-hi-80": pl.col("0.9")})
    parts = [
        seen.group_by(KEYS).agg(n=pl.len(), n_smape=NOT_BOTH_ZERO.sum(), sum_abs=pl.col("y").abs().sum()),
        losses.mae(frame, ["m"]).rename({"m": "MAE"}),
        losses.smape(frame, ["m"]).rename({"m": "sMAPE"}),
        losses.mqloss(frame, {"QL": list(DECILES)}, np.array(QUANTILES)),
        losses.coverage(frame, ["m"], 80).rename({"m": "coverage_80"}),
        _scaled(frame, past, season),
    ]
    out = parts[0]
    for part in parts[1:]:
        out = out.join(part, on=KEYS, how="left", maintain_order="left")
    # utilsforecast counts 0 / 0 as 0 and ends at 1; the published tables leave such steps out and end at 200
    smape = pl.when(pl.col("n_smape") > 0).then(200 * pl.col("sMAPE") * pl.col("n") / pl.col("n_smape"))
    result: pl.DataFrame = out.with_columns(sMAPE=smape).sort(KEYS)
    return result


def overall(scores: pl.DataFrame) -> dict[str, float]:
    """The table's figures from per-series lines, every observed step counting once; OWA is added by `with_owa`."""
    n = pl.col("n")

    def mean(name: str, n: pl.Expr = n) -> pl.Expr:
        known = pl.col(name).is_not_null()
        return ((pl.col(name) * n).filter(known).sum() / n.filter(known).sum()).alias(name)

    # sum of a ratio, not a ratio of means: WQL weighs series by their size, as published tables do
    size = pl.col("sum_abs").sum()
    wql = pl.when(size > 0).then(2 * (pl.col("QL") * n).sum() / size).alias("WQL")
    row = scores.select(
        mean("MASE"),
        mean("RMSSE"),
        mean("sMAPE", pl.col("n_smape")),
        mean("MAE"),
        wql,
        mean("SQL"),
        mean("coverage_80"),
    )
    return {name: float("nan") if value is None else float(value) for name, value in row.row(0, named=True).items()}


def with_owa(table: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The table with OWA for every model, where SeasonalNaive stands in it."""
    base = table.get("SeasonalNaive")
    if base is None or not base["sMAPE"] or not base["MASE"]:
        return table
    return {
        model: row | {"OWA": 0.5 * (row["sMAPE"] / base["sMAPE"] + row["MASE"] / base["MASE"])}
        for model, row in table.items()
    }


def backtest_metrics(row: dict[str, float]) -> dict[str, float]:
    """A row of the table under the names it has in MLflow."""
    return {f"backtest/{metric}": row[metric] for metric in METRICS if metric in row}


def calibration_effect(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Two rows of figures, without and with adjusted deciles, under the names they have in MLflow."""
    both = {"before": before, "after": after}
    return {
        f"calibration/{metric}_{when}": row[metric] for metric in ("coverage_80", "WQL") for when, row in both.items()
    }


def ranked(table: dict[str, dict[str, float]]) -> list[tuple[str, dict[str, float]]]:
    """The table's rows, the best MASE first, those without one last."""
    return sorted(table.items(), key=lambda item: np.nan_to_num(item[1]["MASE"], nan=np.inf))


def scales_of(scores: pl.DataFrame) -> pl.DataFrame:
    """unique_id, cutoff, scale of windows that were scored (`per_series`); 1 where every error is 0."""
    perfect = pl.col("MASE") == 0  # no scale can be told from it
    return scores.select(*KEYS, scale=pl.when(perfect).then(1.0).otherwise(pl.col("MAE") / pl.col("MASE")))


def quantile_loss() -> pl.Expr:
    """Of y and the deciles of one step: their quantile (pinball) losses, averaged over the nine."""
    above = [(q, pl.col("y") - pl.col(name)) for q, name in zip(QUANTILES, DECILES, strict=True)]
    return pl.mean_horizontal([pl.max_horizontal(q * error, (q - 1) * error) for q, error in above])


def per_step(forecast: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """step, MASE, coverage_80: accuracy by how far ahead, over all series and cutoffs."""
    error = (pl.col("y") - pl.col(MEDIAN)).abs() / pl.col("scale")
    return (
        forecast.filter(pl.col("y").is_not_null())
        .join(scales_of(scores), on=KEYS, how="left", maintain_order="left")
        .group_by("step")
        .agg(
            MASE=error.filter(error.is_finite()).mean(),
            coverage_80=pl.col("y").is_between(pl.col("0.1"), pl.col("0.9")).mean(),
        )
        .sort("step")
    )


def calibration(forecast: pl.DataFrame) -> list[float]:
    """For each decile, the share of observed values at or below it; the decile itself when calibrated."""
    seen = forecast.filter(pl.col("y").is_not_null())
    return [float(seen.select((pl.col("y") <= pl.col(q)).mean()).item() or 0.0) for q in DECILES]


def _scaled(frame: pl.DataFrame, past: pl.DataFrame, season: int) -> pl.DataFrame:
    """MASE, RMSSE and SQL, with differences one step apart for histories no longer than a season."""
    cutoffs = frame.select(KEYS).unique()
    known = past.join(cutoffs, on="unique_id").filter(pl.col("ds") <= pl.col("cutoff")).group_by(KEYS).len()
    parts = []
    for lag, fits in ((season, pl.col("len") > season), (1, pl.col("len") <= season)):
        chosen = known.filter(fits).select(KEYS)
        rows = frame.join(chosen, on=KEYS, how="semi")
        if rows.is_empty():
            continue
        own = past.join(chosen.select("unique_id").unique(), on="unique_id", how="semi", maintain_order="left")
        mase = losses.mase(rows, ["m"], lag, own).rename({"m": "MASE"})
        rmsse = losses.rmsse(rows, ["m"], lag, own).rename({"m": "RMSSE"})
        sql = losses.scaled_mqloss(rows, {"SQL": list(DECILES)}, np.array(QUANTILES), lag, own)
        parts.append(mase.join(rmsse, on=KEYS).join(sql.with_columns(pl.col("SQL") * 2), on=KEYS))
    empty = pl.DataFrame(schema=frame.select(KEYS).schema | dict.fromkeys(SCALED, pl.Float64))
    scaled = pl.concat(parts) if parts else empty
    scale = scales(past, cutoffs, season).filter(pl.col("scale").is_not_null())
    fit = scaled.join(scale.select(KEYS), on=KEYS, how="semi", maintain_order="left")
    return fit.with_columns(pl.when(pl.col(c).is_finite()).then(pl.col(c)).alias(c) for c in SCALED)
