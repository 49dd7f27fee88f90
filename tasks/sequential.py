"""A test that may be looked at every day: capital that grows only where losses stay above what was promised.

Against the claim "a round costs at most `bound` on average, whatever went before", a bettor puts a share of his capital
on the next round costing more. While the claim holds his capital is a supermartingale, so that by Ville's inequality
the chance that it *ever* reaches 1 / level is at most `level`: no look needs to be corrected for
(Waudby-Smith and Ramdas 2024, J. R. Stat. Soc. B 86, 1-27; Ville 1939). He does not know how large the loss will be, so
he spreads his stake over several shares; nor when it begins, so he keeps some of it for each later day, a weighted form
of the e-detectors of Shin, Ramdas and Rinaldo (2024, New England J. Stat. Data Sci. 2, 229-260).

A round's ratio is first held between LOWEST and HIGHEST. The upper end keeps one bad day from deciding; the lower
one lets the bets be larger, as no round can cost the bettor more. The claim is then about ratios held so.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LOWEST, HIGHEST = 0.5, 4.0  # times the promised loss
STAKES = (0.1, 0.25, 0.5, 0.75, 0.95)  # of what may be staked without going broke on the best possible round
PATIENCE = 30  # rounds: about half of the capital is staked by then, the rest waits for later starts

Floats = NDArray[np.float64]


class Course(NamedTuple):
    """Capital after each round, and the rounds (from 0) in which it reached 1 / level; after each it starts anew."""

    capital: tuple[float, ...]
    alarms: tuple[int, ...]


def follow(ratios: Sequence[float], bound: float, level: float) -> Course:
    """The course of the test over rounds of realised / promised loss. `bound` is above LOWEST, `level` in (0, 1).

    After n rounds a reserve of PATIENCE / (n + PATIENCE) has not been staked; what it gives up in a round starts there.
    """
    held = np.clip(np.asarray(ratios, dtype=np.float64), LOWEST, HIGHEST)
    gains = 1 + np.array(STAKES) / (bound - LOWEST) * (held[:, None] - bound)  # (rounds, stakes), above 0
    capital: list[float] = []
    alarms: list[int] = []
    staked, played = np.zeros(len(STAKES)), 0
    for number, gain in enumerate(gains):
        staked = (staked + reserve(played) - reserve(played + 1)) * gain
        played += 1
        capital.append(float(staked.mean()) + reserve(played))
        if capital[-1] >= 1 / level:
            alarms.append(number)
            staked, played = np.zeros(len(STAKES)), 0
    return Course(tuple(capital), tuple(alarms))


def reserve(played: int) -> float:
    """The share of the first capital that waits for a later start."""
    return PATIENCE / (played + PATIENCE)


def upper_end(ratios: Floats, level: float) -> float:
    """How large the mean of a few independent ratios may be in truth, by Student's t; inf for fewer than two."""
    n = len(ratios)
    if n < 2:
        return math.inf
    return float(ratios.mean() + stats.t.ppf(1 - level, n - 1) * ratios.std(ddof=1) / math.sqrt(n))
