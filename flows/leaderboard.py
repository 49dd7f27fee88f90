"""The whole chain on every data set of a folder, side by side."""

from pathlib import Path

from flows.definition import flow
from flows.pipeline import pipeline
from tasks.config import (
    BASE,
    NOTHING,
    BacktestConfig,
    FinetuneConfig,
    GateConfig,
    PretrainConfig,
    Seed,
    TrackingConfig,
    WindowConfig,
)
from tasks.leaderboard import Leaderboard, rank, read_sets
from tasks.terminal import counted
from tasks.tracking import tracked


@flow(name="leaderboard")
def leaderboard(
    folder: Path,
    sets: tuple[str, ...] = (),
    model: str = BASE,
    finetune: FinetuneConfig = FinetuneConfig(),
    backtest: BacktestConfig = BacktestConfig(cutoffs=1),
    tracking: TrackingConfig = TrackingConfig(),
    seed: Seed = 0,
    force: bool = False,
) -> Leaderboard:
    """Score the baselines, zero-shot and every fine-tuned candidate on all data sets of a folder.

    Args:
        folder: datasets.json (name -> freq, season, horizon) and one long Parquet file for each name
        sets: names of the sets to score; none: all of them
        model: where every candidate starts: base, a model folder, an MLflow address (models:/, runs:/) or a run id
        finetune: carrying over to each set
        backtest: the test; one cutoff is the last horizon of every series
        tracking: where runs are logged
        seed: every random number follows from it
        force: run sets again that have finished with the same data, settings and code
    """
    known = read_sets(folder, sets)
    sections = {"folder": str(folder), "sets": list(known), "model": model, "finetune": finetune}
    sections |= {"backtest": backtest, "tracking": tracking, "seed": seed}
    with tracked(tracking, "leaderboard", f"leaderboard of {counted(len(known), 'set')}", sections) as run:
        outcomes = {
            name: pipeline(
                target=about.target(folder / f"{name}.parquet"),
                window=WindowConfig(horizon=about.horizon, min_history=1),
                pretrain=PretrainConfig(from_=model),
                finetune=finetune,
                backtest=backtest,
                gate=GateConfig(promote=False, champion=NOTHING),
                tracking=tracking,
                seed=seed,
                force=force,
            )
            for name, about in known.items()
        }
        return rank(outcomes, run)
