"""Logged forecasts beside the truth that has come in since: what can be scored, and why the rest cannot."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import polars as pl

from rnn_model.artefact import open_checked, sha256_file
from rnn_model.config import DECILES
from rnn_model.errors import ConfigError, IntegrityError
from tasks.clock import UTC, moment_of
from tasks.config import home
from tasks.forecast_log import FORECASTS, Batch
from tasks.frequency import parse_moment

NAIVE = "naive"  # path of series that the network did not answer
POINT = ["unique_id", "ds"]
Y = pl.col("y")


def known_at(batches: Sequence[Batch], as_of: str | None, zone: str | None = None) -> tuple[Batch, ...]:
    """The batches that were there at `as_of`, in order of cutoffs; one made as of an earlier time was there then.

    `zone`: that of the target's times, and of times without an offset.
    """
    moment = moment_of(as_of, zone, by_day=False) if as_of else None
    known = [b for b in batches if moment is None or moment_of(b.as_of or b.time, zone, by_day=False) <= moment]
    return tuple(sorted(known, key=lambda batch: (parse_moment(batch.last_cutoff)[0], batch.seq)))


def maker(batch: Batch) -> str:
    """Who made a batch: the model's address and its weights; a version 1 of another registry is another maker."""
    return f"{batch.model} {batch.weights[:8]}"


def on_trial(batches: Sequence[Batch]) -> Batch:
    """Whose accuracy is judged: the latest batch of a registered version, else the latest of all.

    A forecast by the base model in between was made for a look, and takes nobody's place.
    """
    return next((batch for batch in reversed(batches) if batch.version is not None), batches[-1])


def kept_times(logged: pl.DataFrame, zoned: bool, path: Path) -> pl.DataFrame:
    """Logged forecasts with their times as rows have them: without a zone, and in UTC where they had one.

    `zoned`: whether the truth is kept in UTC. Raises ConfigError where it is of another kind than the forecasts.
    """
    of_zone = getattr(logged.schema["ds"], "time_zone", None)
    if (of_zone is not None) != zoned:
        made, given = (f"times in {of_zone}", "none") if of_zone else ("times without a zone", "times with one")
        raise ConfigError(
            f"{path}: forecasts have {made}, the target has {given}; give --target.timezone as when they were made, or "
            "another name by --target.called"
        )
    if of_zone is None:
        return logged
    return logged.with_columns(pl.col("ds", "cutoff").dt.convert_time_zone(UTC).dt.replace_time_zone(None))


def read_forecasts(batches: Sequence[Batch], zoned: bool = False) -> pl.DataFrame:
    """Every forecast: unique_id, ds, cutoff, step, the deciles, batch (its place in `batches`) and maker.

    What the fallback answered has the maker `naive`. `zoned`: whether the truth is kept in UTC. Raises IntegrityError
    for a file that is not what was logged.
    """
    frames = []
    for place, batch in enumerate(batches):
        path = open_checked(batch.folder) / FORECASTS
        if sha256_file(path) != batch.digest:
            raise IntegrityError(f"{path}: not the file that the log names; put a copy of the folder back")
        by = pl.when(pl.col("path") == NAIVE).then(pl.lit(NAIVE)).otherwise(pl.lit(maker(batch)))
        step = pl.col("ds").rank("dense").over("unique_id").cast(pl.Int64)
        wanted = ["unique_id", "ds", "cutoff", *DECILES]
        logged = kept_times(pl.read_parquet(path), zoned, path)
        frames.append(logged.select(*wanted, step=step, batch=pl.lit(place, pl.Int64), maker=by))
    return pl.concat(frames)


def with_truth(forecasts: pl.DataFrame, truth: pl.DataFrame, aside: Sequence[str]) -> pl.DataFrame:
    """Forecasts with y and state: scored, waiting (later than any truth), late (its series has no row so far yet),
    missing (no value at that time), set aside (the series breaks a rule now) or vanished (it is in the target no more).

    `truth`: unique_id, ds, y on the grid of each series. Of several batches of one maker from the same cutoff the last
    counts: they had seen the same of the series.
    """
    ends = truth.group_by("unique_id").agg(end=pl.col("ds").max())
    ds, newest = pl.col("ds"), truth["ds"].max()
    state = (
        pl.when(pl.col("unique_id").is_in(list(aside)))
        .then(pl.lit("set aside"))
        .when(pl.col("end").is_null())
        .then(pl.lit("vanished"))
        .when(ds > newest)
        .then(pl.lit("waiting"))
        .when(ds > pl.col("end"))
        .then(pl.lit("late"))
        .when(Y.is_null())
        .then(pl.lit("missing"))
        .otherwise(pl.lit("scored"))
    )
    return (
        forecasts.sort("batch")
        .unique([*POINT, "cutoff", "maker"], keep="last", maintain_order=True)
        .join(truth, on=POINT, how="left", maintain_order="left")
        .join(ends, on="unique_id", how="left", maintain_order="left")
        .with_columns(state=state)
        .drop("end")
    )


def rounds(own: pl.DataFrame, last_cutoffs: Sequence[datetime]) -> pl.DataFrame:
    """Each truth once: beside the forecast of the latest batch before it. `own`: `with_truth` of one maker.

    A round is what one batch said of the time up to the next one, so that rounds share neither truths nor, as far as
    forecasts use what they know, errors. The last round is open, and left out, while truth for it is still to come.
    """
    latest = own.sort("cutoff", "batch").unique(POINT, keep="last", maintain_order=True)
    after = sorted(latest["batch"].unique())
    until = pl.DataFrame(
        {"batch": after[:-1], "until": [last_cutoffs[place] for place in after[1:]]},
        schema={"batch": pl.Int64, "until": own.schema["ds"]},
    )
    bounded = latest.join(until, on="batch", how="left", maintain_order="left")
    inside = bounded.filter((pl.col("ds") <= pl.col("until")) | pl.col("until").is_null())
    waiting = inside.filter((pl.col("state") == "waiting") & pl.col("until").is_null())["batch"].unique().to_list()
    return inside.filter((pl.col("state") == "scored") & ~pl.col("batch").is_in(waiting)).drop("until")


def corrected(batches: Sequence[Batch], rows: pl.DataFrame, since: datetime) -> tuple[int, int]:
    """How many values (series and time) after `since` some batch had seen otherwise than they are in `rows`; and how
    many of the data sets that batches were made from are not on this machine any more, and could not be looked at."""
    changed: list[pl.DataFrame] = []
    gone = 0
    now = rows.unique(POINT, keep="any").rename({"y": "now"}).with_columns(there=pl.lit(True))
    for data in sorted({batch.data for batch in batches}):
        path = data_file(data)
        if not path.is_file():
            gone += 1
            continue
        then = (
            pl.scan_parquet(path).filter(pl.col("ds") > since).select(*POINT, "y").collect().unique(POINT, keep="any")
        )
        both = then.join(now, on=POINT, how="left")
        changed.append(both.filter(pl.col("there").is_null() | Y.ne_missing(pl.col("now"))).select(POINT))
    return (pl.concat(changed).unique().height if changed else 0), gone


def data_file(fingerprint: str) -> Path:
    """Where the rows of a fingerprint stand, as they were read."""
    return home() / "raw" / fingerprint[:16] / "data.parquet"
