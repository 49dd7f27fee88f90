"""What can be set about the data, the windows, the backtest and the tracking. The network's own settings live
in `rnn_model.config`; nothing is declared twice."""

import math
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, field_validator, model_validator

from rnn_model.config import HORIZON_LIMIT, TUNED, FitConfig, Section, Strategy
from rnn_model.errors import CarryoverError
from rnn_model.masking import holds_secret
from tasks.places import PROJECT as PROJECT
from tasks.places import home as home

BASE, BASE_FOLDER = "base", PROJECT / "data" / "base"  # the model that comes with the project, and where it stands
NOTHING = "nothing"  # to start from: fresh weights, pretrained on the source

HOST = re.compile(
    r"([^:@]*|\[[0-9a-fA-F:]*\])(:\d+)?"
)  # a name or number, perhaps a port; anything else may be a secret

Seed = Annotated[int, Field(ge=0, lt=2**63)]
Share = Annotated[float, Field(ge=0, le=1)]


def without_secret(text: str) -> str:
    """A text that may be stored. Raises ValueError for one with a secret in it."""
    if holds_secret(text):
        raise ValueError("holds a user, password or token, and would be stored; set that in the environment")
    return text


Place = Annotated[str, AfterValidator(without_secret)]  # of a model or a server


class StepsConfig(Section):
    """How far ahead to forecast, where the model may have its own answer."""

    horizon: int | None = Field(
        None, ge=1, le=HORIZON_LIMIT, description="steps to forecast; none: what the model was tuned for, else 8"
    )


class HorizonConfig(StepsConfig):
    """How far ahead to forecast."""

    horizon: int = Field(8, ge=1, le=HORIZON_LIMIT, description="steps to forecast")


class WindowConfig(HorizonConfig):
    """How series are cut into windows."""

    min_history: int = Field(3, ge=1, le=100_000, description="points a series needs before every forecast origin")
    validation: int = Field(
        3,
        ge=1,
        le=100,
        description="validation windows per series, just before the first test cutoff; half stop, half choose",
    )


class PretrainConfig(FitConfig):
    """Where the network comes from; started from nothing, it learns from the source first."""

    model_config = ConfigDict(populate_by_name=True)

    from_: Place = Field(
        BASE,
        alias="from",
        min_length=1,
        description="base (the project's model), a model folder, models:/, a run id; nothing: pretrain on the source",
    )

    @model_validator(mode="before")
    @classmethod
    def _one_name(cls, data: Any) -> Any:
        """Settings from options lie over a dump of the default, which says from_ where an option says from."""
        if isinstance(data, dict) and "from" in data:
            return {name: value for name, value in data.items() if name != "from_"}
        return data


class FinetuneConfig(FitConfig):
    """Carrying over to the target: the strategies compete on validation windows."""

    steps: int = Field(800, ge=1, le=1_000_000, description="optimiser steps at most, for each strategy")
    batch_size: int = Field(64, ge=1, le=65_536, description="windows per step")
    learning_rate: float = Field(3e-4, gt=0, le=1, description="peak, after warm-up")
    validate_every: int = Field(20, ge=1, le=1_000_000, description="steps from one validation to the next")
    patience: int = Field(12, ge=1, le=10_000, description="validations without improvement before it stops")
    replay: float = Field(
        0.0, ge=0, le=0.9, description="share of every batch drawn from a corpus of the source, against forgetting"
    )
    strategies: tuple[Strategy, ...] = Field(
        ("zero-shot", "full", "mirrored", "biases", "scratch", "average", "ensemble"),
        description="contenders (docs/results.md: what each moves); zero-shot always competes",
    )
    calibrate: bool = Field(True, description="set each candidate's deciles by its validation windows, where these do")

    @model_validator(mode="after")
    def _both_in_a_batch(self) -> "FinetuneConfig":
        if self.replay and math.ceil(self.replay * self.batch_size) >= self.batch_size:
            raise ValueError(f"replay {self.replay} leaves nothing of a batch of {self.batch_size}; raise batch_size")
        return self

    @model_validator(mode="after")
    def _combined_of_what(self) -> "FinetuneConfig":
        if "average" in self.strategies and not set(TUNED) & set(self.strategies):
            raise ValueError(f"average needs a tuned strategy beside it; add {', '.join(TUNED[:-1])} or {TUNED[-1]}")
        if "ensemble" in self.strategies and "scratch" not in self.strategies:
            raise ValueError("ensemble needs a network that learns from the target alone beside it; add scratch")
        return self


class BacktestConfig(Section):
    """The test: rolling origins at the end of every series, never seen before."""

    cutoffs: int = Field(3, ge=1, le=1000, description="test cutoffs per series")
    step: int | None = Field(None, ge=1, le=100_000, description="steps between cutoffs; none: the horizon")
    baselines: tuple[Literal["SeasonalNaive", "AutoETS", "DynamicOptimizedTheta"], ...] = Field(
        ("SeasonalNaive", "AutoETS", "DynamicOptimizedTheta"), description="statistical models on the same windows"
    )
    baseline_history: int = Field(
        1000, ge=10, le=1_000_000, description="most recent points a statistical baseline is fitted to"
    )


