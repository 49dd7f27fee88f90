"""What travels between stages: small frozen records that name a folder and say what is in it. Never frames."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from rnn_model.config import Section
from tasks.frequency import parse_frequency

CHAMPION = "champion"  # in a backtest, whatever its version


class Run(Section):
    """One MLflow run, by address."""

    uri: str = Field(description="address of the store, without credentials")
    experiment_id: str
    run_id: str
    name: str = Field(description="name shown in the UI")


class DataFile(Section):
    """One file that was read."""

    name: str = Field(description="its name without folders")
    sha256: str
    size: int = Field(description="bytes")


class Dataset(Section):
    """Series in long format on disk: data.parquet with unique_id, ds, y."""

    folder: Path
    fingerprint: str = Field(description="SHA-256 of the sorted content: equal for equal rows in any order and format")
    name: str
    freq: str
    season: int = Field(description="steps of one season, as metrics use it")
    periods: tuple[int, int] = Field(description="short and long season, as the network is told")
    gaps: str = Field(description="what a grid point without a row is: missing or zero")
    rows: int
    series: int
    later: int = Field(0, description="rows left out, because they are later than as_of")
    merged: int = Field(0, description="rows left out, because duplicates says which of several at a time counts")
    timezone: str | None = Field(
        None, description="zone of the times; steps finer than days are kept in UTC then, and handed on in it"
    )
    labels: Path | None = Field(None, description="unique_id, label of columns.segment; none: there is no such column")
    notes: tuple[str, ...] = Field((), description="what a person has to know of how the rows were read, one line each")
    files: tuple[DataFile, ...] = Field((), description="the local files that held the rows, as they were then")

    @property
    def data(self) -> Path:
        """The Parquet file."""
        return self.folder / "data.parquet"

    @property
    def content(self) -> str:
        """What stands in it: the fingerprint, the name of the labels' folder, and the zone that forecasts are in."""
        labels = self.labels.parent.name if self.labels else None
        return " ".join(part for part in (self.fingerprint, labels, self.output_zone) if part)

    @property
    def output_zone(self) -> str | None:
        """The zone that its times, kept in UTC, are handed on in; None: they are handed on as they are."""
        return None if parse_frequency(self.freq).by_day else self.timezone


class Account(Section):
    """Where every input row went: rows_in = used + padded + sum(quarantined)."""

    rows_in: int
    used: int = Field(description="rows of series that fill a whole context")
    padded: int = Field(description="rows of series shorter than the context, used with padding on their left")
    quarantined: dict[str, int] = Field(description="rows set aside, by rule")
    added: int = Field(description="grid points without a row; missing or 0 by policy")
    series_in: int
    series_used: int
    later: int = Field(0, description="rows after as_of, which were not taken in and are none of rows_in")
    constant: int = Field(description="series that never change; kept, and forecast as constant")
    notes: tuple[str, ...] = Field((), description="what a person has to know of the data, one line each")

    def balanced(self) -> bool:
        """Whether the sums match."""
        return self.rows_in == self.used + self.padded + sum(self.quarantined.values())


class Validated(Section):
    """A data set that passed, with its account and what was set aside (quarantine.parquet)."""

    dataset: Dataset
    account: Account
    raw: str = Field("", description="fingerprint of the rows as they were read")


class WindowSet(Section):
    """Windows on disk and where they are cut."""

    folder: Path
    fingerprint: str
    freq: str
    season: int
    periods: tuple[int, int]
    gaps: str
    horizon: int
    min_history: int
    validation: int
    cutoffs: int
    step: int


class Corpus(Section):
    """Windows to pretrain on."""

    folder: Path
    fingerprint: str
    name: str
    freq: str
    periods: tuple[int, int]
    series: int
    left_out: int = Field(0, description="series that also stand in the target, and were left out")


class Model(Section):
    """A trained model on disk, and the MLflow run that made it."""

    folder: Path
    weights: str = Field(description="digest of the weights")
    content: str = Field("", description="digest of weights and card; empty: made before there was one")
    strategy: str
    context: int = Field(description="points of history it sees")
    corpus: Path | None = Field(None, description="windows of its source, where they are at hand")
    run: Run | None = None


class Contender(Section):
    """A fine-tuning candidate as the validation windows saw it."""

    model: Model
    validation_loss: float = Field(description="mean loss of its forecasts of the validation windows, scaled space")
    source_loss: float | None = Field(None, description="the same on windows held out of the source's corpus")
    history: tuple[tuple[int, float, float], ...] = Field((), description="(step, training loss, validation loss)")
    note: str = ""
    calibration: str = Field("", description="what was done to its deciles, in words")


class Selection(Section):
    """All candidates, and the one that was chosen on the validation windows."""

    contenders: tuple[Contender, ...]
    chosen: str
    reason: str

    @property
    def best(self) -> Contender:
        """The chosen candidate."""
        return next(c for c in self.contenders if c.model.strategy == self.chosen)


class Evaluation(Section):
    """A backtest: every model's metrics on the same windows, and where its forecasts are."""

    folder: Path
    horizon: int
    fingerprint: str = Field(description="data, cutoffs and metric definitions: equal ones may be compared")
    table: dict[str, dict[str, float]]
    runs: dict[str, str] = Field(description="model -> MLflow run id")
    windows: int
    skipped: int = Field(description="windows whose history never changes, but for rounding error: no MASE")
    notes: tuple[str, ...] = Field((), description="what a person has to know of the figures, one line each")
    calibration: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="calibrated model -> metric of the test windows, before and after"
    )


