"""The gate on simulated models that are equal in truth, and gates broken on purpose, which would be found out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks.gate_study import APART_WINDOWS, ENDS, Cell, Gate, as_if_apart, by_series_alone, promoted, simulate
from tasks.config import GateConfig
from tasks.significance import sign_flip

Array = np.ndarray[Any, Any]
CONFIG = GateConfig()
PAIRS = 300
ALLOWED = stats.binom.ppf(0.999, PAIRS, CONFIG.level)  # promotions that a gate at its level exceeds once in 1000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def mean_alone(champion: Array, challenger: Array) -> Array:
    return np.asarray(challenger.sum((1, 2)) < champion.sum((1, 2)))


def every_window_a_series(champion: Array, challenger: Array) -> Array:
    return np.asarray(sign_flip((champion - challenger).reshape(len(champion), -1), 500, rng()) <= CONFIG.level)


def series_alone(champion: Array, challenger: Array) -> Array:
    return by_series_alone(champion, challenger, CONFIG, rng(8))


def mistakes(gate: Callable[[Array, Array], Array], cell: Cell) -> int:
    return int(gate(*simulate(cell, PAIRS, rng(7))).sum())


def overlapping_mistakes(gate: Gate, cell: Cell) -> int:
    return int(gate(*simulate(cell, PAIRS, rng(7)), CONFIG, rng(8), cell.lags).sum())


def gate(champion: Array, challenger: Array) -> Array:
    return promoted(champion, challenger, CONFIG, rng(8))


@pytest.mark.parametrize("shocks", [False, True])
@pytest.mark.parametrize(("series", "cutoffs"), [(1, 12), (5, 3), (12, 12), (30, 1), (30, 3), (100, 3)])
def test_equal_models_are_promoted_no_more_often_than_declared(series: int, cutoffs: int, shocks: bool) -> None:
    assert mistakes(gate, Cell(series, cutoffs, shocks)) <= ALLOWED


@pytest.mark.parametrize("shocks", [False, True])
@pytest.mark.parametrize(("series", "cutoffs", "step"), [(1, 12, 1), (1, 40, 1), (1, 12, 4), (30, 12, 4), (30, 40, 1)])
def test_overlap_promotes_no_more_equal_models_than_declared(
    series: int, cutoffs: int, step: int, shocks: bool
) -> None:
    cell = Cell(series, cutoffs, shocks, horizon=8, step=step)
    assert overlapping_mistakes(promoted, cell) <= ALLOWED


@pytest.mark.parametrize("shocks", [False, True])
@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("cutoffs", [3, 12])
def test_series_that_end_apart_promote_no_more_equal_models_than_declared(
    cutoffs: int, ends: str, shocks: bool
) -> None:
    assert overlapping_mistakes(promoted, Cell(20, cutoffs, shocks, 0.0, *APART_WINDOWS, ends)) <= ALLOWED


@pytest.mark.parametrize("ends", ["closed", "halves", "spread"])
def test_a_gain_is_found_though_series_end_apart(ends: str) -> None:
    cell = Cell(100, 3, False, 0.2, *APART_WINDOWS, ends)
    assert promoted(*simulate(cell, 100, rng(9)), CONFIG, rng(8), cell.lags).mean() > 0.8


@pytest.mark.parametrize("series", [1, 30])
def test_a_gate_that_does_not_know_of_overlap_would_be_found_out(series: int) -> None:
    assert overlapping_mistakes(as_if_apart, Cell(series, 40, True, horizon=8)) > ALLOWED


def test_simulated_windows_that_overlap_share_their_steps() -> None:
    ours, theirs = simulate(Cell(1, 40, False, horizon=8, step=4), 300, rng(1))
    logs = np.log(ours) - np.log(theirs)
    near, far = (np.mean(logs[..., gap:] * logs[..., :-gap]) / np.mean(logs**2) for gap in (1, 2))
    assert near == pytest.approx(0.5, abs=0.05)
    assert far == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("broken", [mean_alone, every_window_a_series, series_alone])
def test_a_broken_gate_would_be_found_out(broken: Callable[[Array, Array], Array]) -> None:
    assert mistakes(broken, Cell(100, 3, True)) > ALLOWED


def test_a_gain_is_found_in_pairs_and_lost_without_them() -> None:
    champion, challenger = simulate(Cell(100, 3, False, 0.2), 100, rng(9))
    assert gate(champion, challenger).mean() > 0.8
    assert gate(champion, challenger[:, rng(10).permutation(100)]).mean() < 0.5
