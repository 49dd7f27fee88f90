"""Long frames in, forecast frames out, from a model folder: what the forecast stage and the logged model share.

Free of the orchestrator and the tracker, so that a served model needs neither.
"""

import math
from typing import NamedTuple

import numpy as np
import polars as pl

from rnn_model.calibration import Calibration, Known, adjust, calibrate
from rnn_model.checkpoint import ModelCard
from rnn_model.config import DECILES, MEDIAN
from rnn_model.errors import ConfigError, DataError
from rnn_model.forecasting import predict
from rnn_model.network import Network
from rnn_model.windows import Floats, Index, Windows
from tasks.contract import frame_windows, split_rows
from tasks.ended import AgeRule
from tasks.frequency import ANY, anchor_day, grid_time, parse_frequency
from tasks.handles import Account

COLUMNS = ["unique_id", "ds", "cutoff", "y_hat", *DECILES]
CALIBRATED = 8192  # windows a calibration rests on at most; quantiles need no more


def forecast_windows(
    network: Network, windows: Windows, index: Index, horizon: int, calibration: Calibration | None = None
) -> Floats:
    """Deciles for every window of the index, (B, H, Q); only points before each origin are gathered."""
    return plain_and_adjusted(network, windows, index, horizon, calibration)[1]


def plain_and_adjusted(
    network: Network, windows: Windows, index: Index, horizon: int, calibration: Calibration | None
) -> tuple[Floats, Floats]:
    """The deciles as the network decodes them, and as its calibration leaves them."""
    batch = windows.gather(index, network.config.context, 0)
    deciles = predict(network, batch.context, batch.periods, horizon).numpy()
    return deciles, adjust(deciles, calibration, (batch.context < 0).any(1).numpy())


def calibrate_network(network: Network, windows: Windows, index: Index, horizon: int) -> Calibration:
    """How the network's deciles are to be adjusted, by the windows of the index, none of which it was fitted to.

    `windows` ends where nothing more may be seen.
    """
    return calibrate(known_forecasts(network, windows, index, horizon))


def known_forecasts(network: Network, windows: Windows, index: Index, horizon: int) -> Known:
    """Forecasts of the index beside their truth; of many windows, those of every second, third ... series.

    Left out are windows that never changed in the context, which say nothing about width, and those without truth.
    """
    every = max(1, math.ceil(len(index.series) / CALIBRATED))
    some = np.unique(index.series)[::every]  # of those with a window: what others there are has no say
    index = index.take(np.nonzero(np.isin(index.series, some))[0])
    batch = windows.gather(index, network.config.context, horizon)
    highest = batch.context.nan_to_num(-math.inf).amax(1, keepdim=True)
    telling = ((batch.context < highest).any(1) & ~batch.target.isnan().all(1)).numpy()
    told = index.take(np.nonzero(telling)[0])
    deciles = forecast_windows(network, windows, told, horizon)
    return Known(deciles, batch.target.numpy()[telling], told.series, windows.end[told.series] - told.origin)


def forecast_frame(network: Network, card: ModelCard, used: pl.DataFrame, horizon: int) -> pl.DataFrame:
    """Every series of `used` (on its grid, as validation leaves it) continued from its end by `horizon` steps.

    Returns unique_id, ds, cutoff, y_hat and the deciles, one row per series and step, sorted.
    """
    windows = frame_windows(used, card.periods)
    index = windows.at(windows.end)
    deciles = forecast_windows(network, windows, index, horizon, card.calibration)
    flat = deciles.reshape(-1, deciles.shape[-1])
    columns = {"y_hat": flat[:, MEDIAN]} | {q: flat[:, i] for i, q in enumerate(DECILES)}
    times = step_times(used, card.freq, horizon)
    return pl.concat([times, pl.DataFrame(columns)], how="horizontal").select(COLUMNS)


def step_times(used: pl.DataFrame, freq: str, horizon: int) -> pl.DataFrame:
    """unique_id, ds, cutoff of the `horizon` steps after the end of every series of `used`, in its order."""
    last = used.group_by("unique_id", maintain_order=True).agg(
        first=pl.col("ds").first(), day=anchor_day(pl.col("ds")), n=pl.len().cast(pl.Int64)
    )
    steps = last.join(pl.DataFrame({"step": range(1, horizon + 1)}), how="cross", maintain_order="left_right")
    frequency, first, day, end = parse_frequency(freq), pl.col("first"), pl.col("day"), pl.col("n") - 1
    return steps.select(
        "unique_id",
        grid_time(frequency, first, end + pl.col("step"), day).alias("ds"),
        grid_time(frequency, first, end, day).alias("cutoff"),
    )


def check_freq(card: ModelCard, freq: str) -> None:
    """A model made for another frequency is refused; the anchor of a week or quarter does not matter."""
    if card.freq != ANY and parse_frequency(card.freq).rhythm != parse_frequency(freq).rhythm:
        raise ConfigError(f"the model was made for freq {card.freq}, the target has {freq}; pretrain one for {freq}")


class Sorted(NamedTuple):
    """Series that the network can forecast, and those that it cannot."""

    used: pl.DataFrame  # unique_id, ds, y on the grid of each series
    quarantine: pl.DataFrame  # unique_id, rule, at, rows, observed: one line for each series that is left out
    account: Account


def usable_series(rows: pl.DataFrame, card: ModelCard) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows (unique_id, ds, y) -> those that can be forecast, on their grid, and one line per series that cannot.

    One observed value within the network's context is enough. Raises DataError when no series is left.
    """
    used, quarantine, _ = sort_out(rows, card)
    if used.is_empty():
        reasons = ", ".join(sorted(set(quarantine["rule"]))) or "no rows"
        raise DataError(
            f"no series can be forecast ({reasons}); "
            f"bring rows regular at freq {card.freq}, with a value in the last {card.model.context} steps"
        )
    return used, quarantine


def sort_out(rows: pl.DataFrame, card: ModelCard, age: AgeRule | None = None) -> Sorted:
    """As `usable_series`, but with none left, too; and without the series that ended long ago, if `age` says so."""
    context = card.model.context
    used, quarantine, account = split_rows(rows, parse_frequency(card.freq), card.gaps, 1, context, age)
    seen = pl.col("y").tail(context).count()  # of nothing but missing values the network could make nothing but zeros
    blind = (
        used.group_by("unique_id", maintain_order=True)
        .agg(pl.col("ds").last().alias("at"), rows=pl.len().cast(pl.Int64), observed=pl.col("y").count(), seen=seen)
        .filter(pl.col("seen") == 0)
        .with_columns(rule=pl.lit(f"no value in the last {context} steps"))
    )
    used = used.join(blind, on="unique_id", how="anti", maintain_order="left")
    return Sorted(used, pl.concat([quarantine, blind.select(quarantine.columns)]), account)
