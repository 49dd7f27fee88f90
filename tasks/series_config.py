"""What can be set about series: where they come from, what their columns are called, what is asked of them."""

import re
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from rnn_model.config import Section, SyntheticConfig
from tasks.clock import check_zone
from tasks.config import PROJECT, as_value_error, without_secret
from tasks.ended import AgeRule, Policy
from tasks.frequency import ANY, parse_frequency, parse_moment
from tasks.repeats import Choice

SAMPLE = PROJECT / "data" / "sample" / "us_macro_quarterly.csv"
SAMPLE_FREQ = "QS"
STORES = ("s3", "gs", "az", "http", "https")  # addresses that Polars reads by itself
BLOCK = "block:"  # in front of the name of a Prefect Secret block
PLACE = re.compile(rf"[A-Z_][A-Z0-9_]*|{BLOCK}[a-z0-9-]+")  # of a connection string; a secret itself looks otherwise


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

    path: str | None = Field(
        None, description="CSV or Parquet: a file, a glob, or an s3, gs, az, http or https address"
    )
    query: str | None = Field(None, min_length=1, description="SQL in place of a path; its rows are the data")
    connection: str | None = Field(
        None, description="environment variable that holds the query's address, or block:NAME of a Prefect Secret block"
    )
    freq: str | None = Field(None, description="time between rows: h, D, W-MON, MS, QS, YS, 15min ...")
    season: int | None = Field(None, ge=1, le=10_000, description="steps of one season; none: by the frequency")
    columns: ColumnsConfig = Field(ColumnsConfig(), description="names of the columns")
    null_values: tuple[str, ...] = Field((), description="CSV texts that stand for a missing value, e.g. NA")
    datetime_format: str | None = Field(None, description="format of CSV timestamps, e.g. %d.%m.%Y; none: ISO 8601")
    as_of: str | None = Field(
        None, description="rows after this time do not exist, for a backfill: ISO 8601; a date is its midnight"
    )
    timezone: str | None = Field(
        None,
        description="zone of the times, e.g. Europe/Berlin: of those without one, and to which others are converted",
    )
    duplicates: Choice = Field(
        "refuse", description="different values at one time: the series is set aside, or the first, last or mean counts"
    )
    gaps: Literal["missing", "zero"] = Field("missing", description="rows absent from the grid: masked, or filled")
    max_quarantined: float = Field(0.2, ge=0, le=1, description="share of series set aside at which the run stops")

    @field_validator("freq")
    @classmethod
    def _known(cls, freq: str | None) -> str | None:
        if freq is not None and not (freq == ANY and cls.section == "source"):
            as_value_error(parse_frequency, freq)
        return freq

    @field_validator("timezone")
    @classmethod
    def _in_the_database(cls, timezone: str | None) -> str | None:
        if timezone is not None:
            as_value_error(check_zone, timezone)
        return timezone

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
    def _without_secret(cls, path: str | None) -> str | None:
        if path is None or "://" not in path:
            return path and without_secret(path)
        scheme, _, rest = path.partition("://")  # what is refused is not shown: it may hold a secret
        if any(sign in rest for sign in "@?#"):
            raise ValueError("path is an address with a user, password or query; credentials go into the environment")
        if scheme not in STORES:
            raise ValueError(f"path is an address of a kind that is not read; use {', '.join(STORES)} or a local file")
        return path

    @field_validator("connection")
    @classmethod
    def _names_a_place(cls, connection: str | None) -> str | None:
        if connection is not None and not PLACE.fullmatch(connection):  # not shown: it may be the secret
            raise ValueError(
                f"connection is where the address is found, not the address: the name of an environment variable in "
                f"capitals, or {BLOCK}NAME of a Prefect Secret block"
            )
        return connection

    @field_validator("query")
    @classmethod
    def _no_address(cls, query: str | None) -> str | None:
        if query is not None and re.search(r"://[^\s/]*@", query):
            raise ValueError("query holds an address with credentials; it is logged, so give the role what it needs")
        return query

    @model_validator(mode="after")
    def _complete(self) -> "SeriesConfig":
        if self.path is not None and self.query is not None:
            raise ValueError("path and query were both given; data comes from one of them, so leave the other out")
        if (self.query is None) != (self.connection is None):
            given, missing = ("query", "connection") if self.connection is None else ("connection", "query")
            raise ValueError(
                f"{given} was given without {missing}; a query needs both, e.g. --{self.section}.connection SALES_DB"
            )
        if self.given and self.freq is None:
            given = "query" if self.query else f"path {self.path}"
            raise ValueError(f"{given} was given without freq; name the time between its rows, e.g. MS")
        return self

    @property
    def age(self) -> AgeRule | None:
        """None: a series that ended long ago is as good as any to learn from."""
        return None

    @property
    def given(self) -> bool:
        """Whether it names data of one's own."""
        return self.path is not None or self.query is not None

    @property
    def address(self) -> str | None:
        """The path, where that is an address."""
        return self.path if self.path is not None and "://" in self.path else None

    @property
    def where(self) -> str:
        """What errors call the data: its path, or the name of the query's option."""
        return f"{self.section}.query" if self.query is not None else str(self.path)


class SourceConfig(SeriesConfig):
    """What the network is pretrained on: your own collection, or (neither path nor query) the synthetic corpus."""

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
        if self.freq == ANY and (self.given or self.synthetic.periods is None):
            raise ValueError(
                "freq any is for a synthetic corpus that names its seasons: synthetic.periods, no data of your own"
            )
        return self


def names_many(stem: str, path: str) -> bool:
    """Whether the last part of a path is a pattern, and not a file that is called so."""
    return any(sign in stem for sign in "*?[") and not Path(path).is_file()


class TargetConfig(SeriesConfig):
    """Your series. Without a path or query: the sample that comes with the project."""

    ended: Policy = Field(
        "auto",
        description="series whose last value is older than max_age: auto leaves them out where they are at most a "
        "third, drop always, keep never",
    )
    max_age: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="steps a last value may lie before the latest of all; none: by the frequency (28 for D, 6 for MS)",
    )
    called: str | None = Field(
        None,
        max_length=100,
        pattern=r"^\w[\w .-]*$",
        description="name of the target, its model and experiment; none: the file's",
    )

    @model_validator(mode="after")
    def _has_a_name(self) -> "TargetConfig":
        if self.query is not None and self.called is None:
            raise ValueError("query was given without called; name the target, e.g. --target.called sales")
        if self.path is not None and self.called is None and names_many(Path(self.path).name, self.path):
            raise ValueError(
                f"path {self.path} names many files and no target; name it, e.g. --target.called sales, as its "
                "experiment, model and forecasts are found by that name"
            )
        return self

    @property
    def age(self) -> AgeRule:
        """What becomes of a series that ended long before the others."""
        return AgeRule(self.ended, self.max_age)

    @property
    def title(self) -> str:
        """What it is called, else the file's name without its ending."""
        return self.called or Path(self.path or SAMPLE).stem

    @property
    def name(self) -> str:
        """The same for experiments and folders."""
        return "".join(c if c.isalnum() or c in "-_" else "-" for c in self.title).strip("-") or "target"

    def resolved(self) -> "TargetConfig":
        """The same with path and freq filled in from the sample where no data was given."""
        if self.given:
            return self
        return self.model_copy(update={"path": str(SAMPLE), "freq": self.freq or SAMPLE_FREQ})
