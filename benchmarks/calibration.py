"""Ways to calibrate deciles, compared: python benchmarks/calibration.py FOLDER [--model FOLDER]

FOLDER holds the sets of a leaderboard (datasets.json beside Parquet files). The model forecasts each set as it is, at
four tests a horizon apart; every way is fitted on the validation windows before a test, as fine-tuning does it, and
scored on the test: coverage of the 80% interval, the mean distance of a decile's share of truths from its name, and
WQL relative to the deciles as decoded.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch

from rnn_model.calibration import RANGE, Calibration, Known, adjust, calibrate, count, coverage_80
from rnn_model.checkpoint import load_model
from rnn_model.config import MEDIAN, QUANTILES
from rnn_model.network import Network
from rnn_model.windows import Floats, Windows, from_arrays, split_windows
from tasks.config import BASE_FOLDER
from tasks.forecaster import forecast_windows, known_forecasts
from tasks.frequency import stated_periods

TESTS, VALIDATION, HISTORY, FEWEST = 4, 3, 3, 30
LEVELS = np.array(QUANTILES)
Way = Callable[[Known, Floats, Floats], Floats]  # what is known, deciles to adjust, which windows are negative


def decoded(known: Known, deciles: Floats, negative: Floats) -> Floats:
    """As they are."""
    return deciles


def agreeing(known: Known, deciles: Floats, negative: Floats) -> Floats:
    """What the product does: a factor per decile that all times agree on."""
    return adjust(deciles, calibrate(known), negative)


def together(known: Known, deciles: Floats, negative: Floats) -> Floats:
    """The same with all times taken together."""
    return adjust(deciles, calibrate(known._replace(time=np.zeros_like(known.time))), negative)


def one_width(known: Known, deciles: Floats, negative: Floats) -> Floats:
    """One factor for all deciles: what brings the 80% interval to 80% (conformalized quantile regression)."""
    centre = known.deciles[..., MEDIAN]
    with np.errstate(all="ignore"):
        sides = [(known.truth - centre) / (known.deciles[..., k] - centre) for k in (0, -1)]
    score = np.fmax(*sides).ravel()
    factor = float(np.quantile(score[np.isfinite(score)], 0.8).clip(*RANGE)) if known.truth.size else 1.0
    row = tuple(1.0 if k == MEDIAN else factor for k in range(len(QUANTILES)))
    return adjust(deciles, Calibration(factors=(row,), until=(1,), note=""), negative)


def shifts(known: Known, deciles: Floats, negative: Floats) -> Floats:
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
}


def load(path: Path, freq: str, season: int) -> Windows:
    """Every series of a long Parquet file."""
    frame = pl.read_parquet(path).sort("unique_id", "ds")
    arrays = [g["y"].cast(pl.Float64).to_numpy() for _, g in frame.group_by("unique_id", maintain_order=True)]
    return from_arrays(arrays, np.tile(stated_periods(freq, season), (len(arrays), 1)))


def figures(deciles: Floats, truth: Floats) -> tuple[float, float, float]:
    """Coverage of the 80% interval, mean distance of the deciles' shares from their names, WQL."""
    seen = ~np.isnan(truth)
    d, y = deciles[seen], truth[seen][:, None]  # (n, Q), (n, 1)
    apart = np.abs((y <= d).mean(0) - LEVELS).mean()
    loss = np.maximum(LEVELS * (y - d), (LEVELS - 1) * (y - d)).mean()
    return coverage_80(deciles, truth) or 0.0, float(apart), float(2 * loss / np.abs(y).mean())


def tested(network: Network, windows: Windows, horizon: int, back: int) -> dict[str, tuple[float, float, float]]:
    """Every way at the test that ends `back` horizons before the end."""
    view = windows.until(windows.end - back * horizon)
    split = split_windows(view, horizon, 1, horizon, VALIDATION, HISTORY)
    known = known_forecasts(network, split.tuning(view), split.validation_index(), horizon)
    test = split.test_index(0)
    batch = view.gather(test, network.config.context, horizon)
    deciles = forecast_windows(network, view, test, horizon)
    negative = (batch.context < 0).any(1).numpy()
    enough = count(known.series) >= FEWEST  # no way is tried on fewer
    return {
        name: figures(way(known, deciles, negative) if enough else deciles, batch.target.numpy())
        for name, way in WAYS.items()
    }


def main(folder: Path, model: Path) -> None:
    """Print a line per set and way, and the means over all sets and tests."""
    torch.set_num_threads(1)
    network, _ = load_model(model)
    print("| set | way | coverage at each test | apart | WQL, relative |\n|---|---|---|---|---|")
    every: dict[str, list[tuple[float, float, float]]] = {name: [] for name in WAYS}
    for name, about in json.loads((folder / "datasets.json").read_text()).items():
        windows = load(folder / f"{name}.parquet", about["freq"], about["season"])
        runs = [tested(network, windows, about["horizon"], back) for back in range(TESTS)]
        for way in WAYS:
            rows = [(c, a, w / run["as decoded"][2]) for run in runs for c, a, w in (run[way],)]
            every[way] += rows
            covered = ", ".join(f"{c:.2f}" for c, _, _ in rows)
            print(f"| {name} | {way} | {covered} | {mean(rows, 1):.3f} | {relative(rows):.3f} |", flush=True)
    print("\n| way | distance of coverage from .80 | apart | WQL, relative | worst |\n|---|---|---|---|---|")
    for way, rows in every.items():
        off = float(np.mean([abs(c - 0.8) for c, _, _ in rows]))
        worst = max(w for _, _, w in rows)
        print(f"| {way} | {off:.3f} | {mean(rows, 1):.3f} | {relative(rows):.3f} | {worst:.3f} |")


def mean(rows: list[tuple[float, float, float]], place: int) -> float:
    """Of one figure."""
    return float(np.mean([row[place] for row in rows]))


def relative(rows: list[tuple[float, float, float]]) -> float:
    """Geometric mean of the relative WQL."""
    return float(np.exp(np.mean(np.log([row[2] for row in rows]))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="sets of a leaderboard")
    parser.add_argument("--model", type=Path, default=BASE_FOLDER, help="model folder; none: the base model")
    options = parser.parse_args()
    main(options.folder, options.model)
