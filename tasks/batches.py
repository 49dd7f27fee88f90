"""A set of forecasts on disk: one folder that appears whole or not at all, then one line of the target's log."""

import hashlib
import io
import json
from itertools import count
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import Field

from rnn_model.artefact import MANIFEST, open_checked, publish, sha256_file
from rnn_model.config import Section
from rnn_model.errors import IntegrityError
from tasks.answers import Answers
from tasks.clock import in_zone
from tasks.forecast_log import FORECASTS, Batch, ForecastLog, append_batch, forecasts_folder, read_log
from tasks.handles import Dataset, Pinned
from tasks.registry import locked, registry_name

CSV, LEFT_OUT, ABOUT, NOTES = "forecast.csv", "left_out.parquet", "about.json", "notes.json"
WITH_OFFSET = "%Y-%m-%dT%H:%M:%S%.6f%:z"
KEY_SHOWN = 12  # characters of the key in a folder's name
# How a cell begins that a spreadsheet would run (OWASP, CSV injection): a sign, plain or of full width, behind what it
# does not show (blanks, invisible characters), at the start of the text, of a line in it, or of a cell where ; , or a
# tab separate them, as they do elsewhere; or a tab or line break, which some drop.
BREAK = r"\n\r\x0B\x0C\x{85}\x{2028}\x{2029};,\t|"
BLANK = r"\s\p{Z}\p{C}\x{34F}\x{115F}\x{1160}\x{17B4}\x{17B5}\x{2800}\x{3164}\x{FE00}-\x{FE0F}\x{FFA0}\""
SIGNS = r"=+\-@\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}\x{FE66}\x{FE62}\x{FE63}\x{FE6B}\x{2212}"
FORMULA = rf"(^|[{BREAK}])([[{BLANK}]--[{BREAK}]]*[{SIGNS}])"
DROPPED = r"^([\t\r\n])"


class Edition(Section):
    """What is to be published, but for the answers."""

    name: str = Field(description="the target's")
    key: str
    dataset: Dataset
    pinned: Pinned
    horizon: int
    as_of: str | None
    csv: bool
    force: bool = Field(description="a new batch, even where an equal one is there")


def publish_edition(edition: Edition, answers: Answers) -> tuple[Batch, Literal["published", "mended", "already"]]:
    """Publish answers and log them, one writer at a time.

    A kill between the two leaves a folder that does not count; the next run takes it. Where an equal batch was logged
    and its files are gone or changed, they are put back. Raises WriteError; what was published before stands.
    """
    data = parquet_bytes(shown_times(edition, answers.forecasts))
    digest = hashlib.sha256(data).hexdigest()
    with locked(forecasts_folder(edition.name) / "log.jsonl"):
        log = read_log(edition.name)
        known = None if edition.force else log.made(edition.key)
        if known and intact(known):
            return known, "already"
        mends = known is not None and known.digest == digest
        folder = known.folder if known and mends else free_folder(log, edition, answers)
        if mends:
            edition = edition.model_copy(update={"csv": edition.csv or (folder / CSV).is_file()})
            (folder / MANIFEST).unlink(missing_ok=True)  # one changed with its file would pass for intact, and be kept
        publish(folder, lambda staging: write(staging, edition, answers, data))
        if known and mends:
            return known, "mended"
        return append_batch(log, **fields(edition, answers), folder=folder, digest=sha256_file(folder / FORECASTS)), (
            "published"
        )


def intact(batch: Batch) -> bool:
    """Whether a batch's files are those that were logged."""
    try:
        return sha256_file(open_checked(batch.folder) / FORECASTS) == batch.digest
    except (IntegrityError, OSError):
        return False


def notes_of(batch: Batch) -> tuple[str, ...]:
    """What was told of a batch's data when it was made."""
    return tuple(json.loads((batch.folder / NOTES).read_text()))


def free_folder(log: ForecastLog, edition: Edition, answers: Answers) -> Path:
    """DATE-KEY, the date being the last cutoff; with a number behind it where the log knows that name already."""
    taken = {batch.folder.name for batch in log.entries}
    plain = f"{cutoffs(answers)[1][:10]}-{edition.key[:KEY_SHOWN]}"
    names = (plain if n == 1 else f"{plain}-{n}" for n in count(1))
    return log.path.parent / next(name for name in names if name not in taken)


def write(folder: Path, edition: Edition, answers: Answers, data: bytes) -> None:
    """The files of a batch."""
    (folder / FORECASTS).write_bytes(data)
    in_zone(answers.left_out, edition.dataset.output_zone, ["at"]).write_parquet(folder / LEFT_OUT)
    if edition.csv:
        (folder / CSV).write_bytes(csv_bytes(shown_times(edition, answers.forecasts)))
    (folder / NOTES).write_text(json.dumps(answers.notes, indent=1))
    (folder / ABOUT).write_text(json.dumps(fields(edition, answers), indent=1))


def shown_times(edition: Edition, forecasts: pl.DataFrame) -> pl.DataFrame:
    """Forecasts as they are handed on, in the zone that their times came in."""
    return in_zone(forecasts, edition.dataset.output_zone, ["ds", "cutoff"])


def fields(edition: Edition, answers: Answers) -> dict[str, Any]:
    """What the log says of a batch, but for its files."""
    first, last = cutoffs(answers)
    dataset, pinned = edition.dataset, edition.pinned
    return {
        "key": edition.key,
        "target": registry_name(edition.name),
        "model": pinned.address,
        "version": pinned.version,
        "weights": pinned.weights,
        "data": dataset.fingerprint,
        "freq": dataset.freq,
        "season": dataset.season,
        "gaps": dataset.gaps,
        "horizon": edition.horizon,
        "as_of": edition.as_of,
        "first_cutoff": first,
        "last_cutoff": last,
        "series": answers.forecasts["unique_id"].n_unique(),
        "rows": answers.forecasts.height,
        "paths": answers.paths,
    }


def cutoffs(answers: Answers) -> tuple[str, str]:
    """First and last cutoff, ISO 8601."""
    cutoff = pl.col("cutoff")
    ends = answers.forecasts.select(first=cutoff.min().dt.to_string("iso"), last=cutoff.max().dt.to_string("iso"))
    first, last = ends.row(0)
    return str(first), str(last)


def parquet_bytes(frame: pl.DataFrame) -> bytes:
    """A frame as Parquet."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def csv_bytes(frame: pl.DataFrame) -> bytes:
    """A frame as CSV; a text that a spreadsheet would run as a formula gets a quote before it, numbers stay.

    The quote stands where the cell would begin: before the text, or after a line break or separator within it.
    """
    zoned = [pl.col(n).dt.strftime(WITH_OFFSET) for n, kind in frame.schema.items() if getattr(kind, "time_zone", None)]
    texts = frame.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String), *zoned)
    safe = pl.col(pl.String).str.replace_all(FORMULA, "$1'$2").str.replace(DROPPED, "'$1")
    return texts.with_columns(safe).write_csv().encode()
