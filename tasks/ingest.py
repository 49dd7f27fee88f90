"""Files, objects of a store or rows of a query in, one Parquet file of unique_id, ds, y out, named by its content."""

from pathlib import Path
from typing import NamedTuple

import polars as pl

from rnn_model.artefact import publish
from rnn_model.errors import DataError
from tasks.config import home
from tasks.contract import content_fingerprint, known_rows
from tasks.files import expand, read_file
from tasks.frequency import parse_frequency
from tasks.handles import Dataset
from tasks.ids import Part, joined
from tasks.labels import labels_of, publish_labels
from tasks.objects import read_objects
from tasks.query import read_query
from tasks.series_config import SeriesConfig
from tasks.step import step
from tasks.values import NAMES


class Rows(NamedTuple):
    """What was read, all parts together."""

    frame: pl.DataFrame  # unique_id (text), ds (microseconds, UTC or without a zone), y (float), perhaps label; sorted
    notes: tuple[str, ...]  # what a person has to know of how they were read


@step
def ingest(config: SeriesConfig, name: str) -> Dataset:
    """Read what the config names and publish the rows under data/raw.

    Raises DataError (65), and what `read_objects` and `read_query` raise for servers.
    """
    return ingest_files(config, name, home() / "raw")


def ingest_files(config: SeriesConfig, name: str, root: Path) -> Dataset:
    """Read, map, parse, sort and publish; the same rows give the same folder, whatever their order or format.

    Labels of series, where a column of them is declared, go to `labels` beside `root`.
    """
    frequency = parse_frequency(str(config.freq))
    rows = read_rows(config)
    frame, later = known_rows(rows.frame, config)
    labels = publish_labels(labels_of(frame, config), root.parent / "labels") if config.columns.segment else None
    frame = frame.select(NAMES)
    fingerprint = content_fingerprint(frame)
    folder = publish(root / fingerprint[:16], lambda staging: frame.write_parquet(staging / "data.parquet"))
    return Dataset(
        folder=folder,
        fingerprint=fingerprint,
        name=name,
        freq=str(config.freq),
        season=config.season or frequency.season,
        periods=frequency.network_periods(config.season),
        gaps=config.gaps,
        rows=frame.height,
        series=frame["unique_id"].n_unique(),
        later=later,
        labels=labels,
        notes=rows.notes,
    )


def read_rows(config: SeriesConfig) -> Rows:
    """All rows of all parts, sorted. Raises DataError where there is none."""
    parts = read_parts(config)
    zones = {str(part.rows.schema["ds"]) for part in parts}
    if len(zones) > 1:
        raise DataError(f"{config.where}: files mix timestamps with and without a time zone; give all of them the same")
    frame, notes = joined(parts)
    if frame.is_empty():
        raise DataError(f"{config.where}: no rows; expected at least one row of unique_id, ds, y")
    return Rows(frame.sort("unique_id", "ds", "y"), tuple(note for part in parts for note in part.notes) + notes)


def read_parts(config: SeriesConfig) -> list[Part]:
    """What a query gives, or every object or file of a path."""
    if config.query is not None:
        return [read_query(config)]
    if config.address is not None:
        return read_objects(config.address, config)
    return [read_file(path, config) for path in expand(str(config.path))]
