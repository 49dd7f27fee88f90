"""Ways to calibrate deciles, compared: python benchmarks/calibration.py FOLDER [--model FOLDER] [--draw 35 80 ...]

FOLDER holds the sets of a leaderboard (datasets.json beside Parquet files). The model forecasts each set as it is, at
four tests a horizon apart; every way is fitted on the validation windows before a test, as fine-tuning does it, and
scored on the test: coverage of the 80% interval, the mean distance of a decile's share of truths from its name, and
WQL relative to the deciles as decoded. With --draw also on that many of the series that have validation windows, drawn
eight times from each set that has more.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import polars as pl
import torch

from rnn_model.calibration import LEAST, RANGE, Bools, Calibration, Known, adjust, calibrate, count, coverage_80
from rnn_model.checkpoint import load_model
from rnn_model.config import MEDIAN, QUANTILES
from rnn_model.network import Network
from rnn_model.windows import Floats, Ints, Windows, from_arrays, split_windows
from tasks.config import BASE_FOLDER
from tasks.forecaster import forecast_windows, known_forecasts
from tasks.frequency import stated_periods

TESTS, VALIDATION, HISTORY, DRAWS = 4, 3, 3, 8
LEVELS = np.array(QUANTILES)
Way = Callable[[Known, Floats, Bools], Floats]  # what is known, deciles to adjust, which windows are negative
Figures = tuple[float, float, float]  # coverage of the 80% interval, mean distance of shares from names, WQL


class Test(NamedTuple):
    """What is known before it, and the deciles and truths of its windows: one of each of the series."""

    known: Known
    deciles: Floats
    truth: Floats
    negative: Bools
    series: Ints


def decoded(known: Known, deciles: Floats, negative: Bools) -> Floats:
    """As they are."""
    return deciles


def agreeing(known: Known, deciles: Floats, negative: Bools) -> Floats:
    """What the product does: a factor per decile that all times agree on."""
    return adjust(deciles, calibrate(known), negative)


def in_full(known: Known, deciles: Floats, negative: Bools) -> Floats:
    """The same, but that a time asks for all that it shows, not half a standard error less."""
    with patch("rnn_model.calibration.ERRORS", 0.0):
        return agreeing(known, deciles, negative)


def together(known: Known, deciles: Floats, negative: Bools) -> Floats:
    """The same with all times taken together."""
    return adjust(deciles, calibrate(known._replace(time=np.zeros_like(known.time))), negative)


def one_width(known: Known, deciles: Floats, negative: Bools) -> Floats:
    """One factor for all deciles: what brings the 80% interval to 80% (conformalized quantile regression)."""
    centre = known.deciles[..., MEDIAN]
    with np.errstate(all="ignore"):
        sides = [(known.truth - centre) / (known.deciles[..., k] - centre) for k in (0, -1)]
    score = np.fmax(*sides).ravel()
    factor = float(np.quantile(score[np.isfinite(score)], 0.8).clip(*RANGE)) if known.truth.size else 1.0
    row = tuple(1.0 if k == MEDIAN else factor for k in range(len(QUANTILES)))
    return adjust(deciles, Calibration(factors=(row,), until=(1,), note=""), negative)


def shifts(known: Known, deciles: Floats, negative: Bools) -> Floats:
    """A shift per decile, in half widths of the window's 80% interval; the median stays."""
    half = (known.deciles[..., -1] - known.deciles[..., 0])[..., None] / 2
    with np.errstate(all="ignore"):
        score = (known.truth[..., None] - known.deciles) / half
    score = np.where(np.isfinite(score), score, np.nan).reshape(-1, len(QUANTILES))
    own = np.array([np.nanquantile(score[:, k], q) for k, q in enumerate(QUANTILES)])
    moved = deciles + own * (deciles[..., -1:] - deciles[..., :1]) / 2
    sign = np.sign(np.arange(len(QUANTILES)) - MEDIAN)
    away = np.maximum(sign * (moved - deciles[..., MEDIAN : MEDIAN + 1]), 0)
    out = deciles[..., MEDIAN : MEDIAN + 1] + sign * away
    out = np.where(negative[:, None, None], out, np.maximum(out, 0))
    return np.sort(out, -1)


WAYS: dict[str, Way] = {
    "as decoded": decoded,
    "one width": one_width,
    "shift per decile": shifts,
    "factor per decile": together,
    "the same, times agreeing": agreeing,
    "agreeing on all they show": in_full,
}


def load(path: Path, freq: str, season: int) -> Windows:
    """Every series of a long Parquet file."""
    frame = pl.read_parquet(path).sort("unique_id", "ds")
    arrays = [g["y"].cast(pl.Float64).to_numpy() for _, g in frame.group_by("unique_id", maintain_order=True)]
    return from_arrays(arrays, np.tile(stated_periods(freq, season), (len(arrays), 1)))


