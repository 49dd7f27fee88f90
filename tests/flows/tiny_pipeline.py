"""The whole chain made tiny: three series, a few steps."""

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flows.pipeline import pipeline
from rnn_model.config import ModelConfig, SyntheticConfig
from tasks.config import BacktestConfig, FinetuneConfig, PretrainConfig, WindowConfig
from tasks.handles import Outcome
from tasks.series_config import SourceConfig, TargetConfig

POINTS, HORIZON, CUTOFFS = 60, 4, 2
FIRST_CUTOFF = POINTS - HORIZON * CUTOFFS
MODEL = ModelConfig(width=8, num_layers=1, context=32, patch=4)
SOURCE = SourceConfig(synthetic=SyntheticConfig(series=64, length=64))
PRETRAIN = PretrainConfig(from_="nothing", steps=4, batch_size=8, validate_every=2)
FINETUNE = FinetuneConfig(steps=4, batch_size=8, validate_every=2)
BACKTEST = BacktestConfig(cutoffs=CUTOFFS)
WINDOW = WindowConfig(horizon=HORIZON)
CANDIDATES = {"zero-shot", "full", "mirrored", "biases", "scratch", "average", "ensemble"}
BASELINES = {"SeasonalNaive", "AutoETS", "DynamicOptimizedTheta"}


def series(shift_after: int = POINTS) -> pl.DataFrame:
    """Three monthly series of different shape; from `shift_after` on their values are others."""
    time = np.arange(POINTS)
    rng = np.random.default_rng(5)
    shapes = {
        "sine": 10 + np.sin(time * np.pi / 6),
        "line": 5 + 0.3 * time + rng.normal(0, 0.2, POINTS),
        "noise": rng.normal(100, 3, POINTS),
    }
    ds = pl.datetime_range(datetime(2015, 1, 1), datetime(2019, 12, 1), "1mo", eager=True)
    frames = [
        pl.DataFrame({"unique_id": name, "ds": ds, "y": np.where(time >= shift_after, values * 7 - 3, values)})
        for name, values in shapes.items()
    ]
    return pl.concat(frames)


def carry(path: Path, **sections: Any) -> Outcome:
    target = TargetConfig(path=str(path), freq="MS")
    usual = {
        "window": WINDOW,
        "model": MODEL,
        "pretrain": PRETRAIN,
        "finetune": FINETUNE,
        "backtest": BACKTEST,
        "seed": 3,
    }
    chosen = usual | sections
    if chosen["pretrain"] is PRETRAIN:
        chosen = {"source": SOURCE} | chosen
    return pipeline(target=target, **chosen)
