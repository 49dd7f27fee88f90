"""A grouping of one's own: one label per series, from a column of the data, kept beside the values.

Labels are no part of the data's fingerprint: other groups of the same values are the same data.
"""

from pathlib import Path

import polars as pl

from rnn_model.artefact import digest_json, open_checked, publish
from rnn_model.errors import DataError
from tasks.handles import Dataset
from tasks.series_config import SeriesConfig

LONGEST = 60  # characters of a label: it stands in tables and beside bars
MOST = 50  # different labels: with more of them it is a name, and groups nothing
UNPRINTABLE = r"[\p{Cc}\x{2028}\x{2029}]"  # line breaks of every kind, and what else is no character of a word
FILE = "labels.parquet"


def as_text(column: pl.Series) -> pl.Series:
    """Labels as text without blanks around it; empty ones and NaN are missing, and 3.0 is 3, as it was before a gap.

    Raises TypeError for lists, structures, bytes and durations, which have no text.
    """
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Duration):
        raise TypeError(f"holds {column.dtype}, expected texts, numbers or true and false")
    text = column.cast(pl.String)
    if column.dtype.is_float():
        number = column.cast(pl.Float64)
        whole = number.is_finite() & (number == number.round())
        short = number.cast(pl.Int64, strict=False).cast(pl.String).zip_with(whole.fill_null(False), text)
        text = short.fill_null(text).set(number.is_nan(), None)
    text = text.str.strip_chars()
    return text.set(text == "", None)


def labels_of(rows: pl.DataFrame, config: SeriesConfig) -> pl.DataFrame:
    """Rows with unique_id and label -> unique_id, label: a line for each series that has one, sorted.

    Rows without a label say nothing. Raises DataError for a series with several labels, for a label that cannot be
    shown, for more labels than make a grouping, and where there is none.
    """
    found = rows.select("unique_id", "label").drop_nulls().unique().sort("unique_id", "label")
    refuse_odd(found, config)
    refuse_several(found, config)
    different = found["label"].n_unique()
    if different > MOST:
        raise refused(
            config, f"{different} different labels, {MOST} at most make a grouping; name a coarser column, or none"
        )
    if not different:
        raise refused(config, "no series has a label; fill the column, or name another, or none")
    return found


def refuse_odd(found: pl.DataFrame, config: SeriesConfig) -> None:
    """Raise DataError for a label that is too long or has a line break in it."""
    text = pl.col("label")
    odd = found.filter((text.str.len_chars() > LONGEST) | text.str.contains(UNPRINTABLE))
    if odd.height:
        name, label = odd.row(0)
        shown = label if len(label) <= LONGEST else f"{label[:LONGEST]}..."
        raise refused(
            config,
            f"series {name!r} has the label {shown!r} of {len(label)} characters; "
            f"expected {LONGEST} at most, without line breaks and control characters",
        )


def refuse_several(found: pl.DataFrame, config: SeriesConfig) -> None:
    """Raise DataError for the first series with more than one label, naming two of them."""
    several = found.filter(pl.col("unique_id").is_duplicated())
    if several.height:
        name = several["unique_id"][0]
        first, second, *more = several.filter(unique_id=name)["label"]
        series = several["unique_id"].n_unique()
        rest = (f" and {len(more)} more" if more else "") + (f" (so have {series - 1} other series)" * (series > 1))
        raise refused(
            config,
            f"series {name!r} has the labels {first!r} and {second!r}{rest}; give all rows of a series the same one",
        )


def refused(config: SeriesConfig, words: str) -> DataError:
    """An error of the segment column."""
    return DataError(f"{config.where}: column {config.columns.segment!r} (columns.segment): {words}")


def publish_labels(labels: pl.DataFrame, root: Path) -> Path:
    """The file of `labels`, as `labels_of` makes them, in a folder of `root` that is named by their content."""
    folder = root / digest_json(labels.rows())[:16]
    return publish(folder, lambda staging: labels.write_parquet(staging / FILE)) / FILE


def read_labels(dataset: Dataset) -> pl.DataFrame | None:
    """unique_id, label of a data set's series, as `tasks.segments` takes them; none where no column was declared.

    Raises IntegrityError for a file that was changed.
    """
    return None if dataset.labels is None else pl.read_parquet(open_checked(dataset.labels.parent) / FILE)