def figures(deciles: Floats, truth: Floats) -> Figures:
    """Of the windows of a test."""
    seen = ~np.isnan(truth)
    d, y = deciles[seen], truth[seen][:, None]  # (n, Q), (n, 1)
    apart = np.abs((y <= d).mean(0) - LEVELS).mean()
    loss = np.maximum(LEVELS * (y - d), (LEVELS - 1) * (y - d)).mean()
    return coverage_80(deciles, truth) or 0.0, float(apart), float(2 * loss / np.abs(y).mean())


def look(network: Network, windows: Windows, horizon: int, back: int) -> Test:
    """The test that ends `back` horizons before the end."""
    view = windows.until(windows.end - back * horizon)
    split = split_windows(view, horizon, 1, horizon, VALIDATION, HISTORY)
    known = known_forecasts(network, split.tuning(view), split.validation_index(), horizon)
    index = split.test_index(0)
    batch = view.gather(index, network.config.context, horizon)
    deciles = forecast_windows(network, view, index, horizon)
    return Test(known, deciles, batch.target.numpy(), (batch.context < 0).any(1).numpy(), np.asarray(index.series))


def drawn(test: Test, size: int, seed: int) -> Test:
    """The same of that many of the series that are known."""
    chosen = np.random.default_rng(seed).choice(np.unique(test.known.series), size, replace=False)
    before, after = np.isin(test.known.series, chosen), np.isin(test.series, chosen)
    return Test(Known(*(part[before] for part in test.known)), *(part[after] for part in test[1:]))


def compared(test: Test) -> dict[str, Figures]:
    """Every way, WQL relative to the deciles as decoded."""
    enough = count(test.known.series) >= LEAST  # no way is tried on fewer
    own = {
        name: figures(way(test.known, test.deciles, test.negative) if enough else test.deciles, test.truth)
        for name, way in WAYS.items()
    }
    return {name: (covered, apart, wql / own["as decoded"][2]) for name, (covered, apart, wql) in own.items()}


def main(folder: Path, model: Path, sizes: list[int]) -> None:
    """Print a line per set and way, and the means over all sets and tests; then the means over draws."""
    torch.set_num_threads(1)
    network, _ = load_model(model)
    print("| set | way | coverage at each test | apart | WQL, relative |\n|---|---|---|---|---|")
    tests: list[Test] = []
    found: list[dict[str, Figures]] = []
    for name, about in json.loads((folder / "datasets.json").read_text()).items():
        windows = load(folder / f"{name}.parquet", about["freq"], about["season"])
        own = [look(network, windows, about["horizon"], back) for back in range(TESTS)]
        every = [compared(test) for test in own]
        for way in WAYS:
            rows = [one[way] for one in every]
            covered = ", ".join(f"{c:.2f}" for c, _, _ in rows)
            print(f"| {name} | {way} | {covered} | {mean(rows, 1):.3f} | {relative(rows):.4f} |", flush=True)
        tests, found = tests + own, found + every
    summary(f"all series, {len(tests)} tests", found)
    adjusted = [one for test, one in zip(tests, found, strict=True) if count(test.known.series) >= LEAST]
    summary(f"all series, {len(adjusted)} tests that can be adjusted", adjusted)  # the others stay as decoded
    for size in sizes:
        able = [test for test in tests if count(test.known.series) > size]
        every = [compared(drawn(test, size, seed)) for test in able for seed in range(DRAWS)]
        summary(f"{size} series, {len(able)} tests", every)


def summary(title: str, every: list[dict[str, Figures]]) -> None:
    """A table of means over tests."""
    print(f"\n| {title} | distance of coverage from .80 | apart | WQL, relative | worst |\n|---|---|---|---|---|")
    for way in WAYS:
        rows = [one[way] for one in every]
        off, worst = float(np.mean([abs(c - 0.8) for c, _, _ in rows])), max(w for _, _, w in rows)
        print(f"| {way} | {off:.4f} | {mean(rows, 1):.4f} | {relative(rows):.4f} | {worst:.3f} |", flush=True)


def mean(rows: list[Figures], place: int) -> float:
    """Of one figure."""
    return float(np.mean([row[place] for row in rows]))


def relative(rows: list[Figures]) -> float:
    """Geometric mean of the relative WQL."""
    return float(np.exp(np.mean(np.log([row[2] for row in rows]))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="sets of a leaderboard")
    parser.add_argument("--model", type=Path, default=BASE_FOLDER, help="model folder; none: the base model")
    parser.add_argument("--draw", type=int, nargs="*", default=[], help="series to draw of each set; none: no draws")
    options = parser.parse_args()
    main(options.folder, options.model, options.draw)
