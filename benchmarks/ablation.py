"""What each family of the synthetic corpus is worth: python benchmarks/ablation.py FOLDER --sets m1_yearly nn5_daily

One network learns from all families, then one more from a corpus without each of them in turn, the other shares in
proportion; series, steps and seed are equal. Each is scored zero-shot on the last horizon of every series of the data
sets of FOLDER, which is laid out as for `carryover leaderboard`. With --cells, the recurrent cells are compared
instead, all on the whole corpus.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from rnn_model.config import FitConfig, ModelConfig, SyntheticConfig
from rnn_model.corpus import generate
from rnn_model.forecasting import check_horizon
from rnn_model.network import Network, build_network
from rnn_model.synthetic import FAMILIES
from rnn_model.training import Watch
from rnn_model.windows import split_windows
from tasks.baselines import forecast_baseline
from tasks.config import BacktestConfig
from tasks.contract import frame_windows, known_rows, split_rows
from tasks.evaluate import forecast_rows, until_cutoff
from tasks.forecaster import forecast_windows
from tasks.frequency import parse_frequency
from tasks.ingest import read_rows
from tasks.leaderboard import BenchmarkSet, overall, read_sets
from tasks.metrics import overall as means
from tasks.metrics import per_series
from tasks.pretrain import fit_corpus
from tasks.progress import advance, bar
from tasks.tracking import finite

PERIODS, HORIZON, SEED = (1, 4, 7, 12, 13, 24, 52), 64, 0
MODEL = ModelConfig(width=64, num_layers=2, patch=16, context=1024)
CELLS = ("lstm", "gru", "elman")
NAIVE, HISTORY = "SeasonalNaive", BacktestConfig().baseline_history
Scores = dict[str, dict[str, float]]  # forecaster -> metric


@contextmanager
def without(families: tuple[str, ...]) -> Iterator[None]:
    """No series of those families for the length of a `with` block: they are drawn by the shares of the others."""
    usual = dict(FAMILIES)
    FAMILIES.update({name: (FAMILIES[name][0], 0.0) for name in families})
    try:
        yield
    finally:
        FAMILIES.update(usual)


class Variant(NamedTuple):
    """What is different in one of the trainings."""

    left_out: tuple[str, ...] = ()
    model: ModelConfig = MODEL


FAMILY_VARIANTS = {"all": Variant()} | {f"without {name}": Variant((name,)) for name in FAMILIES}
CELL_VARIANTS = {cell: Variant(model=ModelConfig(**MODEL.model_dump() | {"cell": cell})) for cell in CELLS}


def train(name: str, variant: Variant, config: FitConfig, corpus: SyntheticConfig) -> tuple[Network, float]:
    """A network that has seen the other families, and its validation loss, on a part of that corpus."""
    with without(variant.left_out), bar(corpus.series, f"corpus {name}", "series") as shown:
        windows = generate(corpus, PERIODS, SEED, advance(shown))
    network = build_network(variant.model, HORIZON, SEED)
    with bar(config.steps, f"train {name}", "step") as shown:
        result = fit_corpus(network, windows, config, SEED, Watch(tick=advance(shown)))
    return network, result.best_loss


def score(path: Path, about: BenchmarkSet, networks: dict[str, Network]) -> Scores:
    """MASE and WQL of every network, and of the seasonal naive forecast, on the last horizon of each series."""
    target, frequency, horizon = about.target(path), parse_frequency(about.freq), about.horizon
    known, _ = known_rows(read_rows(target).frame, target)
    rows, _, _ = split_rows(known, frequency, target.gaps, 1 + horizon, MODEL.context)
    windows = frame_windows(rows, frequency.network_periods(target.season))
    index = split_windows(windows, horizon, cutoffs=1, step=horizon, validation=1, min_history=1).test_index(0)
    seen = until_cutoff(windows, index)
    made = {name: forecast_windows(network, seen, index, horizon) for name, network in networks.items()}
    made[NAIVE] = forecast_baseline(NAIVE, seen, index, horizon, about.season, HISTORY)
    frames = {name: forecast_rows(deciles, windows, index, rows) for name, deciles in made.items()}
    return {name: means(per_series(frame, rows, about.season)) for name, frame in frames.items()}


def show(scores: dict[str, Scores], title: str) -> None:
    """A row per variant: MASE of each set, in brackets WQL; last the geometric means over the seasonal naive's."""
    relative = overall(scores)
    table = Table(title=title, title_justify="left")
    table.add_column("variant", no_wrap=True)
    for name in (*scores, "relative"):
        table.add_column(name, justify="right")
    for corpus in next(iter(scores.values())):
        cells = [*(rows[corpus] for rows in scores.values()), relative[corpus]]
        table.add_row(corpus, *(f"{row['MASE']:.4g} ({row['WQL']:.3g})" for row in cells))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def main(
    folder: Path, sets: tuple[str, ...], config: FitConfig, corpus: SyntheticConfig, variants: dict[str, Variant]
) -> dict[str, object]:
    """Train a network for each variant, score them all, print the table; returns what was measured."""
    known = read_sets(folder, sets)
    for about in known.values():
        check_horizon(HORIZON, about.horizon)
    trained = {name: train(name, variant, config, corpus) for name, variant in variants.items()}
    networks = {name: network for name, (network, _) in trained.items()}
    scores = {name: score(folder / f"{name}.parquet", about, networks) for name, about in known.items()}
    show(scores, f"Zero-shot after {config.steps} steps of {config.batch_size} windows: MASE (WQL)")
    print(f"{corpus.series} series of up to {corpus.length} points, seed {SEED}, threads {torch.get_num_threads()}")
    settings = {"model": MODEL.model_dump(), "fit": config.model_dump(), "corpus": corpus.model_dump(), "seed": SEED}
    losses = {name: loss for name, (_, loss) in trained.items()}
    return settings | {"scores": scores, "relative": overall(scores), "validation_loss": losses}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="datasets.json, and NAME.parquet for each set")
    parser.add_argument("--sets", nargs="+", default=(), help="names of the sets to score; none: all of them")
    parser.add_argument("--steps", type=int, default=400, help="optimiser steps of each training, of 256 windows")
    parser.add_argument("--series", type=int, default=SyntheticConfig().series, help="series in each corpus")
    parser.add_argument("--length", type=int, default=MODEL.context + 2 * HORIZON, help="points of the longest series")
    parser.add_argument("--cells", action="store_true", help="compare the recurrent cells instead")
    parser.add_argument("--json", type=Path, help="file to write every score to")
    options = parser.parse_args()
    corpus_config = SyntheticConfig(series=options.series, length=options.length, periods=PERIODS)
    fit_config = FitConfig(steps=options.steps, batch_size=256)
    compared = CELL_VARIANTS if options.cells else FAMILY_VARIANTS
    measured = main(options.folder, tuple(options.sets), fit_config, corpus_config, compared)
    if options.json:
        options.json.write_text(json.dumps(finite(measured), indent=1, allow_nan=False) + "\n")
