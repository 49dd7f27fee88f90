"""What can be set about the network, its training and the synthetic corpus: bounds, defaults and words.

These classes are the only home of their knobs. The Prefect form, the command line, the YAML files and the
MLflow parameters are all derived from them.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MEDIAN = QUANTILES.index(0.5)
DECILES = tuple(map(str, QUANTILES))  # as columns of a forecast
HORIZON_LIMIT = 512  # steps: the longest horizon that can be asked for
LONG_SEASON = {24: 168, 7: 364, 13: 52, 48: 336, 96: 672}  # a day inside a week; a week, or a quarter, inside a year
Strategy = Literal[
    "zero-shot", "full", "biases", "head", "gradual", "l2", "scratch", "average", "mirrored", "ensemble"
]  # new ones last: figures give colours in this order
TUNED: tuple[Strategy, ...] = ("full", "mirrored", "l2", "gradual", "biases", "head")  # what an average can be made of


class Section(BaseModel):
    """A group of settings: frozen, and a name it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ModelConfig(Section):
    """The network: its cell, its size and how much of the past it sees."""

    cell: Literal["elman", "gru", "lstm"] = Field("lstm", description="recurrent cell")
    activation: Literal["tanh", "relu", "sigmoid", "identity"] = Field(
        "tanh", description="s of the Elman cell; the other cells have their own"
    )
    spine: Literal["residual", "plain"] = Field(
        "residual",
        description="residual: normed blocks, seasonal features, pinball loss; plain: cells, a dense, squared error",
    )
    num_layers: int = Field(2, ge=1, le=16, description="recurrent layers")
    width: int = Field(128, ge=1, le=2048, description="hidden size of every layer")
    patch: int = Field(8, ge=1, le=64, description="points that enter the network as one step")
    context: int = Field(256, ge=8, le=4096, description="points of history seen at most")

    @model_validator(mode="after")
    def _patches_fit(self) -> "ModelConfig":
        if self.context % self.patch:
            raise ValueError(
                f"context {self.context} is not a multiple of patch {self.patch}; "
                f"use {self.context // self.patch * self.patch or self.patch}"
            )
        return self


class FitConfig(Section):
    """One training: how long, how fast, and when to stop."""

    steps: int = Field(600, ge=1, le=10_000_000, description="optimiser steps at most")
    batch_size: int = Field(256, ge=1, le=65_536, description="windows per step")
    learning_rate: float = Field(2e-3, gt=0, le=1, description="peak, after warm-up")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="learning rate after warm-up")
    warmup: float = Field(0.05, ge=0, le=0.5, description="share of the steps with a rising rate")
    weight_decay: float = Field(0.01, ge=0, le=1, description="AdamW's; 0 gives plain Adam")
    clip: float = Field(1.0, gt=0, le=1e6, description="largest gradient norm")
    averaging: float = Field(0.99, ge=0, lt=1, description="decay of the averaged weights; 0: none")
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="where it runs: cpu, cuda, cuda:1 ...")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of matrix products; recurrences and losses stay in float32"
    )
    validate_every: int = Field(100, ge=1, le=1_000_000, description="steps from one validation to the next")
    patience: int = Field(10, ge=1, le=10_000, description="validations without improvement before it stops")


class SyntheticConfig(Section):
    """The synthetic corpus: seeded, so it needs no download and cannot leak."""

    series: int = Field(20_000, ge=8, le=20_000_000, description="series to generate")
    length: int | None = Field(
        None, ge=32, le=16_384, description="points of the longest series; none: context + 2 horizons"
    )
    periods: tuple[int, ...] | None = Field(
        None, description="seasons that occur, in steps; none: those of the target's frequency"
    )
