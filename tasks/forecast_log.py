"""The log of a target's forecasts: one line for each published set, only ever added to, and hash-chained.

What stands in the log was published; a folder without a line was left by a kill, and does not count.
"""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from tasks.chain import Chain, Link, add_link, read_chain
from tasks.config import home
from tasks.registry import registry_name

FILE = "log.jsonl"
FORECASTS = "forecast.parquet"  # in the folder of each batch


class Batch(Link):
    """One published set of forecasts; forecast.parquet in its folder holds a row for each series and step.

    Its columns: unique_id, ds, cutoff, y_hat, the deciles "0.1" to "0.9", and path: how the series was answered.
    """

    seal: ClassVar[str] = "chained"

    key: str = Field(description="digest of data, settings, weights and code: equal keys give equal forecasts")
    target: str = Field(description="name of the target, as its registered model is named")
    folder: Path = Field(description="where the files are; in the file itself only the folder's name")
    digest: str = Field(description="SHA-256 of forecast.parquet")
    model: str = Field(description="address of what forecast: models:/sales/3, base, a folder or a run id")
    version: int | None = Field(description="version of the registered model; none: it was not asked for by one")
    weights: str = Field(description="digest of the weights")
    data: str = Field(description="fingerprint of the rows as they were read")
    freq: str
    season: int = Field(description="steps of one season, as metrics use it")
    gaps: str = Field(description="what a time without a row is: missing or zero")
    horizon: int = Field(description="steps")
    as_of: str | None = Field(description="rows after this time did not exist; none: all of them were taken")
    first_cutoff: str = Field(description="last observed time of the series that ends first, ISO 8601")
    last_cutoff: str = Field(description="of the one that ends last")
    series: int = Field(description="with a forecast")
    rows: int
    paths: dict[str, int] = Field(description="how series were answered -> how many; none: left out")
    chained: str = Field("", description="SHA-256 of this line's other fields")


class ForecastLog(Chain[Batch]):
    """All batches of a target, the oldest first."""

    kind: ClassVar[type[Link]] = Batch

    def made(self, key: str) -> Batch | None:
        """The latest batch of a key, in its folder."""
        found = next((batch for batch in reversed(self.entries) if batch.key == key), None)
        return found and placed(found, self.path.parent)


def forecasts_folder(name: str) -> Path:
    """Where the batches and the log of a target are; names are kept apart as those of registered models are."""
    return home() / "forecasts" / registry_name(name)


def read_log(name: str) -> ForecastLog:
    """The log of a target, checked line by line; empty where nothing was published. Raises IntegrityError."""
    return read_chain(ForecastLog, forecasts_folder(name) / FILE)


def published(name: str) -> tuple[Batch, ...]:
    """All batches of a target, the oldest first, each with the path of its folder. Raises IntegrityError."""
    log = read_log(name)
    return tuple(placed(batch, log.path.parent) for batch in log.entries)


def append_batch(log: ForecastLog, **fields: object) -> Batch:
    """Add one batch (the fields of `Batch` but seq, time and the chain's) and wait until the disk has it.

    The caller holds the log's lock. Raises WriteError; the line is then not there, or cut short and dropped.
    """
    folder = Path(str(fields["folder"]))
    entry: Batch = add_link(log, {**fields, "folder": folder.name}).entries[-1]
    return placed(entry, log.path.parent)


def placed(batch: Batch, root: Path) -> Batch:
    """A batch as it stands in the file, with its folder's whole path: a data folder may be moved."""
    return batch.model_copy(update={"folder": root / batch.folder.name})
