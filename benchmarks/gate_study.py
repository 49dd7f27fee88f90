"""The gate tried on models whose difference is known: python benchmarks/gate_study.py [--pairs 2000] [--json FILE]

Equal models: how often the gate would promote one of them, which must not exceed the level. True gains: how often it
finds them. The losses are simulated, as sets of series by cutoffs: series differ in difficulty, windows too, both
alike for the two models; on top come, for each model, errors with heavy tails, series that suit it, and (in one half
of the study) shocks that hit all series of a cutoff at once. The floors on coverage and segments are not part of it:
they can only stop promotions.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rnn_model.seeding import numpy_rng
from tasks.config import GateConfig
from tasks.significance import (
    Floats,
    fewest_cutoffs,
    fewest_series,
    gain_interval,
    p_value,
    proven,
    relative_gain,
    shares,
    sign_flip,
)

SERIES, CUTOFFS = (1, 5, 12, 30, 100, 500), (1, 3, 12)
GAINS = (0.01, 0.02, 0.05, 0.10, 0.20)
SEED = 0
AT_ONCE = 100  # pairs simulated together: bounds the memory
DIFFICULTY = 0.8  # spread, of logarithms, of how hard the series are for both models
OWN, SUITED, SHOCK = 0.15, 0.1, 0.1  # the same of what is a model's own: per window, per series, per cutoff
TAIL = 3  # index of the heavy tails: no third moment
FAILURE = 0.2  # size of a model's own heavy-tailed errors


Decided = NDArray[np.bool_]
Gate = Callable[[Floats, Floats, GateConfig, np.random.Generator], Decided]


class Cell(NamedTuple):
    """One kind of set."""

    series: int
    cutoffs: int
    shocks: bool
    gain: float = 0.0  # by which the second model is better


def simulate(cell: Cell, pairs: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Losses (N, S, C) of two models on the same windows; the second's are lower by the gain, in truth.

    Both draw alike, so that without a gain they can be exchanged. Where the gate takes so few series as given,
    no series suits a model: that would be a true difference there.
    """
    shape = (pairs, cell.series, cell.cutoffs)
    hard = np.exp(DIFFICULTY * rng.normal(size=(pairs, cell.series, 1))) * (1 + rng.pareto(TAIL, shape))
    suited = SUITED if cell.series >= fewest_series(GateConfig().level) else 0.0

    def model() -> Floats:
        own = OWN * rng.normal(size=shape) + suited * rng.normal(size=(pairs, cell.series, 1))
        if cell.shocks:
            own += SHOCK * np.clip(rng.standard_t(TAIL, (pairs, 1, cell.cutoffs)), -10, 10)
        return hard * np.exp(own) * (1 + FAILURE * rng.pareto(TAIL, shape))

    return model(), (1 - cell.gain) * model()


def promoted(champion: Floats, challenger: Floats, config: GateConfig, rng: np.random.Generator) -> Decided:
    """Which of the challengers (N,) the gate would promote, were every floor to hold."""
    _, series, cutoffs = champion.shape
    if cutoffs < fewest_cutoffs(series, config.level):
        return np.zeros(len(champion), dtype=bool)
    gain = relative_gain(shares(champion).sum((1, 2)), shares(challenger).sum((1, 2)))
    low, _ = gain_interval(champion, challenger, 0, config.level, rng, config.resamples)
    p = p_value(champion, challenger, 0, config.level, rng, config.resamples)
    return proven(gain, low, p, config.level, config.min_effect)


def by_series_alone(champion: Floats, challenger: Floats, config: GateConfig, rng: np.random.Generator) -> Decided:
    """The same by signs over series alone: what a gate does that takes windows of one date for independent."""
    return sign_flip((shares(champion) - shares(challenger)).sum(2), config.resamples, rng) <= config.level


def count(cell: Cell, pairs: int, config: GateConfig, gate: Gate) -> int:
    """Promotions in so many simulated pairs."""
    found = 0
    for batch, start in enumerate(range(0, pairs, AT_ONCE)):
        rng = numpy_rng(SEED, f"gate study {cell}", batch)
        found += int(gate(*simulate(cell, min(AT_ONCE, pairs - start), rng), config, rng).sum())
    return found


def study(pairs: int, config: GateConfig) -> dict[str, Any]:
    """Every cell, equal models and true gains; prints a table as soon as it is complete."""
    results: list[dict[str, Any]] = []
    for shocks in (False, True):
        world = f"{'with' if shocks else 'without'} common shocks"
        equal = {c: {s: measure(Cell(s, c, shocks), pairs, config) for s in SERIES} for c in CUTOFFS}
        show(f"Equal models {world}: promoted by mistake, %", {f"cutoffs {c}": found for c, found in equal.items()})
        results += [row for found in equal.values() for row in found.values()]
        for cutoffs in CUTOFFS[1:]:  # with one cutoff there is no promotion
            true = {g: {s: measure(Cell(s, cutoffs, shocks, g), pairs // 4, config) for s in SERIES} for g in GAINS}
            show(f"True gain {world}, {cutoffs} cutoffs: promoted, %", {f"{g:.0%}": found for g, found in true.items()})
            results += [row for found in true.values() for row in found.values()]
    drawn = {c: {s: measure(Cell(s, c, True), pairs, config, by_series_alone) for s in SERIES} for c in CUTOFFS}
    title = "Equal models with common shocks, were series alone drawn: promoted by mistake, %"
    show(title, {f"cutoffs {c}": found for c, found in drawn.items()})
    worst = max((r for r in results if r["gain"] == 0), key=lambda r: r["rate"])
    print(f"\nlevel {config.level:.0%}; worst cell of equal models: {worst['promoted']} of {worst['pairs']}")
    alone = [row for found in drawn.values() for row in found.values()]
    settings = {"level": config.level, "min_effect": config.min_effect, "resamples": config.resamples}
    return settings | {"cells": results, "series_alone": alone}


def measure(cell: Cell, pairs: int, config: GateConfig, gate: Gate = promoted) -> dict[str, Any]:
    """A cell with its rate and the 95% interval of it (Clopper and Pearson)."""
    found = count(cell, pairs, config, gate)
    low, high = stats.binomtest(found, pairs).proportion_ci(0.95)
    return cell._asdict() | {"pairs": pairs, "promoted": found, "rate": found / pairs, "low": low, "high": high}


def show(title: str, columns: dict[str, dict[int, dict[str, Any]]]) -> None:
    """Rates in percent as a Markdown table, a row per number of series; for equal models with their intervals."""
    lines = [f"| series | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for series in SERIES:
        cells = [in_percent(found[series]) for found in columns.values()]
        lines.append(f"| {series} | {' | '.join(cells)} |")
    print(f"\n{title}\n\n" + "\n".join(lines), flush=True)


def in_percent(row: dict[str, Any]) -> str:
    """A rate, and the interval of a small one."""
    text = f"{100 * row['rate']:.1f}"
    return text if row["gain"] else f"{text} ({100 * row['low']:.1f} to {100 * row['high']:.1f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2000, help="equal models per cell; a quarter for true gains")
    parser.add_argument("--json", type=Path, help="file to write every rate to")
    options = parser.parse_args()
    started = time.perf_counter()
    measured = study(options.pairs, GateConfig())
    print(f"{time.perf_counter() - started:.0f} s, seed {SEED}")
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1, allow_nan=False) + "\n")
