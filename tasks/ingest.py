"""Files, objects of a store or rows of a query in, one Parquet file of unique_id, ds, y out, named by its content."""

from pathlib import Path
from typing import NamedTuple

import polars as pl

from rnn_model.artefact import publish
from rnn_model.errors import DataError
from tasks.clock import UTC, check_days, join_clocks, settle
from tasks.config import home
from tasks.contract import content_fingerprint, known_rows
from tasks.files import read_files
from tasks.frequency import parse_frequency, parse_moment
from tasks.handles import DataFile, Dataset
from tasks.ids import Part, joined
from tasks.labels import labels_of, publish_labels
from tasks.objects import read_objects
from tasks.query import read_query
from tasks.repeats import localised, resolved
from tasks.series_config import SeriesConfig
from tasks.sources import source_notes
from tasks.step import step
from tasks.values import NAMES


class Rows(NamedTuple):
    """What was read, all parts together."""

    frame: pl.DataFrame  # unique_id (text), ds (microseconds without a zone), y (float), perhaps label, instant; sorted
    zone: str | None  # of the times
    notes: tuple[str, ...]  # what a person has to know of how they were read
    files: tuple[DataFile, ...]  # the local ones that held them


@step
def ingest(config: SeriesConfig, name: str) -> Dataset:
    """Read what the config names and publish the rows under data/raw.

    Raises DataError (65), BusyError (75) for a file that changes meanwhile, and what `read_objects` and `read_query`
    raise for servers.
    """
    made = ingest_files(config, name, home() / "raw")
    return made.model_copy(update={"notes": (*source_notes(config), *made.notes)})


def ingest_files(config: SeriesConfig, name: str, root: Path) -> Dataset:
    """Read, map, parse, sort and publish; the same rows give the same folder, whatever their order or format.

    Labels of series, where a column of them is declared, go to `labels` beside `root`.
    """
    frequency = parse_frequency(str(config.freq))
    rows = read_rows(config)
    frame, later = known_rows(rows.frame, config, rows.zone)
    frame, merged, said = resolved(frame, config.duplicates, config.section)
    if config.as_of and not frequency.by_day and rows.zone not in (None, UTC) and not parse_moment(config.as_of)[1]:
        said = (*said, f"as_of {config.as_of} was taken as a time of {rows.zone}")
    labels = publish_labels(labels_of(frame, config), root.parent / "labels") if config.columns.segment else None
    frame = frame.select(NAMES)
    frame = frame.sort(NAMES) if merged else frame
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
        merged=merged,
        timezone=rows.zone,
        labels=labels,
        notes=rows.notes + said,
        files=rows.files,
    )


def read_rows(config: SeriesConfig) -> Rows:
    """All rows of all parts, sorted; rows of one time as they were read, where that decides which counts.

    Raises DataError where there is none, or where the times are of no one kind.
    """
    (parts, files), frequency = read_parts(config), parse_frequency(str(config.freq))
    clock = join_clocks([part.clock for part in parts], config.where, config.section, config.timezone)
    parts, doubled = in_utc(parts, config) if config.timezone and not frequency.by_day else (parts, ())
    frame, notes = joined(parts)
    if frame.is_empty():
        raise DataError(f"{config.where}: no rows; expected at least one row of unique_id, ds, y")
    zone, of_zone = settle(clock, frequency, config.timezone, config.section)
    if frequency.by_day:
        of_zone += check_days(frame, clock, config.where, config.section, config.timezone)
    order = NAMES if config.duplicates == "refuse" else NAMES[:2]
    told = tuple(note for part in parts for note in part.notes) + notes + of_zone + doubled
    return Rows(frame.sort(order, maintain_order=True), zone, told, files)


def check_clocks(source: Dataset, target: Dataset) -> None:
    """Refuse two data sets of hours or finer of which one has a zone and the other none. Raises DataError."""
    if (source.output_zone is None) == (target.output_zone is None):
        return
    own, other = (f"times in {d.output_zone}" if d.output_zone else "times without a zone" for d in (source, target))
    lacking = "source" if source.output_zone is None else "target"
    raise DataError(
        f"{source.name} has {own}, {target.name} has {other}; say of whose clock those without are, e.g. "
        f"--{lacking}.timezone Europe/Berlin"
    )


def in_utc(parts: list[Part], config: SeriesConfig) -> tuple[list[Part], tuple[str, ...]]:
    """Parts whose times without a zone are those of the declared one, in UTC; and what was resolved.

    An hour that is there twice may stand in two files, so those are read as one.
    """
    local = [part for part in parts if part.clock.local]
    if not local:
        return parts, ()
    rows = pl.concat([part.rows for part in local])
    rows, notes = localised(rows, str(config.timezone), config.where)
    whole = Part(rows, pl.concat([part.ids for part in local]), local[0].clock, sum((p.notes for p in local), ()))
    return [part for part in parts if not part.clock.local] + [whole], notes


def read_parts(config: SeriesConfig) -> tuple[list[Part], tuple[DataFile, ...]]:
    """What a query gives, or every object or file of a path; and the local files."""
    if config.query is not None:
        return [read_query(config)], ()
    if config.address is not None:
        return read_objects(config.address, config), ()
    return read_files(str(config.path), config)
