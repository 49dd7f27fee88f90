"""The monitor's test tried where the truth is known: python benchmarks/monitor_study.py [--years 1000] [--json FILE]

A target of daily series is simulated: each is a weekly pattern with its own noise, and a shock that hits all series of
a day, the logarithm of its size following itself from day to day (or not). The forecaster knows the law, so its deciles
are honest; its backtest is drawn from the same law, on the days before. Each day it forecasts the next one, and the
monitor looks. Without a break: how often it gives alarm within a month and a year, which must not exceed the level.
With a break on day 15 of a month: after how many days it gives alarm. The product's own functions judge, by default.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from rnn_model.config import QUANTILES
from rnn_model.seeding import numpy_rng
from tasks.config import MonitorConfig
from tasks.promise import Promise, expected, ratios
from tasks.sequential import HIGHEST, follow, upper_end
from tasks.watch import HALF

Floats = NDArray[np.float64]
HORIZON, MONTH, YEAR, BREAK = 7, 30, 365, 15
WEEK = np.sin(2 * np.pi * np.arange(7) / 7)
PATTERN = 2.0  # height of the weekly pattern, in spreads of the noise
DECILES = stats.norm.ppf(QUANTILES)
BREAKS = (
    "level + 1",
    "level + 2",
    "variance x 2",
    "variance x 4",
    "spread x 3",
    "season moved by 3 days",
    "level + 2, learning",
)
LEARNS = 0.3  # share of its last error by which the forecaster moves its level: one that takes in what it sees


class Cell(NamedTuple):
    """One kind of target."""

    series: int
    cutoffs: int  # of the backtest
    shock: float = 0.2  # spread of the logarithm of the size of a day's noise
    follows: float = 0.0  # how the shock follows itself


def noise(cell: Cell, days: int, rng: np.random.Generator) -> Floats:
    """Noise (days, series), its spread varying from day to day, with mean absolute size as without shocks."""
    z = np.empty(days)
    z[0] = rng.normal()
    for t in range(1, days):
        z[t] = cell.follows * z[t - 1] + math.sqrt(1 - cell.follows**2) * rng.normal()
    size = np.exp(cell.shock * z - cell.shock**2 / 2)
    return size[:, None] * rng.normal(size=(days, cell.series))


def broken(noise: Floats, kind: str) -> Floats:
    """What the values differ by from the weekly pattern when it breaks on the first of these days."""
    days = np.arange(len(noise))[:, None]
    if kind.startswith("level"):
        return noise + float(kind.split()[-1])
    if kind.startswith("season"):
        return noise + PATTERN * (WEEK[(days + 3) % 7] - WEEK[days % 7])
    factor = float(kind.split()[-1])
    return noise * (math.sqrt(factor) if kind.startswith("variance") else factor)


def losses(values: Floats, learns: bool) -> Floats:
    """SQL, up to the scale, of forecasts one day ahead (days, series); one who learns moves his level by his errors."""
    level = np.zeros_like(values)
    if learns:
        for t in range(1, len(values)):
            level[t] = level[t - 1] + LEARNS * (values[t - 1] - level[t - 1])
    q = np.array(QUANTILES)
    apart = (values - level)[..., None] - DECILES
    return 2 * np.maximum(q * apart, (q - 1) * apart).mean(-1)


def scored(losses: Floats, steps: NDArray[np.int64], unit: NDArray[np.int64]) -> pl.DataFrame:
    """Losses (days, series) as the product has them: unique_id, step, SQL, and the unit of each day."""
    days, series = losses.shape
    columns = {"unique_id": np.tile(np.arange(series), days), "SQL": losses.ravel()}
    return pl.DataFrame(columns | {"step": np.repeat(steps, series), "unit": np.repeat(unit, series)})


def first_alarm(past: Floats, now: Floats, config: MonitorConfig) -> tuple[int, float]:
    """Day of the first alarm (YEAR: none) and the bound, from losses (days, series) in the backtest and since."""
    day = np.arange(len(past))
    backtest = scored(past, day % HORIZON + 1, day // HORIZON)
    promise = Promise(backtest, pl.DataFrame())
    dates = ratios(expected(backtest, promise, "SQL"), "unit")["ratio"].to_numpy()
    bound = upper_end(dates, HALF * config.level) * (1 + config.min_effect)
    if bound >= HIGHEST:
        return YEAR, bound
    since = scored(now, np.ones(len(now), dtype=np.int64), np.arange(len(now)))
    told = ratios(expected(since, promise, "SQL"), "unit")["ratio"].to_list()
    return min(follow(told, bound, HALF * config.level).alarms, default=YEAR), bound


def a_month(past: Floats, now: Floats, kind: str, config: MonitorConfig) -> int:
    """The same for noise that breaks on the 15th; `learning`: the forecaster takes in what he sees."""
    learns = kind.endswith("learning")
    month = np.concatenate([now[:BREAK], broken(now[BREAK : 4 * MONTH], kind.removesuffix(", learning"))])
    cost = losses(np.concatenate([past, month]), learns)
    return first_alarm(cost[: len(past)], cost[len(past) :], config)[0]


def try_cell(cell: Cell, years: int, config: MonitorConfig) -> dict[str, Any]:
    """How often there is an alarm without a break, and after how many days with one."""
    rng = numpy_rng(0, f"monitor study {cell}")
    first: dict[str, list[int]] = {kind: [] for kind in BREAKS}
    none, bounds = [], []
    for number in range(years):
        days = noise(cell, cell.cutoffs * HORIZON + YEAR, rng)
        past, now = np.split(days, [cell.cutoffs * HORIZON])
        alarm, bound = first_alarm(losses(past, False), losses(now, False), config)
        none.append(alarm)
        bounds.append(bound)
        if number < years // 4:  # a break is no rare event
            for kind in BREAKS:
                first[kind].append(a_month(past, now, kind, config))
    return {
        **cell._asdict(),
        "bound": float(np.median(bounds)),
        "month": rate(sum(day < MONTH for day in none), years),
        "year": rate(sum(day < YEAR for day in none), years),
        "days": {kind: delay(np.array(found)) for kind, found in first.items()},
    }


def rate(count: int, of: int) -> tuple[float, float, float]:
    """A share in percent with its 95% interval (Clopper and Pearson)."""
    interval = stats.binomtest(count, of).proportion_ci(0.95)
    return 100 * count / of, 100 * float(interval.low), 100 * float(interval.high)


def delay(first: NDArray[np.int64]) -> dict[str, float | None]:
    """Days after the break until the alarm (median; none where half of them see none), and shares in percent."""
    after = first[first >= BREAK] - BREAK + 1
    middle = float(np.median(after)) if len(after) else None
    seen = middle if middle is not None and middle < 3 * MONTH else None
    return {"median": seen, "within the month": 100 * float((after <= MONTH - BREAK).mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--years", type=int, default=1000, help="simulated years for each kind of target")
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args()
    cells = [Cell(50, cutoffs) for cutoffs in (3, 6, 12)] + [Cell(5, 6), Cell(50, 6, 0.0)]
    cells += [Cell(50, 6, 0.2, 0.5), Cell(50, 6, 0.2, 0.8), Cell(50, 6, 0.3, 0.8)]
    found = []
    for cell in cells:
        started = time.monotonic()
        found.append(try_cell(cell, options.years, MonitorConfig()))
        print(f"{time.monotonic() - started:.0f} s", json.dumps(found[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
