"""What travels between stages: small frozen records that name a folder and say what is in it. Never frames."""

from pathlib import Path

from pydantic import Field

from rnn_model.config import Section


class Dataset(Section):
    """Series in long format on disk: data.parquet with unique_id, ds, y."""

    folder: Path
    fingerprint: str = Field(description="SHA-256 of the sorted content: equal for equal rows in any order and format")
    name: str
    freq: str
    season: int = Field(description="steps of one season, as metrics use it")
    periods: tuple[int, int] = Field(description="short and long season, as the network is told")
    rows: int
    series: int

    @property
    def data(self) -> Path:
        """The Parquet file."""
        return self.folder / "data.parquet"


class Account(Section):
    """Where every input row went: rows_in = used + padded + sum(quarantined)."""

    rows_in: int
    used: int = Field(description="rows of series that fill a whole context")
    padded: int = Field(description="rows of series shorter than the context, used with padding on their left")
    quarantined: dict[str, int] = Field(description="rows set aside, by rule")
    added: int = Field(description="grid points without a row; masked or interpolated by policy")
    series_in: int
    series_used: int
    constant: int = Field(description="series that never change; kept, and forecast as constant")

    def balanced(self) -> bool:
        """Whether the sums match."""
        return self.rows_in == self.used + self.padded + sum(self.quarantined.values())


class Validated(Section):
    """A data set that passed, with its account and what was set aside (quarantine.parquet)."""

    dataset: Dataset
    account: Account


class WindowSet(Section):
    """Windows on disk and where they are cut."""

    folder: Path
    fingerprint: str
    horizon: int
    min_history: int
    validation: int
    cutoffs: int
    step: int


class Model(Section):
    """A trained model on disk."""

    folder: Path
    weights: str = Field(description="digest of the weights")
    strategy: str
    run_id: str | None = Field(None, description="MLflow run that trained it")
    uri: str | None = Field(None, description="MLflow address of the logged model")
