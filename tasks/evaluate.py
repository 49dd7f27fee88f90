"""The backtest: every contender and baseline on the same rolling origins, none of which anything was fitted to."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from rnn_model.artefact import digest_json, open_checked, publish
from rnn_model.checkpoint import load_known
from rnn_model.config import DECILES
from rnn_model.windows import Floats, Index, Split, Windows
from tasks.baselines import forecast_baseline
from tasks.config import BacktestConfig, home
from tasks.forecaster import check_freq, plain_and_adjusted
from tasks.handles import Dataset, Evaluation, Model, Run, WindowSet
from tasks.labels import read_labels
from tasks.metrics import (
    DEFINITIONS,
    METRICS,
    backtest_metrics,
    calibration_effect,
    overall,
    per_series,
    ranked,
    with_owa,
)
from tasks.progress import bar, show_table
from tasks.scale import unscaled
from tasks.segments import KINDS, segments
from tasks.step import step
from tasks.terminal import counted, named
from tasks.tracking import child, compare_page, describe, log_folder, log_metrics, log_params, log_table, set_tags
from tasks.window import check_unseen, open_windows

MIN_SERIES = 5  # of fewer, one may well make up half of a mean


@dataclass(frozen=True)
class Bench:
    """What every contender is tried on: the windows, their cutoffs, and the rows they come from."""

    handle: WindowSet
    windows: Windows
    split: Split
    rows: pl.DataFrame  # unique_id, ds, y in the order of the windows

    def run(self, title: str, forecast: Callable[[Windows, Index], Floats]) -> pl.DataFrame:
        """All cutoffs by one forecaster, which sees nothing from the cutoff on: a forecast frame."""
        parts = []
        with bar(self.handle.cutoffs, f"backtest {title}", "cutoff") as shown:
            for cutoff in range(self.handle.cutoffs):
                index = self.split.test_index(cutoff)
                deciles = forecast(until_cutoff(self.windows, index), index)
                parts.append(forecast_rows(deciles, self.windows, index, self.rows))
                shown.update()
        return pl.concat(parts)


@step
def backtest_models(
    dataset: Dataset, handle: WindowSet, models: tuple[Model, ...], config: BacktestConfig, parent: Run
) -> Evaluation:
    """Score every model and baseline, log each on a run of its own, and publish the forecasts."""
    windows, split = open_windows(handle)
    bench = Bench(handle, windows, split, pl.read_parquet(open_checked(dataset.folder) / "data.parquet"))
    fingerprint = evaluation_fingerprint(dataset, handle)
    frames: dict[str, pl.DataFrame] = {}
    runs: dict[str, Run] = {}
    for name in map(str, config.baselines):
        with child(parent, name, "baseline") as run:
            log_params(run, {"candidate": name, "backtest": {"baseline_history": config.baseline_history}})
            frames[name] = backtest_baseline(name, bench, config.baseline_history)
            runs[name] = run
    plain: dict[str, pl.DataFrame | None] = {}
    for model in models:
        frames[model.strategy], plain[model.strategy] = backtest_model(model, bench)
        runs[model.strategy] = model.run or child_run(parent, model.strategy)
    scores = {name: per_series(frame, bench.rows, handle.season) for name, frame in frames.items()}
    table = with_owa({name: overall(score) for name, score in scores.items()})
    effects = {
        name: calibration_effect(overall(per_series(frame, bench.rows, handle.season)), table[name])
        for name, frame in plain.items()
        if frame is not None
    }
    for name, run in runs.items():
        log_metrics(run, backtest_metrics(table[name]) | effects.get(name, {}))
        set_tags(run, {"carryover.evaluation": fingerprint})
    log_table(parent, table, "backtest.json")
    log_table(parent, effects, "calibration.json")
    log_table(parent, {"definitions": DEFINITIONS}, "metric_definitions.json")
    set_tags(parent, {"carryover.evaluation": fingerprint})
    any_scores = next(iter(scores.values()))
    groups = segments(bench.rows, any_scores, KINDS, read_labels(dataset))
    folder = publish_backtest(frames, scores, groups, parent.run_id)
    log_folder(parent, folder, "backtest")
    show(table)
    describe(parent, note(parent, table, effects, [run.run_id for run in runs.values()]))
    return Evaluation(
        folder=folder,
        horizon=handle.horizon,
        fingerprint=fingerprint,
        table=table,
        runs={name: run.run_id for name, run in runs.items()},
        windows=any_scores.height,
        skipped=any_scores["MASE"].null_count(),
        notes=(*unscaled_note(any_scores), *ruled_note(scores)),
        calibration=effects,
    )


def child_run(parent: Run, name: str) -> Run:
    """A run for a model that was not trained in this flow run."""
    with child(parent, name, "candidate") as run:
        return run


def evaluation_fingerprint(dataset: Dataset, handle: WindowSet) -> str:
    """Digest of what makes two evaluations comparable: data, cutoffs, horizon, season and metric definitions."""
    cuts = [handle.horizon, handle.cutoffs, handle.step, handle.min_history, handle.season]
    return digest_json([dataset.fingerprint, cuts, DEFINITIONS])


def backtest_model(model: Model, bench: Bench) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """One network over all cutoffs, as a forecast frame; and the same unadjusted, of one that was calibrated."""
    network, card = load_known(model.folder, model.weights, model.content)
    check_freq(card, bench.handle.freq)
    check_unseen(card.seen, bench.windows, bench.split, bench.rows)
    plain: list[Floats] = []

    def forecast(windows: Windows, index: Index) -> Floats:
        decoded, adjusted = plain_and_adjusted(network, windows, index, bench.handle.horizon, card.calibration)
        plain.append(decoded)
        return adjusted

    frame = bench.run(model.strategy, forecast)
    if card.calibration is None:
        return frame, None
    before = pl.DataFrame(np.concatenate(plain).reshape(frame.height, -1), schema=DECILES)
    return frame, frame.with_columns(before.get_columns())


def backtest_baseline(name: str, bench: Bench, longest: int) -> pl.DataFrame:
    """One statistical baseline over all cutoffs, as a forecast frame."""
    horizon, season = bench.handle.horizon, bench.handle.season
    return bench.run(name, lambda windows, index: forecast_baseline(name, windows, index, horizon, season, longest))


def until_cutoff(windows: Windows, index: Index) -> Windows:
    """A view in which nothing from the cutoff on exists."""
    end = np.zeros(len(windows), dtype=np.int64)
    end[index.series] = index.origin
    return windows.until(end)


def forecast_rows(deciles: Floats, windows: Windows, index: Index, history: pl.DataFrame) -> pl.DataFrame:
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
    frames: dict[str, pl.DataFrame], scores: dict[str, pl.DataFrame], groups: pl.DataFrame, run_id: str
) -> Path:
    """All forecasts and per-series scores of a run, long, with a model column, and the segments its series stand in."""

    def write(staging: Path) -> None:
        labelled = [frame.with_columns(model=pl.lit(name)) for name, frame in frames.items()]
        pl.concat(labelled).write_parquet(staging / "forecasts.parquet")
        scored = [score.with_columns(model=pl.lit(name)) for name, score in scores.items()]
        pl.concat(scored).write_parquet(staging / "scores.parquet")
        groups.write_parquet(staging / "segments.parquet")

    return publish(home() / "backtests" / run_id, write)


def unscaled_note(scores: pl.DataFrame) -> list[str]:
    """Which series have windows without a scale, in words; nothing where none has."""
    without = unscaled(scores)
    if not without:
        return []
    windows, have = counted(sum(without.values()), "window"), "has" if sum(without.values()) == 1 else "have"
    return [
        f"{windows} of {named(list(without))} {have} no scale, as the history never changes but for rounding error: "
        "MASE, RMSSE, SQL and the gate leave them out"
    ]


def ruled_note(scores: dict[str, pl.DataFrame]) -> list[str]:
    """Which one series makes up more than half of a mean MASE over at least MIN_SERIES, and whose; one line each."""
    ruled: dict[str, list[str]] = {}
    for model, frame in scores.items():
        parts = frame.group_by("unique_id").agg(part=(pl.col("MASE") * pl.col("n")).sum()).sort("part", "unique_id")
        if parts.height >= MIN_SERIES and parts["part"][-1] > parts["part"].sum() / 2:
            ruled.setdefault(parts["unique_id"][-1], []).append(model)
    return [
        f"one series, {series!r}, makes up more than half of the mean MASE of {', '.join(models)}"
        for series, models in sorted(ruled.items())
    ]


def markdown(table: dict[str, dict[str, float]]) -> str:
    """The table as Markdown, the best first."""
    lines = ["| model | " + " | ".join(METRICS) + " |", "|---" * (1 + len(METRICS)) + "|"]
    for name, row in ranked(table):
        lines.append(f"| {name} | " + " | ".join(f"{row[m]:.4g}" if m in row else "" for m in METRICS) + " |")
    return "\n".join(lines)


def note(
    parent: Run, table: dict[str, dict[str, float]], effects: dict[str, dict[str, float]], run_ids: list[str]
) -> str:
    """The run's description: the table, what calibration did, and a link that lays the contenders side by side."""
    link = f"[Compare these runs side by side]({compare_page(parent, run_ids)})"
    return "\n\n".join([markdown(table), *([calibration_note(effects)] if effects else []), link])


def calibration_note(effects: dict[str, dict[str, float]]) -> str:
    """What adjusting the deciles did on the test windows, as Markdown."""
    lines = ["| model, deciles as decoded > adjusted | coverage_80 | WQL |", "|---|---|---|"]
    for name, row in effects.items():
        pairs = [(row[f"calibration/{m}_before"], row[f"calibration/{m}_after"]) for m in ("coverage_80", "WQL")]
        lines.append(f"| {name} | " + " | ".join(f"{before:.4g} > {after:.4g}" for before, after in pairs) + " |")
    return "\n".join(lines)


def show(table: dict[str, dict[str, float]]) -> None:
    """The backtest as a Prefect artifact, the best first."""
    rows = [{"model": name} | {m: round(row[m], 4) for m in METRICS if m in row} for name, row in ranked(table)]
    show_table(table=rows, key="backtest", description="every model on the same windows; lower is better but coverage")