class ForecastConfig(Section):
    """How series are answered that are not like the others, and in which files."""

    fallback: Literal["naive", "none"] = Field(
        "naive", description="a series whose faulty values the network refuses: its last season again, or left out"
    )
    short: int | None = Field(
        None, ge=1, le=100_000, description="values under which a series is marked short; none: a season, 3 at least"
    )
    csv: bool = Field(False, description="publish forecast.csv beside forecast.parquet")


class JudgingConfig(Section):
    """How two models' losses are held against each other."""

    metric: Literal["SQL", "MASE"] = Field("SQL", description="loss compared per series: of all deciles, or the median")
    level: float = Field(0.05, gt=0, lt=0.5, description="share of equal models that may be called better, at most")
    min_effect: float = Field(0.01, ge=0, lt=1, description="relative gain under which a difference does not matter")
    segments: tuple[Literal["length", "volume", "intermittency"], ...] = Field(
        ("length", "volume", "intermittency"), description="how series are grouped, beside target.columns.segment"
    )
    resamples: int = Field(2000, ge=200, le=100_000, description="of the bootstrap and of the permutation test")


class GateConfig(JudgingConfig):
    """What a challenger has to show before it becomes the champion."""

    promote: bool = Field(True, description="register the chosen model and move @champion where the gate says promote")
    champion: Place | None = Field(
        None,
        description="rehearse against another model (folder, models:/, run id; nothing: the seasonal naive), promoting "
        "none; none: @champion of the target's registered model",
    )
    coverage: tuple[Share, Share] = Field((0.65, 0.95), description="bounds for the coverage of the 80% interval")
    worst_segment: float = Field(
        0.1, ge=0, le=1, description="relative loss that no segment may suffer, however good the mean"
    )
    smallest_segment: int = Field(5, ge=2, le=1_000_000, description="series that make a segment")

    @field_validator("coverage")
    @classmethod
    def _rising(cls, coverage: tuple[float, float]) -> tuple[float, float]:
        low, high = coverage
        if low >= high:
            raise ValueError(f"no coverage lies from {low:g} to {high:g}; give the lower bound first, e.g. 0.65 0.95")
        return coverage

    @property
    def moves(self) -> bool:
        """Whether the champion may change; not in a rehearsal against another model."""
        return self.promote and self.champion is None


class MonitorConfig(Section):
    """When the accuracy of published forecasts counts as worse than promised."""

    metric: Literal["SQL", "MASE"] = Field("SQL", description="loss that is tested: of all deciles, or of the median")
    level: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description="chance of a false alarm as long as a version is in use, however often one looks",
    )
    min_effect: float = Field(0.1, ge=0, le=10, description="relative rise of the loss that does not matter yet")
    least: int = Field(5, ge=1, le=10_000, description="rounds before anything is said; one is a batch up to the next")


class TrackingConfig(Section):
    """Where runs are logged."""

    uri: str | None = Field(None, description="MLflow address; none: $MLFLOW_TRACKING_URI, else a file in data/")
    experiment: str | None = Field(
        None, max_length=100, pattern=r"^\w[\w .-]*$", description="MLflow experiment; none: the target's name"
    )

    @field_validator("uri")
    @classmethod
    def _no_secret(cls, uri: str | None) -> str | None:
        if uri is None:
            return None
        parts = urlsplit(uri)
        if "://" not in uri or not HOST.fullmatch(parts.netloc) or parts.query:
            raise ValueError(
                "expected an address such as http://127.0.0.1:5000; credentials and queries would be logged, so "
                "an address that holds any is set as MLFLOW_TRACKING_URI"
            )
        return uri


class RunnerConfig(Section):
    """Where the units of a sweep run: threads of this process, or a Dask or Ray cluster."""

    kind: Literal["threads", "dask", "ray"] = Field("threads", description="Prefect's task runner")
    workers: int | None = Field(None, ge=1, le=1024, description="units at a time; none: cores over threads")
    threads: int = Field(1, ge=1, le=1024, description="threads of each unit (OMP_NUM_THREADS)")
    address: Place | None = Field(
        None, min_length=1, description="of a cluster that is there; none: one on this machine"
    )

    @model_validator(mode="after")
    def _threads_are_here(self) -> "RunnerConfig":
        if self.kind == "threads" and self.address is not None:
            raise ValueError(f"address {self.address} is of a cluster, threads are here; set kind to dask or ray")
        return self


def as_value_error(call: object, *arguments: object) -> object:
    """Call with a project error turned into ValueError, which is what pydantic reports with the field's name."""
    try:
        return call(*arguments)  # type: ignore[operator]
    except CarryoverError as error:
        raise ValueError(str(error)) from error
