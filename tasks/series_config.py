"""What can be set about series: where they come from, what their columns are called, what is asked of them."""

from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from rnn_model.config import Section, SyntheticConfig
from tasks.config import PROJECT, as_value_error
from tasks.frequency import ANY, parse_frequency, parse_moment

SAMPLE = PROJECT / "data" / "sample" / "us_macro_quarterly.csv"
SAMPLE_FREQ = "QS"


class ColumnsConfig(Section):
    """Names of the columns; leave them out for unique_id/ds/y and item_id/timestamp/target."""

    id: str | None = Field(None, description="column that names the series")
    ds: str | None = Field(None, description="column of timestamps")
    y: str | None = Field(None, description="column of values")
    segment: str | None = Field(
        None, min_length=1, description="column whose value groups series in the gate and the report"
    )

    @model_validator(mode="after")
    def _groups_by_another(self) -> "ColumnsConfig":
        for name in ("id", "ds", "y"):
            if self.segment is not None and self.segment == getattr(self, name):
                raise ValueError(f"segment {self.segment} is also {name}; name a column that groups series, or none")
        return self


class SeriesConfig(Section):
    """Where series come from and what is asked of them."""

    section: ClassVar[str] = "target"  # the option's prefix, for messages

    path: str | None = Field(None, description="CSV or Parquet: a file or a glob")
    freq: str | None = Field(None, description="time between rows: h, D, W-MON, MS, QS, YS, 15min ...")
    season: int | None = Field(None, ge=1, le=10_000, description="steps of one season; none: by the frequency")
    columns: ColumnsConfig = Field(ColumnsConfig(), description="names of the columns")
    null_values: tuple[str, ...] = Field((), description="CSV texts that stand for a missing value, e.g. NA")
    datetime_format: str | None = Field(None, description="format of CSV timestamps, e.g. %d.%m.%Y; none: ISO 8601")
    as_of: str | None = Field(
        None, description="rows after this time do not exist, for a backfill: ISO 8601; a date is its midnight"
    )
    gaps: Literal["missing", "zero"] = Field("missing", description="rows absent from the grid: masked, or filled")
    max_quarantined: float = Field(0.2, ge=0, le=1, description="share of series set aside at which the run stops")

    @field_validator("freq")
    @classmethod
    def _known(cls, freq: str | None) -> str | None:
        if freq is not None and not (freq == ANY and cls.section == "source"):
            as_value_error(parse_frequency, freq)
        return freq

    @field_validator("as_of", mode="before")
    @classmethod
    def _moment(cls, as_of: Any) -> Any:
        """YAML reads an unquoted date as one."""
        text = as_of.isoformat() if isinstance(as_of, date) else as_of
        if isinstance(text, str):
            as_value_error(parse_moment, text)
        return text

    @field_validator("path")
    @classmethod
    def _local(cls, path: str | None) -> str | None:
        if path is not None and "://" in path:  # not shown: an address may hold a secret
            raise ValueError("path is an address; local files and globs are read, so copy it here first")
        return path

    @model_validator(mode="after")
    def _path_has_freq(self) -> "SeriesConfig":
        if self.path is not None and self.freq is None:
            raise ValueError(f"path {self.path} was given without freq; name the time between its rows, e.g. MS")
        return self


class SourceConfig(SeriesConfig):
    """What the network is pretrained on: your own collection, or (no path) the synthetic corpus."""

    section: ClassVar[str] = "source"

    freq: str | None = Field(None, description="time between rows; any: a synthetic corpus for every frequency")
    synthetic: SyntheticConfig = Field(SyntheticConfig(), description="the synthetic corpus")

    @model_validator(mode="after")
    def _no_groups(self) -> "SourceConfig":
        if self.columns.segment is not None:
            raise ValueError("columns.segment groups series of a target; leave it out of the source")
        return self

    @model_validator(mode="after")
    def _any_is_synthetic(self) -> "SourceConfig":
        if self.freq == ANY and (self.path is not None or self.synthetic.periods is None):
            raise ValueError("freq any is for a synthetic corpus that names its seasons: synthetic.periods, no path")
        return self


class TargetConfig(SeriesConfig):
    """Your series. Without a path: the sample that comes with the project."""

    @property
    def title(self) -> str:
        """The file's name without its ending."""
        return Path(self.path or SAMPLE).stem

    @property
    def name(self) -> str:
        """The same for experiments and folders."""
        return "".join(c if c.isalnum() or c in "-_" else "-" for c in self.title).strip("-") or "target"

    def resolved(self) -> "TargetConfig":
        """The same with path and freq filled in from the sample where no path was given."""
        if self.path is not None:
            return self
        return self.model_copy(update={"path": str(SAMPLE), "freq": self.freq or SAMPLE_FREQ})
