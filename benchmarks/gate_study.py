"""The gate tried on models whose difference is known: python benchmarks/gate_study.py [--pairs 2000] [--json FILE]

Equal models: how often the gate would promote one of them, which must not exceed the level. True gains: how often it
finds them. The losses are simulated, as sets of series by cutoffs: series differ in difficulty, windows too, both
alike for the two models; on top come, for each model, errors with heavy tails, series that suit it, and (in one half
of the study) shocks that hit all series of a date at once. Where windows overlap, all of that is drawn by step, and a
window's loss is the mean over its steps. The floors on coverage and segments are not part of it: they can only stop
promotions.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import stats

from rnn_model.seeding import numpy_rng
from tasks.config import GateConfig
from tasks.significance import (
    Floats,
    date_weights,
    effective_cutoffs,
    fewest_cutoffs,
    fewest_series,
    gain_interval,
    p_value,
    proven,
    relative_gain,
    shares,
    sign_flip,
)

SERIES = (1, 5, 12, 30, 100, 500)
WINDOWS = {(1, 1): (1, 3, 12, 40), (8, 4): (3, 12, 40), (8, 1): (12, 40)}  # horizon and step: numbers of cutoffs
FINDING = {(1, 1): (3, 12), (8, 4): (12, 40), (8, 1): (12, 40)}  # the same for true gains
GAINS = (0.01, 0.02, 0.05, 0.10, 0.20)
ENDS = ("closed", "halves", "spread", "anywhere")  # how series end apart
APART_SERIES, APART_WINDOWS = (12, 20, 100), (4, 4)  # sets of such series, and the horizon and step of their windows
SEED = 0
AT_ONCE = 100  # pairs simulated together: bounds the memory
DIFFICULTY = 0.8  # spread, of logarithms, of how hard the series are for both models
OWN, SUITED, SHOCK = 0.15, 0.1, 0.1  # the same of what is a model's own: per window, per series, per cutoff
TAIL = 3  # index of the heavy tails: no third moment
FAILURE = 0.2  # size of a model's own heavy-tailed errors
FARTHEST = 3.0  # of a logarithm that is drawn by step: e^3 is 20 times the loss


Decided = NDArray[np.bool_]
Ints = NDArray[np.int64]
Gate = Callable[[Floats, Floats, GateConfig, np.random.Generator, int], Decided]


class Cell(NamedTuple):
    """One kind of set."""

    series: int
    cutoffs: int
    shocks: bool
    gain: float = 0.0  # by which the second model is better
    horizon: int = 1  # steps of a window
    step: int = 1  # steps between cutoffs
    ends: str = "together"  # or apart, in one of ENDS

    @property
    def lags(self) -> int:
        """Later dates that a window overlaps: one more where series are cut between the dates of others."""
        return math.ceil(self.horizon / self.step) - 1 + (self.ends == "anywhere")

    @property
    def offsets(self) -> Ints:
        """How many steps before the last one each series ends."""
        span, order = self.cutoffs * self.step, np.arange(self.series)
        closed = np.where(order == 0, span, 0)  # one series, and none of its dates is another's
        halves = np.where(order < self.series // 2, span, 0)
        spread = order * self.cutoffs // self.series * self.step
        anywhere = order * span // self.series
        ways = {"closed": closed, "halves": halves, "spread": spread, "anywhere": anywhere}
        return np.asarray(ways.get(self.ends, np.zeros_like(order)))


def simulate(cell: Cell, pairs: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Losses (N, S, C) of two models on the same windows; the second's are lower by the gain, in truth.

    Both draw alike, so that without a gain they can be exchanged. Where the gate takes so few series as given,
    no series suits a model: that would be a true difference there.
    """
    steps = cell.horizon + cell.step * (cell.cutoffs - 1) + int(cell.offsets.max())
    shape, spread = (pairs, cell.series, steps), math.sqrt(cell.horizon)  # a window's mean varies as one step would
    hard = np.exp(DIFFICULTY * rng.normal(size=(pairs, cell.series, 1))) * (1 + rng.pareto(TAIL, shape))
    suited = SUITED if cell.series >= fewest_series(GateConfig().level) else 0.0

    def model() -> Floats:
        own = OWN * spread * rng.normal(size=shape) + suited * rng.normal(size=(pairs, cell.series, 1))
        if cell.shocks:
            own += SHOCK * spread * np.clip(rng.standard_t(TAIL, (pairs, 1, steps)), -10, 10)
        losses = hard * np.exp(np.clip(own, -FARTHEST, FARTHEST)) * (1 + FAILURE * rng.pareto(TAIL, shape))
        windows = sliding_window_view(losses, cell.horizon, axis=2)
        if cell.ends == "together":
            return np.asarray(windows[:, :, :: cell.step].mean(-1))
        return dated(windows.mean(-1), cell)

    return model(), (1 - cell.gain) * model()


def dated(windows: Floats, cell: Cell) -> Floats:
    """Losses of windows that begin at every step (N, S, T) -> those of each series' cutoffs (N, S, C), by date.

    As `tasks.pairing.date_windows`: the last cutoff of a series falls on the nearest date, those before on one each.
    """
    last, back = windows.shape[2] - 1, np.round(cell.offsets / cell.step).astype(int)
    dates = int(back.max()) + cell.cutoffs
    losses = np.full((*windows.shape[:2], dates), np.nan)
    for series, offset in enumerate(cell.offsets):
        for k in range(cell.cutoffs):
            losses[:, series, dates - 1 - back[series] - k] = windows[:, series, last - offset - k * cell.step]
    return losses


