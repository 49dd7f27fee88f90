"""The backtest: every contender and baseline on the same rolling origins, none of which anything was fitted to."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from prefect import task
from prefect.artifacts import create_table_artifact

from rnn_model.artefact import digest_json, publish
from rnn_model.checkpoint import load_model
from rnn_model.windows import Floats, Index, Split, Windows
from tasks.baselines import forecast_baseline
from tasks.config import BacktestConfig, home
from tasks.forecaster import forecast_windows
from tasks.handles import Dataset, Evaluation, Model, Run, WindowSet
from tasks.metrics import DECILES, DEFINITIONS, METRICS, overall, per_series, with_owa
from tasks.progress import bar
from tasks.tracking import child, log_metrics, log_table, set_tags
from tasks.window import open_windows


@task
def backtest_models(
    dataset: Dataset, handle: WindowSet, models: tuple[Model, ...], config: BacktestConfig, parent: Run
) -> Evaluation:
    """Score every model and baseline, log each on a run of its own, and publish the forecasts."""
    windows, split, ids = open_windows(handle)
    history = pl.read_parquet(dataset.data)
    fingerprint = evaluation_fingerprint(handle, config)
    frames, runs = {}, {}
    for name in config.baselines:
        with child(parent, name, "baseline") as run:
            frames[name] = backtest_baseline(name, windows, split, handle, history, ids, config.baseline_history)
            runs[name] = run
    for model in models:
        frames[model.strategy] = backtest_model(model, windows, split, handle, history, ids)
        runs[model.strategy] = model.run or child_run(parent, model.strategy)
    scores = {name: per_series(frame, history, handle.season) for name, frame in frames.items()}
    table = with_owa({name: overall(score) for name, score in scores.items()})
    for name, run in runs.items():
        log_metrics(run, {f"backtest/{metric}": table[name][metric] for metric in METRICS if metric in table[name]})
        set_tags(run, {"carryover.evaluation": fingerprint})
    log_table(parent, table, "backtest.json")
    log_table(parent, {"definitions": DEFINITIONS}, "metric_definitions.json")
    set_tags(parent, {"carryover.evaluation": fingerprint})
    folder = publish_backtest(frames, scores, fingerprint, models)
    show(table)
    any_scores = next(iter(scores.values()))
    return Evaluation(
        folder=folder,
        horizon=handle.horizon,
        fingerprint=fingerprint,
        table=table,
        runs={name: run.run_id for name, run in runs.items()},
        windows=any_scores.height,
        skipped=any_scores["MASE"].null_count(),
    )


def child_run(parent: Run, name: str) -> Run:
    """A run for a model that was not trained in this flow run."""
    with child(parent, name, "candidate") as run:
        return run


def evaluation_fingerprint(handle: WindowSet, config: BacktestConfig) -> str:
    """Digest of what makes two evaluations comparable: data, cutoffs, horizon, season and metric definitions."""
    cuts = [handle.horizon, handle.cutoffs, handle.step, handle.min_history, handle.season]
    return digest_json([handle.fingerprint, cuts, DEFINITIONS])


def backtest_model(
    model: Model, windows: Windows, split: Split, handle: WindowSet, history: pl.DataFrame, ids: list[str]
) -> pl.DataFrame:
    """One network over all cutoffs, as a forecast frame."""
    network, _ = load_model(model.folder)
    parts = []
    for cutoff in bar_over(handle.cutoffs, f"backtest {model.strategy}"):
        index = split.test_index(cutoff)
        deciles = forecast_windows(network, until_cutoff(windows, index), index, handle.horizon)
        parts.append(forecast_rows(deciles, windows, index, history, ids))
    return pl.concat(parts)


def backtest_baseline(
    name: str, windows: Windows, split: Split, handle: WindowSet, history: pl.DataFrame, ids: list[str], longest: int
) -> pl.DataFrame:
    """One statistical baseline over all cutoffs, as a forecast frame."""
    parts = []
    for cutoff in bar_over(handle.cutoffs, f"backtest {name}"):
        index = split.test_index(cutoff)
        deciles = forecast_baseline(name, until_cutoff(windows, index), index, handle.horizon, handle.season, longest)
        parts.append(forecast_rows(deciles, windows, index, history, ids))
    return pl.concat(parts)


def until_cutoff(windows: Windows, index: Index) -> Windows:
    """A view in which nothing from the cutoff on exists."""
    end = np.zeros(len(windows), dtype=np.int64)
    end[index.series] = index.origin
    return windows.until(end)


def forecast_rows(
    deciles: Floats, windows: Windows, index: Index, history: pl.DataFrame, ids: list[str]
) -> pl.DataFrame:
    """Deciles (B, H, Q) beside the truth: unique_id, cutoff, ds, step, y, 0.1 to 0.9."""
    horizon = deciles.shape[1]
    start = windows.offsets[index.series] + index.origin  # row of the first forecast step
    rows = (start[:, None] + np.arange(horizon)).ravel()
    truth = history[rows].select("unique_id", "ds", "y")
    cutoff = history["ds"][np.repeat(start - 1, horizon)].alias("cutoff")
    step = pl.Series("step", np.tile(np.arange(1, horizon + 1), len(start)))
    flat = pl.DataFrame(deciles.reshape(-1, deciles.shape[-1]), schema=DECILES)
    return pl.concat([truth.with_columns(cutoff, step), flat], how="horizontal")


def publish_backtest(
    frames: dict[str, pl.DataFrame], scores: dict[str, pl.DataFrame], fingerprint: str, models: tuple[Model, ...]
) -> Path:
    """All forecasts and per-series scores, long, with a model column."""
    key = digest_json([fingerprint, sorted(frames), [m.weights for m in models]])

    def write(staging: Path) -> None:
        labelled = [frame.with_columns(model=pl.lit(name)) for name, frame in frames.items()]
        pl.concat(labelled).write_parquet(staging / "forecasts.parquet")
        scored = [score.with_columns(model=pl.lit(name)) for name, score in scores.items()]
        pl.concat(scored).write_parquet(staging / "scores.parquet")

    return publish(home() / "backtests" / key[:16], write)


def bar_over(count: int, title: str) -> Iterator[int]:
    """0 to count - 1 behind a progress bar."""
    with bar(count, title, "cutoff") as shown:
        for number in range(count):
            yield number
            shown.update()


def show(table: dict[str, dict[str, float]]) -> None:
    """The backtest as a Prefect artifact, the best first."""
    ranked = sorted(table.items(), key=lambda item: item[1]["MASE"])
    rows = [{"model": name} | {m: round(row[m], 4) for m in METRICS if m in row} for name, row in ranked]
    create_table_artifact(
        table=rows, key="backtest", description="every model on the same windows; lower is better but coverage"
    )