class Effect(Section):
    """How much lower the challenger's loss is than the champion's: over all series, in a segment, or at one step."""

    part: str = Field(description="all, or the segment, e.g. length=short, or step=3")
    series: int
    windows: int
    champion: float = Field(description="mean loss of the model in use, or of the rival that stands in for one")
    challenger: float = Field(description="mean loss of the model that wants its place")
    gain: float = Field(description="1 - challenger / champion; positive is better")
    low: float = Field(description="lower end of the interval of the gain")
    high: float = Field(description="upper end")
    p: float | None = Field(None, description="one-sided: how often chance alone gains as much")


class Check(Section):
    """One floor of the gate."""

    name: str
    value: float | None = Field(description="what was measured; none where there was nothing to measure")
    allowed: str = Field(description="what was asked, in words")
    passed: bool


class Decision(Section):
    """What the gate says, in words and with the table behind it."""

    outcome: Literal["promote", "keep", "not enough evidence"]
    sentence: str
    metric: str
    champion: str = Field(description="what the challenger was compared with: champion or SeasonalNaive")
    challenger: str
    fingerprint: str = Field(description="of the evaluation both stand in")
    address: str | None = Field(None, description="where the champion was found, e.g. models:/sales/3")
    effects: tuple[Effect, ...] = ()
    checks: tuple[Check, ...] = ()

    @property
    def promotes(self) -> bool:
        """Whether the champion changes."""
        return self.outcome == "promote"


class Version(Section):
    """A model in the registry."""

    name: str = Field(description="registered model, named after its target")
    number: int
    uri: str = Field(description="MLflow address of the logged model")
    weights: str = Field(description="digest of the weights")


class Champion(Section):
    """The version behind NAME@champion, fetched and checked."""

    name: str
    version: int
    folder: Path
    weights: str
    content: str = Field("", description="digest of weights and card")
    notes: tuple[str, ...] = Field((), description="what could not be checked")


class Standing(Section):
    """Whom a challenger has to beat."""

    champion: Champion | None = Field(None, description="the registered one, if it is that")
    model: Model | None = Field(None, description="as it enters the backtest; none: the seasonal naive stands in")
    address: str | None = Field(None, description="where it was found, e.g. models:/sales/3")
    refused: str = Field("", description="why it cannot be compared on these windows, in words")

    @property
    def models(self) -> tuple[Model, ...]:
        """What it adds to the backtest."""
        return (self.model,) if self.model else ()


class Promotion(Section):
    """What became of @champion, in words. `superseded`: another became champion meanwhile, so compare anew."""

    name: str
    result: Literal["promoted", "kept", "already", "superseded", "rolled back", "moved"]
    previous: int | None = Field(description="champion before; none: there was none")
    version: int | None = Field(description="champion now")
    sentence: str
    warning: str = Field("", description="what the gate had said of a version that it kept out, and a person put in")


class Pinned(Section):
    """What forecasts a whole batch, whatever becomes of an alias meanwhile."""

    address: str = Field(description="models:/sales/3, base, a folder or a run id")
    version: int | None = Field(None, description="version of the registered model")
    folder: Path
    weights: str
    content: str = Field("", description="digest of weights and card")
    horizon: int = Field(description="steps where none are asked for")
    notes: tuple[str, ...] = Field((), description="what a person has to know of the model, one line each")


class Forecast(Section):
    """A published set of forecasts."""

    result: Literal["published", "mended", "already"] = Field(
        description="mended: the files of an earlier one were gone or changed; already: nothing was done"
    )
    sentence: str
    target: str
    folder: Path
    model: str = Field(description="address of what forecast")
    horizon: int
    series: int
    rows: int
    paths: dict[str, int] = Field(description="how series were answered -> how many; none: left out")
    left_out: dict[str, str] = Field(description="series without a forecast of the network -> its path and the rule")
    notes: tuple[str, ...] = Field((), description="what a person has to know of the data, one line each")
    output: Path | None = Field(None, description="the copy that was asked for")

    @property
    def data(self) -> Path:
        """The Parquet file."""
        return self.folder / "forecast.parquet"


class Products(Section):
    """What the stages of a flow hand on, as far as it has them: what a receipt and a report tell of."""

    base: Model
    validated: Validated | None = None
    windows: WindowSet | None = None
    selection: Selection | None = None
    evaluation: Evaluation | None = None
    decision: Decision | None = None


class Outcome(Section):
    """What a pipeline or evaluation leaves behind, for scripts (`--summary`)."""

    run: Run
    data: str = Field(description="fingerprint of the validated target")
    account: Account
    evaluation: Evaluation | None = None
    selection: Selection | None = None
    model: Model
    model_uri: str | None = Field(None, description="MLflow address of the logged model")
    decision: Decision | None = None
    promotion: Promotion | None = None
    finished: str = Field("", description="when the run had done everything, in UTC; empty: its promotion is open")
    repeated: bool = Field(False, description="whether it was found finished, and nothing was done")