def promoted(
    champion: Floats, challenger: Floats, config: GateConfig, rng: np.random.Generator, lags: int = 0
) -> Decided:
    """Which of the challengers (N,) the gate would promote, were every floor to hold."""
    series, cutoffs = champion.shape[1], int(effective_cutoffs(date_weights(champion)).min())
    if cutoffs < fewest_cutoffs(series, config.level, lags):
        return np.zeros(len(champion), dtype=bool)
    gain = relative_gain(shares(champion).sum((1, 2)), shares(challenger).sum((1, 2)))
    low, _ = gain_interval(champion, challenger, lags, config.level, rng, config.resamples)
    p = p_value(champion, challenger, lags, config.level, rng, config.resamples)
    return proven(gain, low, p, config.level, config.min_effect)


def by_series_alone(
    champion: Floats, challenger: Floats, config: GateConfig, rng: np.random.Generator, lags: int = 0
) -> Decided:
    """The same by signs over series alone: what a gate does that takes windows of one date for independent."""
    return sign_flip((shares(champion) - shares(challenger)).sum(2), config.resamples, rng) <= config.level


def as_if_apart(
    champion: Floats, challenger: Floats, config: GateConfig, rng: np.random.Generator, lags: int = 0
) -> Decided:
    """The same by a gate that does not know of overlap."""
    return promoted(champion, challenger, config, rng)


def count(cell: Cell, pairs: int, config: GateConfig, gate: Gate) -> int:
    """Promotions in so many simulated pairs."""
    found = 0
    for batch, start in enumerate(range(0, pairs, AT_ONCE)):
        rng = numpy_rng(SEED, f"gate study {cell}", batch)
        found += int(gate(*simulate(cell, min(AT_ONCE, pairs - start), rng), config, rng, cell.lags).sum())
    return found


def study(pairs: int, config: GateConfig) -> dict[str, Any]:
    """Every cell, equal models and true gains; prints a table as soon as it is complete."""
    results = [row for way in WINDOWS for shocks in (False, True) for row in equal_models(way, shocks, pairs, config)]
    worst = max(results, key=lambda r: r["rate"])
    where = ", ".join(f"{name} {worst[name]}" for name in Cell._fields if name != "gain")
    print(f"\nlevel {config.level:.0%}; worst cell of equal models: {in_percent(worst)}% ({where})", flush=True)
    print("\nGates broken on purpose, by series alone, then without a thought of overlap:")
    alone = equal_models((1, 1), True, pairs // 2, config, by_series_alone)
    apart = equal_models((8, 1), True, pairs // 2, config, as_if_apart)
    results += [row for way in FINDING for shocks in (False, True) for row in true_gains(way, shocks, pairs, config)]
    settings = {"level": config.level, "min_effect": config.min_effect, "resamples": config.resamples}
    return settings | {"cells": results, "series_alone": alone, "overlap_unknown": apart}


def apart(pairs: int, config: GateConfig) -> dict[str, Any]:
    """The same for series that end apart: tables of equal models and of true gains, as soon as each is complete."""
    results = []
    for gain in (0.0, 0.05, 0.2):
        for shocks in (False, True):
            print(f"\n{f'True gain {gain:.0%}' if gain else 'Equal models'}, {world((1, 1), shocks)}: promoted, %\n")
            print(
                "| series end | " + " | ".join(f"{s} series, {c} cutoffs" for s in APART_SERIES for c in (3, 12)) + " |"
            )
            print("|---" * (1 + 2 * len(APART_SERIES)) + "|")
            for ends in ("together", *ENDS):
                cells = [
                    measure(Cell(s, c, shocks, gain, *APART_WINDOWS, ends), pairs // 4 if gain else pairs, config)
                    for s in APART_SERIES
                    for c in (3, 12)
                ]
                print(f"| {ends} | {' | '.join(map(in_percent, cells))} |", flush=True)
                results += cells
    return {"cells": results}


def equal_models(
    way: tuple[int, int], shocks: bool, pairs: int, config: GateConfig, gate: Gate | None = None
) -> list[dict[str, Any]]:
    """Every size of set, promoted by mistake."""
    found = {
        f"cutoffs {c}": {s: measure(Cell(s, c, shocks, 0.0, *way), pairs, config, gate or promoted) for s in SERIES}
        for c in WINDOWS[way]
    }
    show(f"Equal models, {world(way, shocks)}: promoted by mistake, %", found)
    return [row for rows in found.values() for row in rows.values()]


def true_gains(way: tuple[int, int], shocks: bool, pairs: int, config: GateConfig) -> list[dict[str, Any]]:
    """Every size of set and gain, promoted rightly; of a quarter of the pairs."""
    results = []
    for cutoffs in FINDING[way]:
        found = {
            f"{gain:.0%}": {s: measure(Cell(s, cutoffs, shocks, gain, *way), pairs // 4, config) for s in SERIES}
            for gain in GAINS
        }
        show(f"True gain, {world(way, shocks)}, {cutoffs} cutoffs: promoted, %", found)
        results += [row for rows in found.values() for row in rows.values()]
    return results


def world(way: tuple[int, int], shocks: bool) -> str:
    """Windows and shocks, in words."""
    horizon, step = way
    windows = f"horizon {horizon} and step {step}" if step < horizon else "windows apart"
    return f"{windows}, {'with' if shocks else 'without'} common shocks"


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
    parser.add_argument("--ends", choices=["together", "apart"], default="together", help="of the series")
    parser.add_argument("--json", type=Path, help="file to write every rate to")
    options = parser.parse_args()
    started = time.perf_counter()
    measured = (apart if options.ends == "apart" else study)(options.pairs, GateConfig())
    print(f"{time.perf_counter() - started:.0f} s, seed {SEED}")
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1, allow_nan=False) + "\n")
